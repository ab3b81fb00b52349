"""Do the fast paths cost accuracy? Train one backbone in four ways: ``python benchmarks/accuracy.py``.

  --seeds=2020,2021,2022
  --ways=plain,exact,fast,sampled
  --epochs=300      largest number of epochs; early stopping is that of the configuration
  --ranks=FOLDER    stores each run's ranks, so a stopped call can continue; by default the temporary folder
  --output=FILE     benchmarks/results/bench-cpu.json; its "accuracy" is replaced if the ways include plain

``plain`` uses torch's own operations: cross entropy over all logits, nn.Dropout, the exact last 50 items of every
prefix. ``exact`` trains on the same prefixes with this package's operations. ``fast`` also uses the windows that are
set for Amazon's data (stride 5). ``sampled`` is ``fast`` with a softmax estimated from 2,048 items and lazy training of
the item vectors, as for catalogues of more than 100,000 items.
Metrics are means over the seeds. An interval is a bootstrap over users, each with the ranks of all seeds.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from recbole.utils import init_seed  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from benchmarks import code_sha256, read_options  # noqa: E402
from benchmarks.bench import beauty  # noqa: E402
from benchmarks.tables import RESAMPLING  # noqa: E402
from recbole_raserec import Config, RaSeRec, SequenceDataset  # noqa: E402
from recbole_raserec.backbones.sasrec import SASRec  # noqa: E402
from recbole_raserec.evaluation.metrics import Metrics, both_protocols  # noqa: E402
from recbole_raserec.evaluation.ranking import PROTOCOLS, Ranks  # noqa: E402
from recbole_raserec.evaluation.significance import paired_improvement  # noqa: E402
from recbole_raserec.nn.dropout import Dropout  # noqa: E402
from recbole_raserec.runtime.files import json_line  # noqa: E402
from recbole_raserec.training.backbone import BackboneTrainer  # noqa: E402

WAYS: dict[str, dict[str, Any]] = {
    "plain": {"window_stride": 1},
    "exact": {"window_stride": 1},
    "fast": {},
    "sampled": {"softmax_negatives": 2048},
}


class PlainSASRec(SASRec):
    """The same network and pairs with torch's own operations."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        for parent in list(self.modules()):
            for name, child in parent.named_children():
                if isinstance(child, Dropout):
                    setattr(parent, name, nn.Dropout(child.p))

    def packed_loss(self, batch: Any, budget: int) -> Tensor:
        pairs = self.packed_pairs(batch)
        logits = pairs.hidden @ self.item_embedding.weight.T
        return F.cross_entropy(logits, pairs.targets, reduction="sum") / budget


def train(way: str, seed: int, folder: Path, epochs: int) -> dict[str, Any]:
    """Test ranks of the best epoch under each protocol, and the number of epochs."""
    settings = {"data_path": str(folder), "show_progress": False, "epochs": epochs, "seed": seed}
    with tempfile.TemporaryDirectory() as checkpoints:
        settings["checkpoint_dir"] = checkpoints
        config = Config("RaSeRec", "amazon-beauty", config_dict={**settings, **WAYS[way]})
        init_seed(seed, config["reproducibility"])
        dataset = SequenceDataset(config)
        dataset.build()
        model = RaSeRec(config, dataset)
        if way == "plain":
            model.backbone = PlainSASRec(config, dataset)
        trainer = BackboneTrainer(config, model, dataset)
        trainer.run(dataset.sequences.valid_part(), show_progress=False)
        ranks = trainer.rank(dataset.sequences.test_part(), show_progress=False)
        return {**{p: ranks.of(p) for p in PROTOCOLS}, "epochs": len(trainer.curve)}


def run(way: str, seeds: list[int], folder: Path, epochs: int, kept: Path) -> dict[str, np.ndarray]:
    """The results of :func:`train` for all seeds, stacked. Runs of an earlier call are read, not trained again."""
    runs = []
    for seed in seeds:
        file = _kept(kept, way, seed, epochs)
        if not file.is_file():
            np.savez(file, **train(way, seed, folder, epochs))
        with np.load(file) as stored:
            runs.append(dict(stored))
        print(way, seed, int(runs[-1]["epochs"]), "epochs", flush=True)
    return {name: np.stack([one[name] for one in runs]) for name in runs[0]}


def _kept(folder: Path, way: str, seed: int, epochs: int) -> Path:
    return folder / f"{way}-{seed}-{epochs}.npz"


def describe(runs: dict[str, np.ndarray], plain: dict[str, np.ndarray], metrics: Metrics) -> dict[str, Any]:
    """The figures of one way: means over the seeds, and the change against ``plain``."""
    of_seeds = [both_protocols(Ranks(*ranks), metrics) for ranks in zip(*(runs[p] for p in PROTOCOLS))]
    test = {
        p: {metric: float(np.mean([one[p][metric] for one in of_seeds])) for metric in of_seeds[0][p]}
        for p in PROTOCOLS
    }
    row: dict[str, Any] = {"epochs": runs["epochs"].tolist(), "test": test}
    if runs is not plain:
        row["change_percent"] = {p: paired_improvement(plain[p], runs[p], metrics, RESAMPLING) for p in PROTOCOLS}
    return row


def main(argv: list[str]) -> None:
    folder = Path(tempfile.gettempdir()) / "recbole-raserec-bench"
    output = str(HERE / "results" / "bench-cpu.json")
    defaults = {"seeds": "2020,2021,2022", "ways": ",".join(WAYS), "epochs": "300", "ranks": str(folder / "ranks")}
    options = read_options(argv, {**defaults, "output": output})
    seeds, ways, epochs = (
        [int(seed) for seed in options["seeds"].split(",")],
        options["ways"].split(","),
        int(options["epochs"]),
    )
    if not set(ways) <= set(WAYS):
        sys.exit(f"error: --ways={options['ways']}: use some of {','.join(WAYS)}")
    beauty(folder)
    config = Config("RaSeRec", "amazon-beauty", config_dict={"data_path": str(folder)})
    same: dict[str, Any] = {"seeds": seeds, "data_sha256": SequenceDataset(config).sha256}
    kept = Path(options["ranks"]) / f"{code_sha256()[:12]}-{same['data_sha256'][:12]}"  # of this code and these data
    kept.mkdir(parents=True, exist_ok=True)
    runs = {way: run(way, seeds, folder, epochs, kept) for way in ways}
    if "plain" not in runs:
        return  # only a part of the work; a later call with all ways reads it
    metrics = Metrics.of(config)
    rows = [{"way": way, "changed": WAYS[way], **same, **describe(runs[way], runs["plain"], metrics)} for way in ways]
    file = Path(options["output"])
    result = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    file.write_text(json_line({**result, "accuracy": rows}) + "\n", encoding="utf-8")
    for way in ways:  # so a later call trains anew
        for seed in seeds:
            _kept(kept, way, seed, epochs).unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
