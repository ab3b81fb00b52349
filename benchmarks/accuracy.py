"""Do the fast paths cost accuracy? One backbone trained three ways: ``python benchmarks/accuracy.py``.

  --epochs=10       of each
  --output=FILE     benchmarks/results/bench-cpu.json, whose "accuracy" is replaced

``plain`` is torch's own: cross entropy over all logits, nn.Dropout, every prefix's exact last 50 items.
``fast`` is what this package does by default. ``sampled`` estimates the softmax from 2,048 items and
trains the item vectors lazily, as it is done for catalogues beyond 100,000 items.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from benchmarks import read_options  # noqa: E402
from benchmarks.bench import beauty  # noqa: E402
from recbole_raserec import Config, RaSeRec, SequenceDataset  # noqa: E402
from recbole_raserec.backbones.dropout import Dropout  # noqa: E402
from recbole_raserec.backbones.sasrec import SASRec  # noqa: E402
from recbole_raserec.evaluation.ranking import Ranks, both_protocols  # noqa: E402
from recbole_raserec.evaluation.significance import paired_improvement  # noqa: E402
from recbole_raserec.training.backbone import BackboneTrainer  # noqa: E402

WAYS: dict[str, dict[str, Any]] = {"plain": {"window_stride": 1}, "fast": {}, "sampled": {"softmax_negatives": 2048}}


class PlainSASRec(SASRec):
    """The same network and pairs by torch's own operations."""

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


def train(way: str, folder: Path, epochs: int) -> tuple[Ranks, float, Config]:
    """Test ranks of the best epoch, and seconds an epoch."""
    settings = {"data_path": str(folder), "show_progress": False, "epochs": epochs, "stopping_step": epochs}
    with tempfile.TemporaryDirectory() as checkpoints:
        settings["checkpoint_dir"] = checkpoints
        config = Config("RaSeRec", "amazon-beauty", config_dict={**settings, **WAYS[way]})
        dataset = SequenceDataset(config)
        dataset.build()
        model = RaSeRec(config, dataset)
        if way == "plain":
            model.backbone = PlainSASRec(config, dataset)
        trainer = BackboneTrainer(config, model, dataset)
        start = perf_counter()
        trainer.run(dataset.sequences.valid_part(), show_progress=False)
        seconds = (perf_counter() - start) / epochs
        return trainer.rank(dataset.sequences.test_part(), show_progress=False), seconds, config


def main(argv: list[str]) -> None:
    options = read_options(argv, {"epochs": "10", "output": str(HERE / "results" / "bench-cpu.json")})
    folder = Path(tempfile.gettempdir()) / "recbole-raserec-bench"
    beauty(folder)
    rows: list[dict[str, Any]] = []
    ranks: dict[str, Ranks] = {}
    for way in WAYS:
        ranks[way], seconds, config = train(way, folder, int(options["epochs"]))
        row: dict[str, Any] = {"way": way, "epochs": int(options["epochs"]), "seed": config["seed"]}
        row |= {"epoch_and_validation_s": round(seconds, 2), "test": both_protocols(ranks[way], config)}
        if way != "plain":
            base, new = ranks["plain"], ranks[way]
            row["change_percent"] = {
                protocol: paired_improvement(base.of(protocol), new.of(protocol), config, 2000, 0)
                for protocol in ("unmasked", "masked")
            }
        rows.append(row)
        print(json.dumps(row), flush=True)
    output = Path(options["output"])
    result = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    output.write_text(json.dumps({**result, "accuracy": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
