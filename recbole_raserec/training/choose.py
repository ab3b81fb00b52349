"""The choice of a combination of backbone and memories on the validation part. It needs no training."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from recbole_raserec.config.config import Config
from recbole_raserec.evaluation.metrics import Metrics, both_protocols
from recbole_raserec.evaluation.ranking import Ranks
from recbole_raserec.evaluation.safeguard import Safeguard
from recbole_raserec.model import RaSeRec
from recbole_raserec.retrieval.combination import BACKBONE, FULL, NO_MIXTURE, Combination
from recbole_raserec.retrieval.mixture import Mixture
from recbole_raserec.training.queries import Queries, rank_mixtures, rank_queries


@dataclass(frozen=True)
class Choice:
    """The chosen combination.

    Attributes
    ----------
    valid : its validation metrics, unmasked.
    tried : each tried combination, with its validation metric under both protocols, and with ``refused``, the reason
        in words if the safeguard refuses it.
    note : what the safeguard decided, in words; None without it.
    """

    combination: Combination
    valid: dict[str, float]
    tried: list[dict[str, Any]]
    note: str | None = None


def candidates(config: Config) -> list[Combination]:
    """The combinations that the configuration lists, each once."""
    values = product(config["mixture_weight"], config["mixture_tau"], config["mixture_popularity_exponent"])
    mixtures = dict.fromkeys(Mixture(weight, *of) if weight else NO_MIXTURE for weight, *of in values)
    return [
        Combination(mixture, strength, adjustment)
        for strength, adjustment in product(config["retrieval_strength"], config["popularity_adjustment"])
        for mixture in mixtures
    ]


def choose(config: Config, model: RaSeRec, valid: Queries, counts: np.ndarray) -> Choice:
    """The combination with the best sum of the validation metric over both protocols.

    A larger weight of the mixture can raise the unmasked figures and lower the masked ones (Beauty:
    docs/tried.md). With ``safeguard`` it is, of the combinations that pass it, the most certain of the best; if none
    passes, the choice is no retrieval.

    Parameters
    ----------
    valid : the validation part with its memories, on the model's device.
    counts : [V] training interactions of each item.
    """
    metrics, found = Metrics.of(config), _ranks(config, model, valid)
    figures = {each: both_protocols(ranks, metrics) for each, ranks in found.items()}

    def total(each: Combination) -> float:
        return sum(of[metrics.watched] for of in figures[each].values())

    refused: dict[Combination, str | None] = dict.fromkeys(found)
    best, note = max(found, key=total), None
    if config["safeguard"]:
        base = rank_queries(model.scorer(BACKBONE), valid, config["eval_batch_size"], bool(config["show_progress"]))
        part = valid.prefixes
        guard = Safeguard.of(base, part.targets, part.lengths, counts, metrics)
        refused = {each: guard.refusal(ranks) for each, ranks in found.items()}
        figures[BACKBONE] = both_protocols(base, metrics)
        allowed = {each: ranks for each, ranks in found.items() if refused[each] is None}
        best = guard.most_certain(allowed) if allowed else BACKBONE
        note = _note(best, len(allowed), len(found))
        logging.getLogger().info(note)
    tried = [
        _row(each, {name: of[metrics.watched] for name, of in figures[each].items()}, refused[each]) for each in found
    ]
    return Choice(best, figures[best]["unmasked"], tried, note)


def _ranks(config: Config, model: RaSeRec, valid: Queries) -> dict[Combination, Ranks]:
    """The validation ranks under each candidate. Mixtures of the same scores are ranked together."""
    groups: dict[tuple[float, float], list[Combination]] = {}
    for each in candidates(config):
        groups.setdefault((each.strength, each.adjustment), []).append(each)
    found: dict[Combination, Ranks] = {}
    for (strength, adjustment), members in groups.items():
        scorer, mixtures = model.scorer(Combination(FULL.mixture, strength, adjustment)), [m.mixture for m in members]
        ranks = rank_mixtures(scorer, mixtures, valid, config["eval_batch_size"], bool(config["show_progress"]))
        found.update(zip(members, ranks))
    return found


def _row(each: Combination, figures: dict[str, float], refused: str | None) -> dict[str, Any]:
    """A row of ``tried``. What stands for the paper's form is left out, as before there was another."""
    more = {} if each == Combination(each.mixture) else {"strength": each.strength, "adjustment": each.adjustment}
    return {**each.mixture.plain(), **more, **figures, **({"refused": refused} if refused else {})}


def _note(best: Combination, allowed: int, tried: int) -> str:
    if not best.retrieves:
        return (
            f"no retrieval: under each of {tried} combinations the validation part shows a loss, or too small a gain, "
            "against the backbone, so the backbone's scores are kept"
        )
    return (
        f"retrieval with strength {best.strength:g} and popularity adjustment {best.adjustment:g}: chosen from "
        f"the {allowed} of {tried} combinations under which the validation part shows no significant loss"
    )
