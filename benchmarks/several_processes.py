"""One process with two threads, or two workers with one thread each: ``python benchmarks/several_processes.py``.

A SASRec epoch by torch.distributed, and the encoding of the memory and the decoding of rows by Ray on this machine, all
on Beauty. Ray runs already when the clock starts; sending the model and the data to its workers is part of the time.

  --workers=2 --repeats=3
  --output=FILE     benchmarks/results/several-processes.json
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DEFAULTS = {"workers": "2", "repeats": "3", "output": str(HERE / "results" / "several-processes.json")}
NAME = "amazon-beauty"
ROWS_A_TASK = 2**14


def epoch(folder: Path, workers: int, repeats: int) -> list[float]:
    """Seconds of each of some epochs of the backbone."""
    from benchmarks import ours
    from recbole_raserec.runtime.processes import place, run_together

    if workers == 1:
        return ours.sasrec_epoch(folder, NAME, repeats)[0]
    here = place(workers, -1, 0, "localhost", 29571)
    return run_together(ours.sasrec_epoch, (folder, NAME, repeats), here, RuntimeError)[0]


def memory_encoding(folder: Path, workers: int, repeats: int) -> list[float]:
    """Seconds that it takes to encode every training prefix."""
    from benchmarks import ours
    from recbole_raserec.training.queries import encode_part

    _, dataset, model = ours._model(folder, NAME)
    part, address = dataset.sequences.train_part(), _address(workers)
    return ours.repeat(lambda: encode_part(model, part, ray_address=address, rows_a_task=ROWS_A_TASK), repeats)


def decoding(folder: Path, workers: int, repeats: int) -> list[float]:
    """Seconds that it takes to decode five rows of every sequence."""
    from benchmarks import ours, ours_regeneration
    from recbole_raserec.regeneration.decoding import decode_all, local_decoder, ray_decoder

    config, dataset, pairs = ours_regeneration.pattern_pairs(folder, NAME)
    model = ours_regeneration.trained_regenerator(config, dataset, pairs)
    settings = model, pairs.sequences, 1.0, 0, config["decode_max_length"], config["device"]
    address = _address(workers)
    decoder = local_decoder(*settings) if address is None else ray_decoder(address, *settings)
    return ours.repeat(lambda: decode_all(pairs.sequences, decoder), repeats)


STAGES: dict[str, Callable[[Path, int, int], list[float]]] = {
    stage.__name__: stage for stage in (epoch, memory_encoding, decoding)
}


def _address(workers: int) -> str | None:
    return None if workers == 1 else "local"


def measure(options: dict[str, str]) -> dict[str, Any]:
    """One row: a stage by one process with all threads, or by workers with one thread each."""
    import torch

    from recbole_raserec.runtime.ray import connected

    stage, workers = options["stage"], int(options["number"])
    on_ray = workers > 1 and stage != "epoch"
    torch.set_num_threads(1 if on_ray else int(options["workers"]))  # a worker of Ray has as many as this process
    with connected("local" if on_ray else None):
        seconds = STAGES[stage](Path(options["folder"]), workers, int(options["repeats"]))
    row = {"stage": stage, "workers": workers, "threads_each": int(options["workers"]) // workers}
    return {**row, "median_s": round(statistics.median(seconds), 2), "seconds": [round(s, 2) for s in seconds]}


def main(argv: list[str]) -> None:
    from benchmarks import read_options
    from benchmarks.bench import beauty
    from benchmarks.children import conditions, of_child
    from recbole_raserec.runtime.files import json_line

    options = {name: str(value) for name, value in read_options(argv, DEFAULTS).items()}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        beauty(Path(folder))
        for stage in STAGES:
            for number in ("1", options["workers"]):
                rows.append(of_child(__file__, {**options, "stage": stage, "number": number, "folder": folder}))
                print(json_line(rows[-1]), flush=True)
    result = {"data": NAME, "rows": rows, **conditions()}
    Path(options["output"]).write_text(json_line(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(json.loads(os.environ["OPTIONS"]))))
    else:
        main(sys.argv[1:])
