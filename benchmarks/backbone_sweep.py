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
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks import read_options  # noqa: E402
from benchmarks.children import add_row, conditions, of_child  # noqa: E402
from recbole_raserec.backbones.encode import encode_prefixes  # noqa: E402
from recbole_raserec.backbones.protocol import PackedPairs, Weigh  # noqa: E402
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
from recbole_raserec.pipeline import build_model, trainer_maker  # noqa: E402
from recbole_raserec.regeneration.dataset import RegeneratedDataset  # noqa: E402
from recbole_raserec.regeneration.decoding import decode_all, local_decoder  # noqa: E402
from recbole_raserec.regeneration.rows import (  # noqa: E402
    GeneratedRows,
    rows_of_decoded,
    rows_of_patterns,
    without_repeats,
)
from recbole_raserec.regeneration.stage import Regeneration  # noqa: E402
from recbole_raserec.runtime.files import json_line  # noqa: E402
from recbole_raserec.runtime.recbole_faults import quieten  # noqa: E402
from recbole_raserec.training.stage import StageTrainer  # noqa: E402

_SCORED = 4096  # pairs whose logits are held at once


@dataclasses.dataclass(frozen=True)
class Variant:
    """A change of the training.

    Attributes
    ----------
    backbone : other parameters of the backbone and its training.
    adjust : changes the model before training, where no parameter does; None = nothing.
    decodes : whether there are decoded rows.
    regenerator : parameters of the regenerator that differ from the defaults.
    decoding : parameters that the regenerator's training does not depend on.
    keep : (experiment, decoded rows) -> the rows that are trained on.
    times : 2 = the decoded rows are the sources of a second decoding, and its rows are used.
    """

    backbone: dict[str, Any] = dataclasses.field(default_factory=dict)
    adjust: Callable[[RaSeRec], None] | None = None
    decodes: bool = False
    regenerator: dict[str, Any] = dataclasses.field(default_factory=dict)
    decoding: dict[str, Any] = dataclasses.field(default_factory=dict)
    keep: Callable[[Experiment, GeneratedRows], GeneratedRows] = lambda experiment, rows: rows
    times: int = 1


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


def _not_patterns(experiment: Experiment, rows: GeneratedRows) -> GeneratedRows:
    """Rows that are no mined pattern."""
    both = without_repeats(experiment.patterns.join(rows))
    return both.of_parts(["decoded"])


def _half(likely: bool) -> Callable[[Experiment, GeneratedRows], GeneratedRows]:
    """The half of the rows that the backbone finds more or less likely."""

    def keep(experiment: Experiment, rows: GeneratedRows) -> GeneratedRows:
        score = experiment.likelihood(rows)
        return rows.select((score >= np.median(score)) == likely)

    return keep


def _random(share: float) -> Callable[[Experiment, GeneratedRows], GeneratedRows]:
    """This fraction of the rows."""

    def keep(experiment: Experiment, rows: GeneratedRows) -> GeneratedRows:
        return rows.select(np.random.default_rng(experiment.base["seed"]).random(len(rows)) < share)

    return keep


def _decoded(**more: Any) -> Variant:
    return Variant(decodes=True, **more)


def _embedding_dropout(probability: float) -> Callable[[RaSeRec], None]:
    def adjust(model: RaSeRec) -> None:
        backbone: Any = model.backbone
        backbone.dropout.p = probability

    return adjust


def _loss_of_branches(weight: float) -> Callable[[RaSeRec], None]:
    """Add this weight x the cross entropy of each branch (attention, moving average) of the top layer alone."""

    def adjust(model: RaSeRec) -> None:
        backbone: Any = model.backbone
        seen: dict[str, torch.Tensor] = {}
        top, whole = backbone.layers[-1], backbone.pairs_loss
        top.layer.average.register_forward_hook(lambda _, __, output: seen.update(average=output))
        top.layer.register_forward_hook(lambda _, __, output: seen.update(both=output))

        def loss(pairs: PackedPairs, weigh: Weigh | None = None) -> torch.Tensor:
            average, share = seen["average"], top.layer.weight
            attention = (seen["both"] - share * average) / (1 - share)
            hidden = [backbone.head.users(top.feed_forward(branch)) for branch in (average, attention)]
            return whole(pairs, weigh) + weight * sum(whole(pairs._replace(hidden=h), weigh) for h in hidden)

        backbone.pairs_loss = loss

    return adjust


PRESET = "preset full"
DECODED = {
    "gamma 1": _decoded(),
    "gamma .5": _decoded(decoding={"decode_gamma": 0.5}),
    "gamma .1": _decoded(decoding={"decode_gamma": 0.1}),
    "gamma 0": _decoded(decoding={"decode_gamma": 0.0}),
    "weight .3": _decoded(decoding={"decode_weight": 0.3}),
    "weight .1": _decoded(decoding={"decode_weight": 0.1}),
    "diversity 1": _decoded(regenerator={"regenerator_diversity": 1}),
    "diversity 10": _decoded(regenerator={"regenerator_diversity": 10}),
    "80 epochs": _decoded(regenerator={"regenerator_epochs": 80}),
    "no patterns among them": _decoded(keep=_not_patterns),
    "the likelier half": _decoded(keep=_half(True)),
    "the less likely half": _decoded(keep=_half(False)),
    "a random half": _decoded(keep=_random(0.5)),
    "decoded twice and a random fifth": _decoded(times=2, keep=_random(0.2)),  # about as many rows as decoded once
    "learned weights (DR4SR+)": _decoded(decoding={"regenerate": "DR4SR+"}),
    "no decoded rows and learned weights of the patterns": Variant({"regenerate": "DR4SR+"}),
}
LEVERS = {
    "L2 1e-4": Variant({"weight_decay": 1e-4}),
    "L2 1e-4 at rate 5e-4": Variant({"weight_decay": 1e-4, "learning_rate": 5e-4}),
    "L2 1e-4 at rate 1e-4": Variant({"weight_decay": 1e-4, "learning_rate": 1e-4}),
    "L2 1e-5": Variant({"weight_decay": 1e-5}),
    "attention dropout 0": Variant({"attn_dropout_prob": 0.0}),
    "embedding dropout .5 and others .2": Variant(
        {"hidden_dropout_prob": 0.2, "attn_dropout_prob": 0.2}, _embedding_dropout(0.5)
    ),
    "one layer of width 256": Variant({"n_layers": 1, "hidden_size": 256, "inner_size": 1024}),
    "moving average .7": Variant({"average_weight": 0.7}),
    "BSARec's filter .7, prefix by prefix": Variant(
        {"average_weight": 0.7, "average_form": "fourier", "average_window": 5}
    ),
    "moving average .7, and cross entropy of each branch .1": Variant({"average_weight": 0.7}, _loss_of_branches(0.1)),
    "moving average .7, and cross entropy of each branch .5": Variant({"average_weight": 0.7}, _loss_of_branches(0.5)),
}
VARIANTS = {PRESET: Variant(), **DECODED, **LEVERS}
GROUPS = {"decoded": DECODED, "levers": LEVERS}
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
        "best_epoch": max(range(len(trainer.curve)), key=trainer.curve.__getitem__) + 1,
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
