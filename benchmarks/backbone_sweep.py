"""What a backbone gains by a change, on the validation part: ``python benchmarks/backbone_sweep.py``.

  --dataset=amazon-beauty
  --variants=decoded      decoded, levers, or names of variants, with commas
  --seed=2020
  --data_path=dataset     folder where ``recbole-raserec convert`` wrote the data sets
  --folder=saved          of the checkpoints, so that a stopped call goes on
  --output=FILE           benchmarks/results/backbone-sweep.json; other rows stay in it

A variant is a change of SASRec in ``--preset=full``, whose training set holds the original sequences and the mined
patterns: decoded rows beside them (DR4SR, arXiv 2405.17795), or other parameters. There is no retrieval. Each variant
has a process of its own. The gain is over the preset itself, with paired 95 % intervals over the validation users. A
regenerator is trained once for all variants that share it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks import read_options  # noqa: E402
from benchmarks.backbone_variants import GROUPS, PRESET, VARIANTS, Variant  # noqa: E402
from benchmarks.children import add_row, best_epoch, conditions, of_child  # noqa: E402
from recbole_raserec.backbones.encode import encode_prefixes  # noqa: E402
from recbole_raserec.config.checks import PARTS  # noqa: E402
from recbole_raserec.config.config import Config  # noqa: E402
from recbole_raserec.data.dataset import SequenceDataset, load_dataset  # noqa: E402
from recbole_raserec.data.patterns import mine_patterns  # noqa: E402
from recbole_raserec.data.sequences import Sequences  # noqa: E402
from recbole_raserec.evaluation.metrics import Metrics, both_protocols  # noqa: E402
from recbole_raserec.evaluation.ranking import PROTOCOLS, Ranks  # noqa: E402
from recbole_raserec.evaluation.significance import (  # noqa: E402
    Resampling,
    improvements,
    pack_ranks,
    unpack_ranks,
)
from recbole_raserec.model import RaSeRec  # noqa: E402
from recbole_raserec.pipeline import trainer_maker  # noqa: E402
from recbole_raserec.regeneration.dataset import RegeneratedDataset  # noqa: E402
from recbole_raserec.regeneration.decoding import decode_all, local_decoder  # noqa: E402
from recbole_raserec.regeneration.rows import (  # noqa: E402
    GeneratedRows,
    rows_of_decoded,
    rows_of_patterns,
)
from recbole_raserec.regeneration.stage import Regeneration  # noqa: E402
from recbole_raserec.runtime.files import json_line  # noqa: E402
from recbole_raserec.runtime.recbole_faults import quieten  # noqa: E402
from recbole_raserec.training.build import build_model  # noqa: E402
from recbole_raserec.training.stage import StageTrainer  # noqa: E402

_SCORED = 4096  # pairs whose logits are held at once


class Experiment:
    """The data, the patterns and the settings of one variant."""

    def __init__(self, options: dict[str, str], variant: Variant) -> None:
        # the name of a file does not tell what was adjusted
        folder = Path(options["folder"]) / (options["variant"].replace(" ", "_") if variant.adjust else "")
        given = {"data_path": options["data_path"], "checkpoint_dir": str(folder), "seed": int(options["seed"])}
        plain = {"preset": "full", "resume": True, "show_progress": False, "regenerate_parts": ["original", "patterns"]}
        self.base = Config("RaSeRec", options["dataset"], config_dict={**plain, **given, **variant.backbone})
        self.data = load_dataset(self.base)
        self.training = self.data.sequences.training_only()
        patterns = mine_patterns(self.training, self.base["pattern_window"], self.base["pattern_min_support"])
        self.mined, self.patterns, self.variant = patterns, rows_of_patterns(patterns), variant

    def decoded(self) -> GeneratedRows:
        """The decoded rows of the variant that are trained on."""
        config = self.base.changed(regenerate_parts=[*PARTS], **self.variant.regenerator)
        recent = self.training.recent(config["MAX_ITEM_LIST_LENGTH"])
        model = Regeneration(config, self.data).regenerator(recent, self.mined)
        config = config.changed(**self.variant.decoding)
        settings = (config["decode_gamma"], config["seed"], config["decode_max_length"], config["device"])
        owner, sources = np.arange(len(recent)), recent
        for _ in range(self.variant.times):
            made = decode_all(sources, local_decoder(model, sources, *settings))
            owned = dataclasses.replace(made, sequence=owner[made.sequence])
            rows, _ = rows_of_decoded(owned, self.data.sequences)
            owner, sources = rows.owner, Sequences(rows.items, rows.offsets, np.arange(len(rows)))
        return self.variant.keep(self, rows)

    def trained(self, decoded: GeneratedRows | None) -> tuple[RaSeRec, StageTrainer, SequenceDataset]:
        """The backbone of the best epoch, trained on the patterns and these rows."""
        rows, config = self.patterns, self.base
        if decoded is not None:
            rows = rows.join(decoded)
            given = {**self.variant.regenerator, **self.variant.decoding}
            config = config.changed(regenerate_parts=[*PARTS], **given)
        data = RegeneratedDataset(config, rows)
        data.build()
        model = build_model(config, data)
        if self.variant.adjust:
            self.variant.adjust(model)
        trainer = trainer_maker(config)(config, model, data)
        trainer.run(data.sequences.valid_part(), show_progress=False)
        return model, trainer, data

    def likelihood(self, rows: GeneratedRows) -> np.ndarray:
        """[R] mean log-probability of each row's items after the first, under the preset's backbone."""
        model, _, _ = self.trained(None)
        part = Sequences(rows.items, rows.offsets, np.arange(len(rows)), generated=len(rows)).train_part()
        users, targets = torch.from_numpy(encode_prefixes(model.backbone, part)), torch.from_numpy(part.targets).long()
        items = model.item_vectors.detach().cpu()
        logs = [
            torch.log_softmax(users[at] @ items[1:].T, dim=1).gather(1, targets[at, None] - 1)[:, 0]
            for at in torch.arange(len(users)).split(_SCORED)
        ]
        of_row = np.bincount(part.sequence, torch.cat(logs).numpy(), minlength=len(rows))
        return of_row / np.maximum(rows.lengths - 1, 1)


DEFAULTS = {
    "dataset": "amazon-beauty",
    "variants": "decoded",
    "seed": "2020",
    "data_path": "dataset",
    "folder": "saved",
}


def measure(options: dict[str, str]) -> dict[str, Any]:
    """Train the backbone of one variant."""
    quieten()
    name, variant = options["variant"], VARIANTS[options["variant"]]
    experiment = Experiment(options, variant)
    decoded = experiment.decoded() if variant.decodes else None
    _, trainer, data = experiment.trained(decoded)
    ranks = trainer.rank(data.sequences.valid_part(), show_progress=False)
    metrics = Metrics.of(experiment.base)
    rows = {} if decoded is None else {"rows": len(decoded), "mean_length": round(float(decoded.lengths.mean()), 2)}
    return {
        "dataset": options["dataset"],
        "sha256": data.sha256,
        "seed": int(options["seed"]),
        "variant": name,
        "changed": {**variant.backbone, **variant.regenerator, **variant.decoding},
        **rows,
        "patterns": len(experiment.patterns),
        "best_epoch": best_epoch(trainer.curve),
        "valid": both_protocols(ranks, metrics),
        "ranks": {p: pack_ranks(ranks.of(p), metrics.depth) for p in PROTOCOLS},
    }


def main(argv: list[str]) -> None:
    options = read_options(argv, {**DEFAULTS, "output": str(HERE / "results" / "backbone-sweep.json")})
    chosen = [PRESET]
    for name in options["variants"].split(","):
        if name not in {**GROUPS, **VARIANTS}:
            sys.exit(f"error: --variants={name}: use some of {', '.join([*GROUPS, *VARIANTS])}")
        chosen += GROUPS.get(name, [name])
    base: Ranks | None = None
    metrics = Metrics(("Recall", "NDCG"), (5, 10, 20), 6, "ndcg@10")
    for name in dict.fromkeys(chosen):
        row = of_child(__file__, {**options, "variant": name})
        packed = row.pop("ranks")
        ranks = Ranks(**{protocol: unpack_ranks(packed[protocol]) for protocol in PROTOCOLS})
        if base is None:
            base = ranks
        else:
            row["gain"] = improvements(base, ranks, metrics, Resampling(2000, int(options["seed"])))
        print(json_line({key: row[key] for key in ("variant", "best_epoch", "valid")}), flush=True)
        add_row(Path(options["output"]), {**row, **conditions()}, _identity, _place)


def _identity(row: dict[str, Any]) -> tuple[str, int, str]:
    return row["dataset"], row["seed"], row["variant"]


def _place(row: dict[str, Any]) -> tuple[str, int, int]:
    known = [*VARIANTS]
    return row["dataset"], row["seed"], known.index(row["variant"]) if row["variant"] in known else len(known)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(json.loads(os.environ["OPTIONS"]))))
    else:
        main(sys.argv[1:])
