"""Stage three: fine-tuning of the augmentation on RecBole's Trainer, with a filled memory and a frozen backbone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import product

import torch
from torch import Tensor

from recbole_raserec.config.config import Config
from recbole_raserec.evaluation.metrics import Metrics, both_protocols
from recbole_raserec.evaluation.ranking import Ranks
from recbole_raserec.model import RaSeRec
from recbole_raserec.retrieval.mixture import Mixture
from recbole_raserec.runtime import processes
from recbole_raserec.training import checkpoints
from recbole_raserec.training.course import Course, OnEpoch
from recbole_raserec.training.queries import Queries, rank_mixtures, rank_queries
from recbole_raserec.training.remember import Remembered
from recbole_raserec.training.stage import StageTrainer


class FinetuneTrainer(StageTrainer):
    """Trains the augmentation module on cached queries and neighbours. No step encodes or searches."""

    def __init__(self, config: Config, model: RaSeRec, data_sha256: str, queries: Queries) -> None:
        super().__init__(
            config,
            model.augmentation,
            "finetune",
            data_sha256,
            checkpoints.finetune_source(model.backbone, data_sha256),
        )
        self.raserec, self.queries = model, queries
        self.epochs = config["finetune_epochs"]
        self.eval_step = min(config["eval_step"], self.epochs)
        self.stopping_step = config["finetune_stopping_step"]
        self.learning_rate = config["finetune_learning_rate"]
        self.optimizer = self._build_optimizer(weight_decay=0.0)
        self.targets = torch.from_numpy(queries.prefixes.targets).to(self.device)

    def batches(self, epoch: int) -> Iterable[Tensor]:
        order = torch.randperm(len(self.targets)).to(self.device)  # each epoch has its own seed
        return order.split(self.config["finetune_batch_size"])

    def loss(self, batch: Tensor) -> Tensor:
        mine = batch[processes.rank() :: processes.size()]
        if len(mine) == 0:
            return self.zero_loss()
        return self.raserec.loss(*self.queries[mine], self.targets[mine]) * (len(mine) / len(batch))

    def rank(self, part: Queries, show_progress: bool) -> Ranks:
        self.raserec.eval()
        return rank_queries(self.raserec.scorer(), part, self.config["eval_batch_size"], show_progress)


@dataclass(frozen=True)
class Finetuned:
    """The results of fine-tuning apart from the weights and the mixture, which are in the model.

    Attributes
    ----------
    valid : validation metrics of the best epoch, with the chosen mixture.
    mixture : the chosen mixture; None if no weight above 0 was tried.
    tried : each tried mixture, with its validation metric under both protocols.
    """

    valid: dict[str, float]
    course: Course
    mixture: Mixture | None = None
    tried: list[dict[str, float]] = field(default_factory=list)


def finetune(
    config: Config, model: RaSeRec, data_sha256: str, remembered: Remembered, on_epoch: OnEpoch | None = None
) -> Finetuned:
    """Train the augmentation; the model ends at its best epoch, with the mixture that validates best."""
    model.freeze_backbone()
    train = remembered.train.to(config["device"], model.top_k)
    valid = remembered.valid.to(config["device"], model.depth)
    stage = FinetuneTrainer(config, model, data_sha256, train)
    metrics = stage.run(valid, bool(config["show_progress"]), on_epoch)
    pairs = product(config["mixture_weight"], config["mixture_tau"])
    mixtures = list(dict.fromkeys(Mixture(weight, tau if weight else 1.0) for weight, tau in pairs))
    if not any(mixture.weight for mixture in mixtures):
        return Finetuned(metrics, stage.course)
    return _with_best_mixture(config, model, valid, mixtures, stage.course)


def _with_best_mixture(
    config: Config, model: RaSeRec, valid: Queries, mixtures: list[Mixture], course: Course
) -> Finetuned:
    """Keep the mixture with the best sum of the validation metric over both protocols.

    A larger weight can raise the unmasked figures and lower the masked ones (Beauty: docs/tried.md).
    """
    metrics, block, show_progress = Metrics.of(config), config["eval_batch_size"], bool(config["show_progress"])
    model.eval()
    ranks = rank_mixtures(model.scorer(), mixtures, valid, block, show_progress)
    found = {mixture: both_protocols(each, metrics) for mixture, each in zip(mixtures, ranks)}
    tried = [
        {**asdict(mixture), **{protocol: of[metrics.watched] for protocol, of in found[mixture].items()}}
        for mixture in mixtures
    ]
    best = max(mixtures, key=lambda mixture: sum(of[metrics.watched] for of in found[mixture].values()))
    model.mixture = best
    return Finetuned(found[best]["unmasked"], course, best, tried)
