"""Every stage of the pipeline at several sizes of the data: ``python benchmarks/end_to_end.py``.

load -> regenerate (mined patterns) -> one epoch of the backbone -> memory (encode every training pair) -> search (build
the index, find the nearest memories of every training pair) -> one fine-tuning epoch -> evaluate (encode and search the
test part, rank all items under both protocols, for the backbone and with the memory).

  --sizes=1,10,100       multiples of Beauty's 198,502 interactions; each runs in a process of its own
  --items=0              0: the catalogue grows with the square root of the interactions. Otherwise its number of items
  --threads=2
  --folder=              where the synthetic data are kept; a folder that is deleted in the end if it is empty
  --output=FILE          benchmarks/results/end_to_end.json; rows of other sizes and catalogues stay in it

The data are synthetic: short histories, and items drawn by a power law. With the square root, every pair of items has
as many interactions at each size, so the number of patterns grows like the data. The slopes are those of log seconds
over log interactions. The peak is that of the stage, not that of the process so far (Linux can forget the earlier one).
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

HERE = Path(__file__).parent
DEFAULTS = {
    "sizes": "1,10,100",
    "items": "0",
    "threads": "2",
    "folder": "",
    "output": str(HERE / "results" / "end_to_end.json"),
}
STAGES = ("load", "regenerate", "epoch", "memory", "search", "finetune_epoch", "evaluate")
WHOLE = "whole"


class Stages(dict[str, dict[str, float]]):
    """Seconds of wall and processor time and the peak memory of each stage."""

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        from recbole_raserec.runtime.machine import peak_rss_mib

        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at the memory that is held now
        wall, processor = perf_counter(), process_time()
        yield
        self[name] = {
            "seconds": round(perf_counter() - wall, 2),
            "cpu_s": round(process_time() - processor, 2),
            "peak_mib": peak_rss_mib(),
        }


def measure(name: str, data_path: Path, folder: Path) -> dict[str, Any]:
    """All stages on the data set ``name``; checkpoints go into ``folder``."""
    from recbole_raserec import Config
    from recbole_raserec.pipeline import load
    from recbole_raserec.regeneration.stage import regenerated
    from recbole_raserec.training.backbone import backbone_trainer
    from recbole_raserec.training.build import build_model
    from recbole_raserec.training.finetune import FinetuneTrainer
    from recbole_raserec.training.rank import rank
    from recbole_raserec.training.remember import Reader

    stages = Stages()
    given = {
        "data_path": str(data_path),
        "checkpoint_dir": str(folder),
        "show_progress": False,
        "index_factory": "auto",
    }
    patterns = {"regenerate": "DR4SR", "regenerate_parts": ["patterns", "original"]}
    config = Config("RaSeRec", name, config_dict={**given, **patterns})
    with stages.measured("load"):
        plain, _ = load(config.changed(regenerate=None))
        facts = {"interactions": len(plain.sequences.items), "users": len(plain.sequences), "items": plain.item_num - 1}
    with stages.measured("regenerate"):
        data, manifest = regenerated(config, plain)
    del plain
    model = build_model(config, data)
    trainer = backbone_trainer(config, model, data)
    with stages.measured("epoch"):
        trainer._train_epoch(None, 0)
    del trainer
    reader, train = Reader.of(config, model), data.sequences.train_part(generated=False)
    with stages.measured("memory"):
        vectors = reader.encode(train)
        memory = reader.bank(train, vectors)
    with stages.measured("search"):
        searched = reader.search(memory, train, vectors, "search", model.top_k)
    model.freeze_backbone()
    tuner = FinetuneTrainer(config, model, data.sha256, searched.to(config["device"], model.top_k))
    with stages.measured("finetune_epoch"):
        tuner._train_epoch(None, 0)
    del tuner, searched, vectors
    with stages.measured("evaluate"):
        rank(reader, data.sequences, memory, False, config["eval_batch_size"])
    return {
        **facts,
        "memories": len(memory),
        "patterns": manifest["counts"],
        "sha256": data.sha256,
        "seed": config["seed"],
        "config": config.plain() | {"data_path": "", "checkpoint_dir": ""},
        "stages": {**stages, WHOLE: _whole(stages)},
    }


def _whole(stages: Stages) -> dict[str, float]:
    total = {kind: round(sum(of[kind] for of in stages.values()), 2) for kind in ("seconds", "cpu_s")}
    return {**total, "peak_mib": max(of["peak_mib"] for of in stages.values())}


def growth(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Log-log slope (least squares) of each stage and of the whole over interactions; rows of the growing catalogue."""
    import numpy as np

    rows = [row for row in rows if row["catalogue"] == "grows"]
    if len(rows) < 2:
        return {}
    sizes = [math.log(row["interactions"]) for row in rows]
    return {
        kind: {
            stage: round(float(np.polyfit(sizes, [math.log(row["stages"][stage][kind]) for row in rows], 1)[0]), 3)
            for stage in (*STAGES, WHOLE)
        }
        for kind in ("seconds", "cpu_s")
    }


def main(argv: list[str]) -> None:
    from benchmarks import read_options
    from benchmarks.children import conditions, of_child
    from benchmarks.synthetic import BEAUTY_INTERACTIONS, BEAUTY_ITEMS, write_synthetic
    from recbole_raserec.runtime.files import json_line

    options = {name: str(value) for name, value in read_options(argv, DEFAULTS).items()}
    output = Path(options["output"])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options["folder"] or temporary)
        for size in map(int, options["sizes"].strip("[]").split(",")):
            items = int(options["items"]) or round(BEAUTY_ITEMS * math.sqrt(size))
            name = write_synthetic(folder, size * BEAUTY_INTERACTIONS, items)
            row = of_child(__file__, {"name": name, "data": str(folder), "threads": options["threads"]})
            row = {"size": size, "catalogue": "fixed" if int(options["items"]) else "grows", **row, **conditions()}
            row["machine"]["threads"] = int(options["threads"])
            print(json_line({"size": size, "stages": row["stages"]}), flush=True)
            older = json.loads(output.read_text(encoding="utf-8"))["rows"] if output.is_file() else []
            rows = [other for other in older if _of(other) != _of(row)]
            rows = sorted([*rows, row], key=_of)
            output.write_text(json_line({"rows": rows, "growth": growth(rows)}) + "\n", encoding="utf-8")


def _of(row: dict[str, Any]) -> tuple[bool, int, int]:
    return row["catalogue"] != "grows", row["size"], row["items"]


def _one() -> None:
    import faiss
    import torch

    options = json.loads(os.environ["OPTIONS"])
    torch.set_num_threads(int(options["threads"]))
    faiss.omp_set_num_threads(int(options["threads"]))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # RecBole writes its logs into the folder in which it runs
        print(json.dumps(measure(options["name"], Path(options["data"]), Path(folder))))


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    if sys.argv[1:2] == ["--one"]:
        _one()
    else:
        main(sys.argv[1:])
