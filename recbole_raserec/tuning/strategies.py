"""How a search draws its trials, and which of them it ends early."""

from __future__ import annotations

from typing import Any

from recbole_raserec.config.config import Config
from recbole_raserec.training.course import validated_every
from recbole_raserec.tuning.space import Dimension

SCHEDULERS = ("fifo", "asha")
SEARCHES = ("random", "grid", "optuna")
_ASHA_FACTOR = 3  # at each rung one trial in three continues


def algorithm(search: str, seed: int) -> Any:
    """What draws the points of ``search``, in Ray Tune's form."""
    if search == "optuna":
        from ray.tune.search.optuna import OptunaSearch

        return OptunaSearch(seed=seed)
    from ray.tune.search.basic_variant import BasicVariantGenerator

    return BasicVariantGenerator(random_state=seed)


def scheduler(name: str, most: int) -> Any:
    """What ends trials early, in Ray Tune's form; ``most`` is the largest number of reports of a trial.

    "asha" is the asynchronous successive halving of Li et al., 2020 (arXiv 1810.05934).
    """
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    if name == "fifo":
        return FIFOScheduler()
    return ASHAScheduler(max_t=most, grace_period=max(1, most // _ASHA_FACTOR**2), reduction_factor=_ASHA_FACTOR)


def most_reports(config: Config, space: list[Dimension], trains_backbone: bool) -> int:
    """The largest number of reports of a trial: one after each validation, and one at its end."""
    tried = {dimension.name: dimension.examples for dimension in space}

    def values(name: str) -> list[int]:
        return [int(value) for value in tried.get(name, [config[name]])]

    def validations(name: str) -> int:
        return max(epochs // validated_every(min(values("eval_step")), epochs) for epochs in values(name))

    return (validations("epochs") if trains_backbone else 0) + validations("finetune_epochs") + 1
