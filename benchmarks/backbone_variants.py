"""The changes of the backbone's training that benchmarks/backbone_sweep.py measures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from recbole_raserec.backbones.protocol import PackedPairs, Weigh
from recbole_raserec.model import RaSeRec
from recbole_raserec.regeneration.rows import GeneratedRows, without_repeats

if TYPE_CHECKING:  # the program imports the table of variants
    from benchmarks.backbone_sweep import Experiment


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


def _dropout(embeddings: float, others: float, **more: Any) -> Variant:
    """Other probabilities of dropout for embeddings and for layers."""
    of_layers = {"hidden_dropout_prob": others, "attn_dropout_prob": others}
    return Variant({"embedding_dropout_prob": embeddings, **of_layers, **more})


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
    "embedding dropout .5 and others .2": _dropout(0.5, 0.2),
    "embedding dropout .5 and others .3": _dropout(0.5, 0.3),
    "embedding dropout .5 and others .1": _dropout(0.5, 0.1),
    "embedding dropout .6 and others .2": _dropout(0.6, 0.2),
    "one layer of width 256": Variant({"n_layers": 1, "hidden_size": 256, "inner_size": 1024}),
    "moving average .7": Variant({"average_weight": 0.7}),
    "moving average .7 and embedding dropout .5 and others .2": _dropout(0.5, 0.2, average_weight=0.7),
    "preset best": Variant({"preset": "best"}),
    "preset best and embedding dropout .5 and others .2": _dropout(0.5, 0.2, preset="best"),
    "BSARec's filter .7 prefix by prefix": Variant(
        {"average_weight": 0.7, "average_form": "fourier", "average_window": 5}
    ),
    "moving average .7 and cross entropy of each branch .1": Variant({"average_weight": 0.7}, _loss_of_branches(0.1)),
    "moving average .7 and cross entropy of each branch .5": Variant({"average_weight": 0.7}, _loss_of_branches(0.5)),
}
VARIANTS = {PRESET: Variant(), **DECODED, **LEVERS}
GROUPS = {"decoded": DECODED, "levers": LEVERS}
