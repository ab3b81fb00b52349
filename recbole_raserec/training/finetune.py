"""Stage three: fine-tuning of the augmentation on RecBole's Trainer, with a filled memory and a frozen backbone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recbole_raserec.config.config import Config
from recbole_raserec.evaluation.ranking import Ranks
from recbole_raserec.model import RaSeRec
from recbole_raserec.retrieval.combination import FULL
from recbole_raserec.runtime import processes
from recbole_raserec.training import checkpoints
from recbole_raserec.training.choose import Choice, candidates, choose
from recbole_raserec.training.course import Course, OnEpoch, validated_every
from recbole_raserec.training.queries import Queries, rank_queries
from recbole_raserec.training.remember import Remembered
from recbole_raserec.training.stage import StageTrainer


class FinetuneTrainer(StageTrainer):
    """Trains the augmentation module on cached queries and neighbours. No step encodes or searches.

    ``each`` [R] is the weight of each pair in the loss; None means 1 for each.
    """

    rate = "finetune_learning_rate"

    def __init__(
        self, config: Config, model: RaSeRec, data_sha256: str, queries: Queries, each: Tensor | None = None
    ) -> None:
        super().__init__(
            config,
            model.augmentation,
            "finetune",
            data_sha256,
            checkpoints.finetune_source(model.backbone, data_sha256),
        )
        self.raserec, self.queries = model, queries
        self.epochs = config["finetune_epochs"]
        self.eval_step = validated_every(config["eval_step"], self.epochs)
        self.stopping_step = config["finetune_stopping_step"]
        self.learning_rate = config["finetune_learning_rate"]
        self.optimizer = self._build_optimizer(weight_decay=0.0)
        self.targets = torch.from_numpy(queries.prefixes.targets).to(self.device)
        self.each = None if each is None else each.to(self.device)

    def batches(self, epoch: int) -> Iterable[Tensor]:
        order = torch.randperm(len(self.targets)).to(self.device)  # each epoch has its own seed
        return order.split(self.config["finetune_batch_size"])

    def loss(self, batch: Tensor) -> Tensor:
        mine = batch[processes.rank() :: processes.size()]
        if len(mine) == 0:
            return self.zero_loss()
        each = None if self.each is None else self.each[mine]
        return self.raserec.loss(*self.queries[mine], self.targets[mine], each) * (len(mine) / len(batch))

    def rank(self, part: Queries, show_progress: bool) -> Ranks:
        self.raserec.eval()
        return rank_queries(self.raserec.scorer(), part, self.config["eval_batch_size"], show_progress)


@dataclass(frozen=True)
class Finetuned:
    """The results of fine-tuning apart from the weights and the combination, which are in the model.

    Attributes
    ----------
    valid : validation metrics of the best epoch, with the chosen combination.
    choice : of the combination; None if there was nothing to choose.
    """

    valid: dict[str, float]
    course: Course
    choice: Choice | None = None


def finetune(
    config: Config, model: RaSeRec, data_sha256: str, remembered: Remembered, on_epoch: OnEpoch | None = None
) -> Finetuned:
    """Train the augmentation; the model ends at its best epoch, with the combination that validates best."""
    model.freeze_backbone()
    model.count_items(torch.from_numpy(remembered.counts))
    train = remembered.train.to(config["device"], model.top_k)
    valid = remembered.valid.to(config["device"], model.depth)
    each = popularity_weights(train.prefixes.targets, remembered.counts, config["finetune_popularity_exponent"])
    stage = FinetuneTrainer(config, model, data_sha256, train, each)
    metrics = stage.run(valid, bool(config["show_progress"]), on_epoch)
    if not config["safeguard"] and candidates(config) == [FULL]:
        return Finetuned(metrics, stage.course)
    model.eval()
    choice = choose(config, model, valid, remembered.counts)
    model.combination = choice.combination
    return Finetuned(choice.valid, stage.course, choice)


def popularity_weights(targets: np.ndarray, counts: np.ndarray, exponent: float) -> Tensor | None:
    """[R] weights of pairs in the loss, (training count of the target)^-exponent, with the mean 1.

    Rare targets are trained on with more weight, so the memories do not serve the popular items alone. None if the
    exponent is 0.

    Parameters
    ----------
    targets : [R] items.
    counts : [V] training interactions of each item; above 0 for each target.
    """
    if not exponent:
        return None
    weights = counts[targets].astype(np.float64) ** -exponent
    return torch.from_numpy(weights / weights.mean()).float()
