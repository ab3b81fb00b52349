"""Stage two: training of a backbone, on whole windows or with one sample per prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_raserec.config.config import Config
from recbole_raserec.data.batches import AUTO, PackedLoader
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.data.sequences import Prefixes, Sequences
from recbole_raserec.errors import ConfigError, DataError
from recbole_raserec.evaluation.metrics import Metrics, recbole_metrics
from recbole_raserec.evaluation.ranking import Ranks
from recbole_raserec.model import RaSeRec
from recbole_raserec.retrieval.combination import BACKBONE
from recbole_raserec.runtime import processes
from recbole_raserec.training import checkpoints
from recbole_raserec.training.course import Course, OnEpoch
from recbole_raserec.training.queries import Queries, encode_part, rank_queries
from recbole_raserec.training.stage import StageTrainer

_SAME = 0.05  # by which, and by one user, a metric may differ from that of the training, on another machine say
_LOT = 16  # batches whose prefixes are drawn together


@dataclass(frozen=True)
class Pretrained:
    """The results of pre-training apart from the weights, which are in the model.

    Attributes
    ----------
    valid : validation metrics of the best epoch.
    course : None if a trained backbone was loaded.
    """

    valid: dict[str, float]
    course: Course | None = None


MakeTrainer = Callable[[Config, RaSeRec, SequenceDataset], StageTrainer]


def pretrain(
    config: Config,
    model: RaSeRec,
    dataset: SequenceDataset,
    make_trainer: MakeTrainer | None = None,
    on_epoch: OnEpoch | None = None,
) -> Pretrained:
    """Train the model's backbone, or load the checkpoint that ``pretrained`` names. The best epoch is kept.

    Parameters
    ----------
    make_trainer : creates the trainer; the default is :func:`backbone_trainer`.
    """
    if config["pretrained"] is not None:
        return Pretrained(restore("pretrained", config, model, dataset))
    stage = (make_trainer or backbone_trainer)(config, model, dataset)
    valid = stage.run(dataset.sequences.valid_part(), bool(config["show_progress"]), on_epoch)
    return Pretrained(valid, stage.course)


def restore(field: str, config: Config, model: RaSeRec, dataset: SequenceDataset) -> dict[str, float]:
    """Load the trained backbone that parameter ``field`` names, rank the validation part, and return the metrics.

    Raises
    ------
    ConfigError : it is no backbone of this architecture and these data, or its metrics are not those of its training:
        then items have other numbers (by other filters, say), or it computes something else.
    """
    state = checkpoints.restore_backbone(model.backbone, field, config, dataset.sha256)
    ranks = rank_backbone(config, model, dataset.sequences.valid_part(), bool(config["show_progress"])).unmasked
    as_then = Metrics.of(state["config"])
    now = recbole_metrics(ranks, as_then)
    for name, then in state["valid"].items():
        if abs(then - now[name]) > _SAME * then + 1 / len(ranks) + 10.0**-as_then.decimals:
            problem = f"its {name} on the validation part was {then:.4f} in training, and here it is {now[name]:.4f}"
            mend = "give the filters and parameters that it was trained with"
            raise ConfigError(field, config[field], problem, mend)
    return recbole_metrics(ranks, Metrics.of(config))


def rank_backbone(config: Config, model: RaSeRec, part: Prefixes, show_progress: bool) -> Ranks:
    """The ranks of a part by the backbone alone."""
    queries = Queries(part, torch.from_numpy(encode_part(model, part)).to(config["device"]))
    return rank_queries(model.scorer(BACKBONE), queries, config["eval_batch_size"], show_progress)


class BackboneStage(StageTrainer):
    """Stage two, however its batches are made."""

    def __init__(self, config: Config, model: RaSeRec, dataset: SequenceDataset) -> None:
        super().__init__(config, model.backbone, "pretrain", dataset.sha256, source=dataset.source)
        self.raserec = model
        if not len(dataset.sequences.trained_part()):
            mend = "add original to --regenerate_parts, or lower --pattern_min_support"
            raise DataError("dataset", config["dataset"], "there is no pair to train the backbone on", mend)

    def rank(self, part: Prefixes, show_progress: bool) -> Ranks:
        return rank_backbone(self.config, self.raserec, part, show_progress)


class BackboneTrainer(BackboneStage):
    """Stage two of a causal backbone: packed windows."""

    def __init__(self, config: Config, model: RaSeRec, dataset: SequenceDataset) -> None:
        super().__init__(config, model, dataset)
        self.loader = packed_loader(config, model, dataset.sequences)
        if config["window_stride"] == AUTO:
            self.logger.info(
                f"window_stride=auto is {self.loader.stride}: {self.loader.windows.tokens_a_pair:.2f} items read a pair"
            )
        self.model.use_training(dataset.sequences.trained_part())

    def batches(self, epoch: int) -> Iterable[list[Interaction]]:
        self.loader.set_epoch(epoch)
        return self.loader

    def loss(self, batch: list[Interaction]) -> Tensor:
        return self.model.packed_loss(batch, self.loader.budget) if batch else self.zero_loss()


class PrefixTrainer(BackboneStage):
    """Stage two of any other backbone: its own loss on one sample a prefix.

    Prefixes are drawn in random lots. If the model allows it, the prefixes of a lot are sorted by length, and a
    batch is cut to its longest history.
    """

    def __init__(self, config: Config, model: RaSeRec, dataset: SequenceDataset) -> None:
        super().__init__(config, model, dataset)
        prefixes = dataset.sequences.trained_part()
        self.dataset, self.part = dataset, dataset.feat_of(prefixes)
        self.lengths = np.minimum(prefixes.lengths, self.model.max_seq_length)
        self.item_seq_field = model.ITEM_SEQ

    def batches(self, epoch: int) -> Iterable[np.ndarray]:
        rng = np.random.default_rng((self.config["seed"], epoch))
        size, order = self.config["train_batch_size"], rng.permutation(len(self.lengths))
        if self.model.trims:
            order = order[np.lexsort((self.lengths[order], np.arange(len(order)) // (_LOT * size)))]
        batches = np.split(order, range(size, len(order), size))
        return [batches[number] for number in rng.permutation(len(batches))]

    def loss(self, batch: np.ndarray) -> Tensor:
        mine = batch[processes.rank() :: processes.size()]
        if len(mine) == 0:
            return self.zero_loss()
        interaction = self.model.transform(self.dataset, self.part[mine])
        if self.model.trims:
            interaction[self.item_seq_field] = interaction[self.item_seq_field][:, : int(self.lengths[mine].max())]
        return self.model.calculate_loss(interaction.to(self.device)) * (len(mine) / len(batch))


def packed_loader(config: Config, model: RaSeRec, sequences: Sequences) -> PackedLoader:
    return PackedLoader(
        sequences,
        item_seq_field=model.ITEM_SEQ,
        max_length=model.max_seq_length,
        budget=config["train_batch_size"],
        seed=config["seed"],
        stride=config["window_stride"],
        part=(processes.rank(), processes.size()),
    )


def backbone_trainer(config: Config, model: RaSeRec, dataset: SequenceDataset) -> StageTrainer:
    """The trainer of the configured backbone on this data set. DR4SR+ has a trainer of its own."""
    return (BackboneTrainer if model.backbone.causal else PrefixTrainer)(config, model, dataset)
