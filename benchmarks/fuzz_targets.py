"""What benchmarks/fuzz.py feeds: each reader of files and words, with seeds of its form.

A target takes bytes, and may raise only DataError, ConfigError, or the Refusal of the service.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

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
        "words": Target(words, [b"--topk=[5,10]\n--alpha=0.5", b"--a={'b': (1, None)}", b"--x=true"]),
        "body": Target(body_of, [body, b'[{"history": ["a"], "next_item": "b", "time": 1.5}]', b'"\\ud800"']),
        "sequences": Target(rows(folder, "sequences"), [sequences]),
        "csv": Target(rows(folder, "csv"), [csv, csv.replace(b",", b"\t"), csv.replace(b"\n", b"\r\n")]),
        "json": Target(rows(folder, "json"), [lines]),
        "json.gz": Target(rows(folder, "json"), [gzip.compress(lines, mtime=0)]),
        "amazon-csv": Target(rows(folder, "amazon-csv"), [b"a,b,5.0,978300760\nb,c,1.0,978300761\n"]),
        "amazon-json": Target(rows(folder, "amazon-json"), [review]),
        "histories.jsonl": Target(histories(folder), [history]),
        "titles": Target(titles(folder), [b"item_id:token\ttitle:token_seq\n1\tToy Story\n2\tHeat\n"]),
        "yaml": Target(settings(folder), [yaml]),
        "search.yaml": Target(search(folder / "space.yaml"), [space]),
        "params": Target(search(folder / "space.test"), [params]),
        "result": Target(result_of(folder), [result[:20000], small_result(result)]),
        "report": Target(report(folder), [small_result(result)]),
        "ledger": Target(
            ledger(folder), [b'{"point": {"alpha": 0.5}, "status": "finished", "score": 0.1, "report": {}}']
        ),
        "checkpoint": Target(checkpoint(folder), checkpoint_seeds(folder)),
        "convert": Target(converted(folder), [csv, csv * 3]),
        "atomic": Target(atomic_of(folder), [atomic]),
    }
    return found


def words(data: bytes) -> None:
    from recbole_raserec.config.words import parse_arguments
    from recbole_raserec.runtime.literals import literal

    for value in parse_arguments(data.decode("utf-8", "replace").split("\n")).values():
        literal(value)


def body_of(data: bytes) -> None:
    from recbole_raserec.serving.bodies import parse
    from recbole_raserec.serving.schemas import bodies, check
    from recbole_raserec.serving.settings import Limits

    value = parse(data)
    for schema in bodies(Limits()).values():
        try:
            check(value, schema)
        except Exception as error:
            if type(error).__name__ != "Refusal":
                raise


def rows(folder: Path, form: str) -> Callable[[bytes], None]:
    from recbole_raserec.data.columns import wanted
    from recbole_raserec.data.formats import DELIMITERS
    from recbole_raserec.data.interactions import Interactions
    from recbole_raserec.data.rows import consume
    from recbole_raserec.data.sources import open_source

    path, columns = folder / f"source.{form}", [wanted(what, None) for what in ("user", "item", "time")]

    def read(data: bytes) -> None:
        path.write_bytes(data)
        table = Interactions()
        consume(open_source(path, form, columns, DELIMITERS, "input", False), table.add, skip=len(data) % 2 == 0)
        table.ordered(0)

    return read


def histories(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.serving import lines

    path = folder / "histories.jsonl"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        known = {"history", "user", "next_item", "owner", "time"}
        lines.read_all(list(lines._objects(str(path), known, {"history"}, False, "")), "user")

    return read


def titles(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.data.titles import read_titles

    def read(data: bytes) -> None:
        (folder / "t.item").write_bytes(data)
        read_titles(folder, "t")

    return read


def settings(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.config.config import Config

    path, config = folder / "settings.yaml", Config.__new__(Config)
    config.yaml_loader = config._build_yaml_loader()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        config._load_config_files([str(path)])

    return read


def search(path: Path) -> Callable[[bytes], None]:
    from recbole_raserec.tuning.space import read_space

    def read(data: bytes) -> None:
        path.write_bytes(data)
        read_space(path)

    return read


def small_result(result: bytes) -> bytes:
    """A result without its longest parts."""
    content = json.loads(result)
    for name in ("groups", "test_ranks"):
        content[name] = {kind: {} for kind in content.get(name) or {}}
    content["config"] = {name: content["config"][name] for name in ("valid_metric", "alpha", "top_k", "backbone")}
    content["raserec"] = {**content["raserec"], "test_by_memory": {}}
    content["raserec"]["mixture"] = {}
    return json.dumps(content).encode()


def result_of(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.reporting.result import read_result

    path = folder / "result.json"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        read_result(path).to_json()

    return read


def report(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.reporting.page import write_report

    path, page = folder / "result.json", folder / "report.html"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        page.unlink(missing_ok=True)
        try:
            write_report([path], page)
        except ValueError:
            assert not page.exists(), "a part of a page was written"
            raise

    return read


def ledger(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.tuning.ledger import Ledger

    place = folder / "ended"
    place.mkdir(exist_ok=True)

    def read(data: bytes) -> None:
        (place / "0.json").write_bytes(data)
        ledger = Ledger(place, resume=True, base="")
        ledger.read()
        ledger.trials()

    return read


def checkpoint_seeds(folder: Path) -> list[bytes]:
    """A sealed file, and one of an earlier version, whose content no checksum protects."""
    import torch

    from recbole_raserec.training import checkpoints

    state = {"stage": "raserec", "config": {}, "state_dict": {"w": torch.ones(3)}, "memory": {"keys": torch.ones(2, 2)}}
    checkpoints.save(folder / "seed.pth", state)
    older = io.BytesIO()
    torch.save({"format": 1, **state}, older)
    return [(folder / "seed.pth").read_bytes(), older.getvalue()]


def checkpoint(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.training.model_file import load_model

    path = folder / "model.pth"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        load_model(path)

    return read


def converted(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.data.convert import convert

    source = folder / "in.csv"

    def read(data: bytes) -> None:
        source.write_bytes(data)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            try:
                convert(source, "csv", "d", place, show_progress=False, on_bad_line="skip")
            except ValueError:
                assert os.listdir(place) == [], "a part of a data set was written"
                raise

    return read


def atomic_of(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.config.config import Config
    from recbole_raserec.data.dataset import SequenceDataset
    from recbole_raserec.runtime.recbole_faults import quieten

    quieten()
    place = folder / "dataset" / "fuzzed"
    place.mkdir(parents=True, exist_ok=True)
    config = Config("RaSeRec", "fuzzed", config_dict={"data_path": str(folder / "dataset"), "show_progress": False})

    def read(data: bytes) -> None:
        (place / "fuzzed.inter").write_bytes(data)
        SequenceDataset(config).build()

    return read
