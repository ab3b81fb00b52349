"""SASRec by the package RecTools beside ours, on Beauty: ``python benchmarks/rectools_sasrec.py``.

Both have the same data, sizes, dropout, learning rate and number of epochs, a softmax over all items, and about as
many pairs a step. RecTools keeps at most 50 pairs a user. What else differs is each package's own, for example the
averaged weights of ours. The requirements of RecTools and of RecBole exclude each other, so each side has an
environment and a process of its own.

  --rectools=FILE     the Python that has RecTools: .venv-rectools/bin/python, see the Makefile
  --epochs=3 --seed=2020 --threads=2
  --output=FILE       benchmarks/results/rectools.json

A side reports the seconds of an epoch (the median, without validation), the peak memory, and the test N@10 that its
last epoch reaches (unmasked, all items).
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

HERE = Path(__file__).parent
DEFAULTS = {
    "rectools": str(HERE.parent / ".venv-rectools" / "bin" / "python"),
    "epochs": "3",
    "seed": "2020",
    "threads": "2",
    "output": str(HERE / "results" / "rectools.json"),
}
SIZES = {"n_layers": 2, "n_heads": 2, "hidden_size": 64, "inner_size": 256}
DROPOUT, LEARNING_RATE, MOST_ITEMS, PAIRS_A_STEP = 0.3, 0.001, 50, 2048


def of_ours(options: dict[str, str]) -> dict[str, Any]:
    """Train and rank with this package."""
    import torch

    from benchmarks.ours import load
    from recbole_raserec import RaSeRec
    from recbole_raserec.evaluation.metrics import Metrics, recbole_metrics
    from recbole_raserec.runtime.machine import peak_rss_mib
    from recbole_raserec.training.backbone import BackboneTrainer

    torch.set_num_threads(int(options["threads"]))
    folder, epochs = Path(options["folder"]), int(options["epochs"])
    config, dataset = load(
        folder, "amazon-beauty", checkpoint_dir=str(folder), epochs=epochs, eval_step=epochs, seed=int(options["seed"]),
        hidden_dropout_prob=DROPOUT, attn_dropout_prob=DROPOUT, learning_rate=LEARNING_RATE,
        train_batch_size=PAIRS_A_STEP, softmax_negatives=0, MAX_ITEM_LIST_LENGTH=MOST_ITEMS, **SIZES,
    )  # fmt: skip
    dataset.build()
    seconds: list[float] = []

    class Timed(BackboneTrainer):
        def _train_epoch(self, *args: Any, **kwargs: Any) -> float:
            start = perf_counter()
            loss = super()._train_epoch(*args, **kwargs)
            seconds.append(perf_counter() - start)
            return loss

    trainer = Timed(config, RaSeRec(config, dataset), dataset)
    trainer.run(dataset.sequences.valid_part(), show_progress=False)
    found = recbole_metrics(trainer.rank(dataset.sequences.test_part(), False).unmasked, Metrics.of(config))
    return {
        "package": "recbole-raserec",
        "pairs": int(trainer.loader.windows.pairs.sum()),
        "epoch_s": round(statistics.median(seconds), 2),
        "epochs_s": [round(second, 2) for second in seconds],
        "peak_mib": peak_rss_mib(),
        "test_ndcg@10": found["ndcg@10"],
    }


def of_rectools(options: dict[str, str]) -> dict[str, Any]:
    """Train and rank with RecTools. This side knows neither RecBole nor this package."""
    import resource
    from importlib.metadata import version

    import numpy as np
    import pandas as pd
    import torch
    from pytorch_lightning import Callback, Trainer, seed_everything
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    torch.set_num_threads(int(options["threads"]))
    seed_everything(int(options["seed"]))
    table = pd.read_csv(Path(options["folder"]) / "amazon-beauty" / "amazon-beauty.inter", sep="\t", dtype=str)
    table.columns = ["user_id", "item_id", "datetime"]
    table["datetime"] = pd.to_datetime(table["datetime"].astype(float), unit="s")
    table["weight"] = 1.0
    from_end = table.groupby("user_id").cumcount(ascending=False)  # the file is sorted; 0 is the test item
    train, known, test = table[from_end >= 2], table[from_end >= 1], table[from_end == 0]
    pairs = train.groupby("user_id").size().sub(1).clip(0, MOST_ITEMS)
    seconds: list[float] = []

    class Clock(Callback):
        def on_train_epoch_start(self, *_: Any) -> None:
            self.start = perf_counter()

        def on_train_epoch_end(self, *_: Any) -> None:
            seconds.append(perf_counter() - self.start)

    def trainer() -> Trainer:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return Trainer(max_epochs=int(options["epochs"]), accelerator="cpu", devices=1, callbacks=[Clock()], **quiet)

    model = SASRecModel(
        n_blocks=SIZES["n_layers"], n_heads=SIZES["n_heads"], n_factors=SIZES["hidden_size"], dropout_rate=DROPOUT,
        session_max_len=MOST_ITEMS, loss="softmax", lr=LEARNING_RATE, epochs=int(options["epochs"]),
        batch_size=round(PAIRS_A_STEP / pairs[pairs > 0].mean()), get_trainer_func=trainer,
    )  # fmt: skip
    model.fit(Dataset.construct(train))
    users = test["user_id"].to_numpy()
    found = model.recommend(users, Dataset.construct(known), k=10, filter_viewed=False, on_unsupported_targets="ignore")
    hits = found.merge(test[["user_id", "item_id"]], on=["user_id", "item_id"])
    return {
        "package": f"RecTools {version('rectools')}",
        "pairs": int(pairs.sum()),
        "epoch_s": round(statistics.median(seconds), 2),
        "epochs_s": [round(second, 2) for second in seconds],
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "test_ndcg@10": round(float((1 / np.log2(hits["rank"] + 1)).sum() / len(test)), 6),
        "torch": torch.__version__,
    }


def main(argv: list[str]) -> None:
    from benchmarks import read_options
    from benchmarks.bench import beauty
    from benchmarks.children import conditions, of_child
    from recbole_raserec.runtime.files import json_line

    options = {name: str(value) for name, value in read_options(argv, DEFAULTS).items()}
    with tempfile.TemporaryDirectory() as folder:
        name = beauty(Path(folder))
        given = {**options, "folder": folder}
        rows = [
            of_child(__file__, {**given, "side": side}, python)
            for side, python in (("rectools", options["rectools"]), ("ours", sys.executable))
        ]
        data = (Path(folder) / name / f"{name}.inter").read_bytes()
    about = {"data": name, "sha256": hashlib.sha256(data).hexdigest()}
    settings = {"epochs": int(options["epochs"]), "seed": int(options["seed"]), "dropout": DROPOUT, **SIZES}
    result = {**about, **settings, "rows": rows, **conditions()}
    print(json_line(result))
    Path(options["output"]).write_text(json_line(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        chosen = json.loads(os.environ["OPTIONS"])
        print(json.dumps({"ours": of_ours, "rectools": of_rectools}[chosen["side"]](chosen)))
    else:
        sys.path.insert(0, str(HERE.parent))
        main(sys.argv[1:])
