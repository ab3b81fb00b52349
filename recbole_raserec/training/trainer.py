"""The two-stage hook: pre-train the backbone, fill the memory, switch to retrieval-augmented fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_raserec.backbones.cluster import encode_on_ray
from recbole_raserec.backbones.encode import encode_prefixes
from recbole_raserec.backbones.scoring import scored_items, scoring_users
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.data.patterns import mine_patterns
from recbole_raserec.data.sequences import Prefixes
from recbole_raserec.evaluation.metrics import Metrics, both_protocols
from recbole_raserec.evaluation.ranking import Ranks, rank_variants
from recbole_raserec.model import RaSeRec
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.retrieval.mixture import Mixture
from recbole_raserec.runtime import processes
from recbole_raserec.runtime.progress import bar, timed
from recbole_raserec.training import checkpoints
from recbole_raserec.training.backbone import BackboneTrainer, backbone_trainer
from recbole_raserec.training.stage import OnEpoch, StageTrainer


@dataclass(frozen=True)
class Queries:
    """A part under a frozen backbone: encoded once, searched once.

    Attributes
    ----------
    prefixes : R rows.
    vectors : [R, D] their user vectors.
    neighbours : [R, K] memories of each; None before there is a memory.
    """

    prefixes: Prefixes
    vectors: Tensor
    neighbours: Tensor | None = None

    def to(self, device: torch.device, k: int) -> Queries:
        """The same on ``device``, with the ``k`` nearest memories."""
        near = None if self.neighbours is None else self.neighbours[:, :k].to(device)
        return Queries(self.prefixes, self.vectors.to(device), near)


@dataclass(frozen=True)
class Prepared:
    """All that fine-tuning starts from; runs that differ only in stage three share it.

    Attributes
    ----------
    backbone, valid : trained weights on the CPU, and their validation metrics.
    memory : what the bank holds.
    train_queries, valid_queries : with the nearest memories of every row.
    """

    backbone: dict[str, Tensor]
    valid: dict[str, float]
    memory: MemoryBank
    train_queries: Queries
    valid_queries: Queries


def augmented(model: RaSeRec, queries: Queries, rows: Tensor) -> Tensor:
    """[B, D] vectors of ``rows`` [B], mixed with their memories where there are any."""
    h = queries.vectors[rows]
    return h if queries.neighbours is None else model.augment(h, queries.neighbours[rows])


def rank_queries(
    model: RaSeRec, queries: Queries, block: int, show_progress: bool, mixtures: Sequence[Mixture] | None = None
) -> list[Ranks]:
    """Ranks of the queries' targets under each of ``mixtures``, by default the model's own; dropout off."""
    model.eval()

    def user_vectors(rows: np.ndarray) -> Tensor:
        vectors = augmented(model, queries, torch.from_numpy(rows).to(queries.vectors.device))
        return scoring_users(vectors, model.backbone.item_bias)

    def variants(rows: np.ndarray, scores: Tensor) -> Iterable[Tensor]:
        if queries.neighbours is None:
            return [scores]
        at = torch.from_numpy(rows).to(queries.vectors.device)
        return model.mixed(scores, queries.vectors[at], queries.neighbours[at], mixtures)

    progress = bar("evaluate", show_progress)
    items = scored_items(model.item_vectors, model.backbone.item_bias)
    count = 1 if mixtures is None else len(mixtures)
    return rank_variants(user_vectors, items, queries.prefixes, block, variants, count, progress)


def finetune_source(model: RaSeRec, data_sha256: str) -> str:
    """What fine-tuning starts from: these data and this backbone, wherever it came from."""
    return f"{data_sha256} {checkpoints.weights_digest(model.backbone.state_dict())}"


class FinetuneTrainer(StageTrainer):
    """Stage three: the augmentation module over cached queries and neighbours; no step encodes or searches."""

    def __init__(self, config: Any, model: RaSeRec, data_sha256: str, queries: Queries) -> None:
        super().__init__(config, model.augmentation, "finetune", data_sha256, finetune_source(model, data_sha256))
        self.raserec, self.queries = model, queries
        self.epochs = config["finetune_epochs"]
        self.eval_step = min(config["eval_step"], self.epochs)
        self.stopping_step = config["finetune_stopping_step"]
        self.learning_rate = config["finetune_learning_rate"]
        self.optimizer = self._build_optimizer(weight_decay=0.0)
        self.targets = torch.from_numpy(queries.prefixes.targets).to(self.device)

    def batches(self, epoch: int) -> Iterable[Tensor]:
        order = torch.randperm(len(self.targets)).to(self.device)  # seeded by the epoch
        return order.split(self.config["finetune_batch_size"])

    def loss(self, batch: Tensor) -> Tensor:
        mine = batch[processes.rank() :: processes.size()]
        if len(mine) == 0:
            return self.nothing()
        vectors = augmented(self.raserec, self.queries, mine)
        return self.raserec.finetune_loss(vectors, self.targets[mine]) * (len(mine) / len(batch))

    def rank(self, part: Queries, show_progress: bool) -> Ranks:
        return rank_queries(self.raserec, part, self.config["eval_batch_size"], show_progress)[0]


class RaSeRecTrainer:
    """Runs both stages on a RaSeRec model and ranks with and without retrieval.

    Attributes
    ----------
    seconds : wall time of every stage: pretrain, memory, finetune, evaluate, drift; of a resumed training,
        that of the processes before it too.
    memory : training pairs; what :meth:`test` adds to it is not kept.
    mixtures : those that were tried, with the valid metric under both protocols.
    """

    def __init__(
        self,
        config: Any,
        model: RaSeRec,
        dataset: SequenceDataset,
        packed: type[BackboneTrainer] = BackboneTrainer,
    ) -> None:
        self.config, self.model, self.dataset, self.packed = config, model, dataset, packed
        self.show_progress = bool(config["show_progress"])
        self.train_part = dataset.sequences.train_part(generated=False)
        self.valid_part = dataset.sequences.valid_part()
        self.test_part = dataset.sequences.test_part()
        self.seconds: dict[str, float] = {}
        self.valid: dict[str, dict[str, float]] = {}
        self.curves: dict[str, list[float]] = {}
        self.losses: dict[str, list[float]] = {}
        self.mixtures: list[dict[str, float]] = []

    def prepare(self, on_epoch: OnEpoch | None = None) -> Prepared:
        """Pre-train the backbone (or load ``pretrained``), fill the memory, search it."""
        with timed(self.seconds, "pretrain"):
            valid = self._pretrain(on_epoch)
        with timed(self.seconds, "memory"):
            vectors = self._encode(self.train_part, "encode memory")
            self.model.use_memory(self._fill_memory(vectors))
            assert self.model.memory is not None
            return Prepared(
                backbone={name: value.cpu() for name, value in self.model.backbone.state_dict().items()},
                valid=valid,
                memory=self.model.memory,
                train_queries=self._retrieve(self.train_part, vectors, "search train", self.model.top_k),
                valid_queries=self._retrieve(self.valid_part, self._encode(self.valid_part), "search valid"),
            )

    def fit(self, prepared: Prepared | None = None, on_epoch: OnEpoch | None = None) -> None:
        """Fine-tune on what :meth:`prepare` gives, or has given; the model ends at its best epoch."""
        if prepared is None:
            prepared = self.prepare(on_epoch)
        else:
            self.model.backbone.load_state_dict(prepared.backbone)
        self.memory, self.valid["backbone"] = prepared.memory, prepared.valid
        self.model.use_memory(self.memory)
        train, valid = (
            queries.to(self.config["device"], k)
            for queries, k in ((prepared.train_queries, self.model.top_k), (prepared.valid_queries, self.model.depth))
        )
        with timed(self.seconds, "finetune"):
            stage = FinetuneTrainer(self.config, self.model, self.dataset.sha256, train)
            self.valid["raserec"] = stage.run(valid, self.show_progress, on_epoch)
            self._remember_course(stage)
            self._choose_mixture(valid)

    def test(self) -> dict[str, Ranks]:
        """Ranks of the test part: ``backbone``, ``train`` and ``train+valid`` (what the memory holds)."""
        with timed(self.seconds, "evaluate"):
            vectors = self._encode(self.test_part)
            plain = Queries(self.test_part, torch.from_numpy(vectors))
            ranks = {"backbone": self._rank(plain)}
            both = self.memory.join(self._remember(self.valid_part, self._encode(self.valid_part, "encode memory")))
            for name, memory in (("train", self.memory), ("train+valid", both)):
                self.model.use_memory(memory)
                queries = self._retrieve(self.test_part, vectors, f"search {name}")
                ranks[name] = self._rank(queries)
            self.model.use_memory(both if self.config["memory_include_valid"] else self.memory)
        return ranks

    def drift(self) -> dict[float, tuple[int, Ranks]]:
        """Test ranks without retraining for each of ``drift_shares``: how many memories were kept, and the ranks.

        A share of .5 leaves the older half of every user's training pairs in the memory.
        """
        with timed(self.seconds, "drift"):
            vectors, found = self._encode(self.test_part), {}
            headline = self.model.memory
            for share in self.config["drift_shares"]:
                memory = self.memory.older(share)
                self.model.use_memory(memory)
                found[share] = len(memory), self._rank(self._retrieve(self.test_part, vectors, f"search {share:.0%}"))
            self.model.use_memory(headline)
        return found

    def test_queries(self) -> Queries:
        """The test part with its memories, under the memory of the headline."""
        return self._retrieve(self.test_part, self._encode(self.test_part), "search test")

    def _rank(self, queries: Queries) -> Ranks:
        here = queries.to(self.config["device"], self.model.depth)
        return rank_queries(self.model, here, self.config["eval_batch_size"], self.show_progress)[0]

    def _choose_mixture(self, valid: Queries) -> None:
        """Keep the mixture of ``mixture_weight`` and ``mixture_tau`` that validates best under both protocols together.

        A larger weight can raise unmasked figures and lower masked ones (Beauty: benchmarks/TRIED.md).
        """
        metric = self.config["valid_metric"].lower()
        pairs = product(self.config["mixture_weight"], self.config["mixture_tau"])
        tried = list(dict.fromkeys(Mixture(weight, tau if weight else 1.0) for weight, tau in pairs))
        if not any(mixture.weight for mixture in tried):
            return
        ranks = rank_queries(self.model, valid, self.config["eval_batch_size"], self.show_progress, tried)
        found = {mixture: both_protocols(each, Metrics.of(self.config)) for mixture, each in zip(tried, ranks)}
        self.mixtures = [
            {**asdict(mixture), **{protocol: valid[metric] for protocol, valid in found[mixture].items()}}
            for mixture in tried
        ]
        best = max(tried, key=lambda mixture: sum(valid[metric] for valid in found[mixture].values()))
        self.model.mixture, self.valid["raserec"] = best, found[best]["unmasked"]

    def _pretrain(self, on_epoch: OnEpoch | None) -> dict[str, float]:
        path = self.config["pretrained"]
        if path is None:
            stage = backbone_trainer(self.config, self.model, self.dataset, self.packed)
            valid = stage.run(self.valid_part, self.show_progress, on_epoch)
            self._remember_course(stage)
            return valid
        return checkpoints.restore_backbone(self.model.backbone, path, self.config, self.dataset.sha256)

    def _remember_course(self, stage: StageTrainer) -> None:
        self.curves[stage.stage] = stage.curve
        self.seconds[stage.stage] = self.seconds.get(stage.stage, 0.0) + stage.earlier
        self.losses[stage.stage] = [float(loss) for loss in stage.train_loss_dict.values()]

    def _encode(self, part: Prefixes, label: str = "encode") -> np.ndarray:
        device, progress = self.config["device"], bar(label, self.show_progress)
        work = self.model.backbone, part, self.model.max_seq_length, device, progress
        if self.config["ray_address"] is not None and processes.size() == 1:
            return encode_on_ray(self.config["ray_address"], *work)
        return encode_prefixes(*work)

    def _fill_memory(self, vectors: np.ndarray) -> MemoryBank:
        """The bank that ``memory`` names; ``vectors`` [R, D] are those of the training part."""
        banks = []
        if "pairs" in self.config["memory"]:
            banks.append(self._remember(self.train_part, vectors))
        if "patterns" in self.config["memory"]:
            training = self.dataset.sequences.training_only()
            patterns = mine_patterns(training, self.config["pattern_window"], self.config["pattern_min_support"])
            part = patterns.prefixes()
            keys = self._encode(part, "encode patterns") if len(part) else np.zeros((0, vectors.shape[1]), np.float32)
            banks.append(self._remember(part, keys))
        return banks[0] if len(banks) == 1 else banks[0].join(banks[1])

    def _remember(self, part: Prefixes, keys: np.ndarray) -> MemoryBank:
        return MemoryBank(
            keys=keys,
            targets=part.targets,
            owners=part.users,
            lengths=part.lengths,
            index_factory=self.config["index_factory"],
            index_nprobe=self.config["index_nprobe"],
        )

    def _retrieve(self, part: Prefixes, vectors: np.ndarray, label: str, k: int | None = None) -> Queries:
        """The part with its ``k`` nearest memories, by default as many as ranking reads."""
        assert self.model.memory is not None
        progress = bar(label, self.show_progress)
        found = self.model.memory.search(vectors, part.users, part.lengths, k or self.model.depth, progress)
        return Queries(part, torch.from_numpy(vectors), torch.from_numpy(found))
