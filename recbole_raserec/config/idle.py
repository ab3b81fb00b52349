"""Parameters that a user sets and that change nothing under the values of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from recbole_raserec.config.parameters import PARAMETERS, is_of

MINED = ("pattern_window", "pattern_min_support")  # read wherever patterns are, in training rows or memories

_GENERATED = tuple(name for name in PARAMETERS if is_of(name, "regeneration") and name != "regenerate")
_LEARNED = tuple(name for name in _GENERATED if PARAMETERS[name].source == "DR4SR+")
_ATTENTION = tuple(name for name in PARAMETERS if is_of(name, "augmentation") and name != "alpha")


class _Rule(NamedTuple):
    """Where ``holds``, none of ``names`` is read, because of ``why``."""

    names: tuple[str, ...]
    holds: Callable[[dict[str, Any]], bool]
    why: str


def _decodes(final: dict[str, Any]) -> bool:
    return final["regenerate"] is not None and "decoded" in final["regenerate_parts"]


def _mines(final: dict[str, Any]) -> bool:
    trains = final["regenerate"] is not None and "patterns" in final["regenerate_parts"]
    return trains or _decodes(final) or "patterns" in final["memory"]


_RULES = (
    _Rule(MINED, lambda final: not _mines(final), "neither regenerate_parts nor memory has patterns"),
    _Rule(
        tuple(name for name in _GENERATED if name not in MINED),
        lambda final: final["regenerate"] is None,
        "regenerate is not given",
    ),
    _Rule(
        (*(name for name in _GENERATED if name.startswith(("regenerator_", "decode_"))), "pattern_pairs"),
        lambda final: not _decodes(final),
        "regenerate_parts has no decoded",
    ),
    _Rule(
        ("pattern_weight",),
        lambda final: "patterns" not in final["regenerate_parts"],
        "regenerate_parts has no patterns",
    ),
    _Rule(_LEARNED, lambda final: final["regenerate"] != "DR4SR+", "regenerate is not DR4SR+"),
    _Rule(
        ("regenerator_embedding_epochs",),
        lambda final: final["regenerator_pretrained"] is not None,
        "regenerator_pretrained has the item vectors",
    ),
    _Rule(("time_shares",), lambda final: final["split"] != "time", "split is not time"),
    _Rule(
        ("epochs", "stopping_step", *_LEARNED),
        lambda final: final["pretrained"] is not None,
        "the backbone of pretrained is trained already",
    ),
    _Rule(
        ("learning_rate", "train_batch_size", "window_stride"),
        lambda final: final["pretrained"] is not None and not _decodes(final),  # the regenerator trains a backbone too
        "the backbone of pretrained is trained already",
    ),
    _Rule(("average_window", "average_form"), lambda final: not final.get("average_weight", 1), "average_weight is 0"),
    _Rule(("contrast_tau",), lambda final: not final.get("contrast_weight", 1), "contrast_weight is 0"),
    _Rule(("index_nprobe", "index_recall"), lambda final: final["index_factory"] == "Flat", "the index Flat is exact"),
    _Rule(("index_nprobe",), lambda final: final["index_recall"] > 0, "index_recall sets the effort"),
    _Rule(_ATTENTION, lambda final: final["alpha"] == 1, "alpha=1 leaves the user vector as it is"),
    _Rule(
        tuple(name for name in PARAMETERS if is_of(name, "mixture") and name != "mixture_weight"),
        lambda final: not any(final["mixture_weight"]),
        "mixture_weight is 0",
    ),
    _Rule(("wandb_project",), lambda final: not final["log_wandb"], "log_wandb is False"),
)


def idle(final: dict[str, Any], given: Iterable[str]) -> dict[str, str]:
    """The parameters among ``given`` that change nothing, each with the reason.

    Parameters
    ----------
    final : the value of every parameter, after the checks.
    given : names of the parameters to look at.
    """
    held = [rule for rule in _RULES if rule.holds(final)]
    reasons = {name: rule.why for rule in reversed(held) for name in rule.names}  # the first rule explains best
    return {name: reasons[name] for name in given if name in reasons}


def idle_in_all(finals: Iterable[dict[str, Any]], given: Iterable[str]) -> dict[str, str]:
    """The parameters among ``given`` that change nothing under any of ``finals``, each with a reason."""
    found = dict.fromkeys(given, "")
    for final in finals:
        found = idle(final, found)
        if not found:
            break
    return found
