"""What benchmarks/fuzz.py feeds: each reader of files and words, with seeds of its form."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import fuzz_readers as readers

HERE = Path(__file__).parent


class Target(NamedTuple):
    """A reader and the contents from which the mutations begin."""

    read: Callable[[bytes], Any]
    seeds: list[bytes]


def targets(folder: Path) -> dict[str, Target]:
    """All targets. They write what they read into ``folder``."""
    sequences = b"1 2 3 4\n2 3 4 1 5\n"
    csv = b'user,item,timestamp\nu1,"i 1",978300760\nu1,i2,2020-01-02T03:04:05\nu2,"a\nb",978300760000\n'
    lines = b'{"user_id": "a", "item_id": 7, "timestamp": 1.5}\n{"user_id": "b", "item_id": "x", "timestamp": 3}\n'
    review = b'{"reviewerID": "a", "asin": "b", "unixReviewTime": 978300760, "overall": 5.0}\n'
    history = (
        b'{"history": ["50", 172], "user": "a"}\n{"history": ["1"], "next_item": "2", "owner": "b", "time": 3.5}\n'
    )
    yaml = b"alpha: 0.5\ntopk: [5, 10]\nlearning_rate: 1e-3\nbackbone: SASRec\n"
    space = b"alpha: {uniform: [0.1, 0.9]}\ntop_k: {choice: [5, 10]}\n"
    params = b"learning_rate loguniform -8,0 # natural\nalpha uniform 0.1,0.9\ntop_k choice [5,10]\n"
    atomic = b"user_id:token\titem_id:token\ttimestamp:float\n" + b"".join(
        f"{u}\t{i}\t{i}\n".encode() for u in range(1, 4) for i in range(1, 6)
    )
    result = next(iter(sorted((HERE / "results").glob("amazon-*.json")))).read_bytes()
    body = b'{"histories": [["a", "b"], []], "users": ["u", null], "k": 10, "explain": true, "on_unknown": "warn"}'
    found = {
        "words": Target(readers.words, [b"--topk=[5,10]\n--alpha=0.5", b"--a={'b': (1, None)}", b"--x=true"]),
        "body": Target(readers.body_of, [body, b'[{"history": ["a"], "next_item": "b", "time": 1.5}]', b'"\\ud800"']),
        "sequences": Target(readers.rows(folder, "sequences"), [sequences]),
        "csv": Target(readers.rows(folder, "csv"), [csv, csv.replace(b",", b"\t"), csv.replace(b"\n", b"\r\n")]),
        "json": Target(readers.rows(folder, "json"), [lines]),
        "json.gz": Target(readers.rows(folder, "json"), [gzip.compress(lines, mtime=0)]),
        "amazon-csv": Target(readers.rows(folder, "amazon-csv"), [b"a,b,5.0,978300760\nb,c,1.0,978300761\n"]),
        "amazon-json": Target(readers.rows(folder, "amazon-json"), [review]),
        "histories.jsonl": Target(readers.histories(folder), [history]),
        "titles": Target(readers.titles(folder), [b"item_id:token\ttitle:token_seq\n1\tToy Story\n2\tHeat\n"]),
        "yaml": Target(readers.settings(folder), [yaml]),
        "search.yaml": Target(readers.search(folder / "space.yaml"), [space]),
        "params": Target(readers.search(folder / "space.test"), [params]),
        "result": Target(readers.result_of(folder), [result[:20000], small_result(result)]),
        "report": Target(readers.report(folder), [small_result(result)]),
        "ledger": Target(
            readers.ledger(folder), [b'{"point": {"alpha": 0.5}, "status": "finished", "score": 0.1, "report": {}}']
        ),
        "checkpoint": Target(readers.checkpoint(folder), checkpoint_seeds(folder)),
        "convert": Target(readers.converted(folder), [csv, csv * 3]),
        "atomic": Target(readers.atomic_of(folder), [atomic]),
    }
    return found


def small_result(result: bytes) -> bytes:
    """A result without its longest parts."""
    content = json.loads(result)
    for name in ("groups", "test_ranks"):
        content[name] = {kind: {} for kind in content.get(name) or {}}
    content["config"] = {name: content["config"][name] for name in ("valid_metric", "alpha", "top_k", "backbone")}
    content["raserec"] = {**content["raserec"], "test_by_memory": {}}
    content["raserec"]["mixture"] = {}
    return json.dumps(content).encode()


def checkpoint_seeds(folder: Path) -> list[bytes]:
    """A sealed file, and one of an earlier version, whose content no checksum protects."""
    import torch

    from recbole_raserec.training import checkpoints

    state = {"stage": "raserec", "config": {}, "state_dict": {"w": torch.ones(3)}, "memory": {"keys": torch.ones(2, 2)}}
    checkpoints.save(folder / "seed.pth", state)
    older = io.BytesIO()
    torch.save({"format": 1, **state}, older)
    return [(folder / "seed.pth").read_bytes(), older.getvalue()]
