"""What ``window_stride`` costs and gains on long histories: ``python benchmarks/long_histories.py``.

Each stride trains the backbone in a process of its own on the same data and seed. A row has the seconds of processor
time an epoch, the peak memory, and the validation N@10 of the best epoch; the rows of other strides than 1 also have
the paired 95 % interval of their gain over stride 1, in percent.

  --dataset=long-52551   synthetic data of this benchmark (see synthetic.py), or ml-100k
  --strides=1,auto
  --epochs=25 --learning_rate=0.005 --seed=2020
  --output=FILE          benchmarks/results/long-histories.json; rows of other data sets stay in it
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DEFAULTS = {
    "dataset": "long-52551",
    "strides": "1,auto",
    "epochs": "25",
    "learning_rate": "0.005",
    "seed": "2020",
    "output": str(HERE / "results" / "long-histories.json"),
}


def measure(options: dict[str, str], folder: Path) -> dict[str, Any]:
    """Train with one stride."""
    from time import process_time

    from benchmarks.children import best_epoch
    from benchmarks.ours import load
    from recbole_raserec import RaSeRec
    from recbole_raserec.evaluation.metrics import Metrics
    from recbole_raserec.evaluation.significance import pack_ranks
    from recbole_raserec.runtime.machine import peak_rss_mib
    from recbole_raserec.training.backbone import BackboneTrainer

    seconds: list[float] = []

    class Timed(BackboneTrainer):
        def _train_epoch(self, *args: Any, **kwargs: Any) -> float:
            start = process_time()
            loss = super()._train_epoch(*args, **kwargs)
            seconds.append(process_time() - start)
            return loss

    names = ("epochs", "learning_rate", "seed")
    given = {name: json.loads(options[name]) for name in names}
    stride = options["stride"] if options["stride"] == "auto" else int(options["stride"])
    config, dataset = load(folder, options["dataset"], window_stride=stride, checkpoint_dir=str(folder), **given)
    dataset.build()
    model = RaSeRec(config, dataset)
    trainer = Timed(config, model, dataset)
    valid_part = dataset.sequences.valid_part()
    valid = trainer.run(valid_part, show_progress=False)
    windows, metrics = trainer.loader.windows, Metrics.of(config)
    return {
        "dataset": options["dataset"],
        "sha256": dataset.sha256,
        **given,
        "window_stride": stride,
        "stride": trainer.loader.stride,
        "items_read_a_pair": round(windows.tokens_a_pair, 2),
        "pairs": int(windows.pairs.sum()),
        "epoch_cpu_s": round(statistics.median(seconds), 2),
        "peak_mib": peak_rss_mib(),
        "best_epoch": best_epoch(trainer.curve),
        "valid": valid["ndcg@10"],
        "ranks": pack_ranks(trainer.rank(valid_part, show_progress=False).unmasked, metrics.depth),
    }


def main(argv: list[str]) -> None:
    from benchmarks import read_options
    from benchmarks.children import conditions, of_child
    from benchmarks.synthetic import write_long_histories
    from recbole_raserec.evaluation.metrics import Metrics
    from recbole_raserec.evaluation.significance import Resampling, paired_improvement, unpack_ranks
    from recbole_raserec.runtime.files import json_line

    options = {name: str(value) for name, value in read_options(argv, DEFAULTS).items()}
    with tempfile.TemporaryDirectory() as folder:
        write_long_histories(Path(folder))
        rows = [
            of_child(__file__, {**options, "stride": stride, "folder": folder})
            for stride in options["strides"].split(",")
        ]
    metrics = Metrics(("NDCG",), (5, 10, 20), 6, "ndcg@10")
    exact = next((unpack_ranks(row["ranks"]) for row in rows if row["window_stride"] == 1), None)
    for row in rows:
        ranks = unpack_ranks(row.pop("ranks"))
        if exact is not None and row["window_stride"] != 1:
            row["gain_over_exact"] = paired_improvement(exact, ranks, metrics, Resampling(2000, 0))["ndcg@10"]
        print(json_line(row), flush=True)
    output = Path(options["output"])
    older = json.loads(output.read_text(encoding="utf-8"))["rows"] if output.is_file() else []
    others = [row for row in older if (row["dataset"], row["seed"]) != (options["dataset"], int(options["seed"]))]
    output.write_text(json_line({"rows": [*others, *({**row, **conditions()} for row in rows)]}) + "\n", "utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    if sys.argv[1:2] == ["--one"]:
        chosen = json.loads(os.environ["OPTIONS"])
        print(json.dumps(measure(chosen, Path(chosen["folder"]))))
    else:
        main(sys.argv[1:])
