"""What each stage is timed beside: stock RecBole 1.2.1, Seq2Pat or FAISS if it has the stage, otherwise a plain loop.

The plain loops search and filter in every step, row by row, and hold all logits. They turn off autograd's anomaly
mode, which RecBole's import turns on.

If a whole stage would take many minutes, only some whole training steps are timed. The fraction of the stage that they
cover is returned with their seconds.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import faiss
import numpy as np
import recbole.config
import torch
import torch.nn.functional as F
from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader
from recbole.data.dataset import SequentialDataset
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from torch import nn

from benchmarks import ours
from recbole_raserec.data.patterns import mine_patterns
from recbole_raserec.regeneration.decoding import source_tokens
from recbole_raserec.regeneration.regenerator import Packed, Regenerator
from recbole_raserec.regeneration.trainer import target_tokens
from recbole_raserec.retrieval.attention import RetrievalAugmentation

K = 20
PEER_SEQUENCES = 20  # sequences that are decoded, one at a time
Timing = tuple[list[float], float]


def load(data_path: Path, name: str) -> tuple[Any, SequentialDataset]:
    """RecBole's own Config and data set, read but not yet built."""
    sys.argv = sys.argv[:1]  # RecBole's Config reads the command line
    config = recbole.config.Config(
        SASRec,
        name,
        config_dict={
            "data_path": str(data_path),
            "train_neg_sample_args": None,
            "show_progress": False,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "metrics": ["Recall", "NDCG"],
            "topk": [5, 10, 20],
            "valid_metric": "NDCG@10",
        },
    )
    torch.manual_seed(config["seed"])
    return config, SequentialDataset(config)


def sequence_building(data_path: Path, name: str, repeats: int) -> Timing:
    """``Dataset.build``: augmentation and leave-one-out."""
    dataset = load(data_path, name)[1]
    start = perf_counter()
    dataset.build()
    return [perf_counter() - start], 1.0


def _model(data_path: Path, name: str) -> tuple[Any, list[SequentialDataset], SASRec]:
    config, dataset = load(data_path, name)
    parts = dataset.build()
    return config, parts, SASRec(config, parts[0])


def _timed_batches(loader: Any, step: Any, count: int) -> Timing:
    """Seconds of each of ``count`` steps after a first untimed step, and one step's fraction of the loader."""
    seconds = []
    for number, batch in enumerate(loader):
        start = perf_counter()
        step(batch)
        if number:
            seconds.append(perf_counter() - start)
        if number == count:
            break
    return seconds, 1 / len(loader)


def sasrec_epoch(data_path: Path, name: str, repeats: int) -> Timing:
    """Training steps of RecBole's Trainer: 2,048 prefixes padded to 50. Autograd's anomaly mode is off."""
    torch.autograd.set_detect_anomaly(False)
    return sasrec_epoch_as_shipped(data_path, name, repeats)


def sasrec_epoch_as_shipped(data_path: Path, name: str, repeats: int) -> Timing:
    """The same with anomaly mode on, which RecBole's import turns on."""
    config, (train, _, _), model = _model(data_path, name)
    trainer = Trainer(config, model)
    loader = TrainDataLoader(config, train, None, shuffle=True)
    return _timed_batches(loader, lambda batch: trainer._train_epoch([batch], 0), repeats)


class PlainDuoRec(SASRec):
    """DuoRec with its authors' loss on padded prefixes: three passes, and all views compared in one masked table."""

    def contrast(self, second: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        views, number = torch.cat([second, other]), len(second)
        similarity = views @ views.T
        positives = torch.cat([similarity.diag(number), similarity.diag(-number)])[:, None]
        mask = ~torch.eye(2 * number, dtype=torch.bool)
        mask &= ~torch.eye(2 * number, dtype=torch.bool).roll(number, dims=0)
        logits = torch.cat([positives, similarity[mask].view(2 * number, -1)], dim=1)
        return F.cross_entropy(logits, torch.zeros(2 * number, dtype=torch.long))


def duorec_epoch(data_path: Path, name: str, repeats: int) -> Timing:
    """RecBole has no DuoRec. The peer is its SASRec with the authors' term; Python draws a partner for each row."""
    config, (train, _, _), _ = _model(data_path, name)
    model = PlainDuoRec(config, train)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    rows_of: dict[int, list[int]] = {}
    for row, target in enumerate(train.inter_feat["item_id"].tolist()):
        rows_of.setdefault(target, []).append(row)
    rng = np.random.default_rng(0)

    def step(batch: Any) -> None:
        partner = train.inter_feat[[int(rng.choice(rows_of[target])) for target in batch["item_id"].tolist()]]
        second, other = (model(b["item_id_list"], b["item_length"]) for b in (batch, partner))
        optimizer.zero_grad()
        (model.calculate_loss(batch) + 0.1 * model.contrast(second, other)).backward()
        optimizer.step()

    torch.autograd.set_detect_anomaly(False)
    return _timed_batches(TrainDataLoader(config, train, None, shuffle=True), step, repeats)


def memory_encoding(data_path: Path, name: str, repeats: int) -> Timing:
    """Encode every training prefix on its own, padded to 50 items."""
    config, (train, _, _), model = _model(data_path, name)
    model.eval()

    @torch.no_grad()
    def encode(batch: Any) -> None:
        model(batch["item_id_list"], batch["item_length"])

    return _timed_batches(TrainDataLoader(config, train, None, shuffle=False), encode, repeats)


def _filtered(index: faiss.Index, batch: Any, queries: np.ndarray, users: np.ndarray, lengths: np.ndarray) -> list:
    """Search deeper than K, and drop the user's own later memories row by row."""
    near = index.search(queries, 2 * K)[1]
    kept = []
    for row, (user, length) in enumerate(zip(batch["user_id"].tolist(), batch["item_length"].tolist())):
        kept.append([n for n in near[row] if not (users[n] == user and lengths[n] >= length)][:K])
    return kept


def _memory(train: SequentialDataset) -> tuple[faiss.Index, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    keys = np.random.default_rng(0).normal(size=(len(train), 64)).astype(np.float32)
    normal = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(64)
    index.add(normal)
    inter = train.inter_feat
    return index, normal, inter["user_id"].numpy(), inter["item_length"].numpy(), inter["item_id"].numpy()


def neighbour_search(data_path: Path, name: str, repeats: int) -> Timing:
    """Exact FAISS search of every training batch but the first, filtered row by row."""
    config, (train, _, _), _ = _model(data_path, name)
    index, normal, users, lengths, _ = _memory(train)
    loader = TrainDataLoader(config, train, None, shuffle=False)
    starts = iter(range(0, len(train), config["train_batch_size"]))

    def search(batch: Any) -> None:
        start = next(starts)
        _filtered(index, batch, normal[start : start + len(batch)], users, lengths)

    return _timed_batches(loader, search, len(loader) - 1)


def finetune_epoch(data_path: Path, name: str, repeats: int) -> Timing:
    """A step re-encodes its prefixes, searches their memories, and takes a plain softmax over all logits."""
    config, (train, _, _), model = _model(data_path, name)
    config["train_batch_size"] = 1024
    index, normal, users, lengths, targets = _memory(train)
    memories, module = torch.from_numpy(normal), RetrievalAugmentation(64)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    items = model.item_embedding.weight.detach()
    model.eval()

    def step(batch: Any) -> None:
        with torch.no_grad():
            h = model(batch["item_id_list"], batch["item_length"])
        found = _filtered(index, batch, F.normalize(h).numpy(), users, lengths)
        at = torch.tensor([row + [0] * (K - len(row)) for row in found])
        real = torch.tensor([[True] * len(row) + [False] * (K - len(row)) for row in found])
        mixed = module(h, memories[at], items[torch.from_numpy(targets)[at]], real)
        optimizer.zero_grad()
        F.cross_entropy(mixed @ items.T, batch["item_id"]).backward()
        optimizer.step()

    torch.autograd.set_detect_anomaly(False)
    return _timed_batches(TrainDataLoader(config, train, None, shuffle=True), step, 2 * repeats)


def evaluation(data_path: Path, name: str, repeats: int) -> Timing:
    """RecBole's Trainer.evaluate over a test batch of 4,096 users, unmasked only."""
    config, (_, _, test), model = _model(data_path, name)
    trainer = Trainer(config, model)
    loader = FullSortEvalDataLoader(config, test, None)
    whole = len(loader)

    class OneBatch(FullSortEvalDataLoader):
        def __iter__(self) -> Any:
            return iter([self.batch])

        def __len__(self) -> int:
            return 1

    one = OneBatch(config, test, None)

    def evaluate(batch: Any) -> None:
        one.batch = batch
        trainer.evaluate(one, load_best_model=False)

    seconds, _ = _timed_batches(loader, evaluate, min(repeats, whole - 2))
    return seconds, config["eval_batch_size"] / len(test)


def mining(data_path: Path, name: str, repeats: int) -> Timing:
    """Mining by Seq2Pat. Its patterns must equal ours."""
    from sequential.seq2pat import Seq2Pat

    training = ours.load(data_path, name)[1].build()[0].sequences.training_only()
    lists = [part.tolist() for part in np.split(training.items, training.offsets[1:-1]) if len(part)]
    found: list[list[int]] = []

    def mine() -> None:
        found[:] = Seq2Pat(sequences=lists, max_span=5, n_jobs=os.cpu_count()).get_patterns(min_frequency=2)

    seconds = ours.repeat(mine, repeats)
    patterns = mine_patterns(training)
    mined = np.split(patterns.items, patterns.offsets[1:-1])
    theirs = {(*pattern[:-1], pattern[-1]) for pattern in found}  # the last number is the support
    assert theirs == {(*items.tolist(), support) for items, support in zip(mined, patterns.support.tolist())}
    return seconds, 1.0


class PlainRegenerator(nn.Module):
    """The same network with torch's own layers. Everything is padded; all logits are computed, then masked."""

    def __init__(self, model: Regenerator) -> None:
        super().__init__()
        items, size = model.embedding.weight.shape
        self.sos, self.diversity = model.sos, model.diversity
        self.embedding, self.position = nn.Embedding(items, size, padding_idx=0), nn.Embedding(100, size)
        self.norm, self.dropout = nn.LayerNorm(size), nn.Dropout(0.5)
        settings = {"activation": "gelu", "batch_first": True}
        layer = nn.TransformerEncoderLayer(size, 2, 256, 0.5, **settings)
        self.encoder, self.condition = (nn.TransformerEncoder(layer, 2, enable_nested_tensor=False) for _ in range(2))
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(size, 2, 256, 0.5, **settings), 2)
        spread = self.diversity * size
        self.promoter = nn.Sequential(nn.Linear(size, spread), nn.ReLU(), nn.Linear(spread, spread))
        self.chooser = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, self.diversity))

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.norm(self.embedding(tokens) + self.position.weight[: tokens.size(1)]))

    def loss(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        hidden = self.condition(self.embed(target), src_key_padding_mask=target == 0)
        pooled = (hidden * (target > 0)[..., None]).sum(dim=1) / (target > 0).sum(dim=1, keepdim=True)
        weights = F.gumbel_softmax(self.chooser(pooled), tau=1.0)
        encoded = self.promoter(self.encoder(self.embed(source), src_key_padding_mask=source == 0))
        memory = torch.einsum("pk,plkd->pld", weights, encoded.unflatten(-1, (self.diversity, -1)))
        read, wanted = target[:, :-1], target[:, 1:]
        future = torch.ones(read.size(1), read.size(1), dtype=torch.bool).triu(1)
        hidden = self.decoder(self.embed(read), memory, future, memory_key_padding_mask=source == 0)
        logits = hidden @ self.embedding.weight.T
        allowed = torch.zeros(len(source), logits.size(-1), dtype=torch.bool).scatter_(1, source, True)
        allowed[:, [0, self.sos]] = False
        logits = logits.masked_fill(~allowed[:, None], torch.finfo(logits.dtype).min)
        entropy = -(weights * weights.clamp(min=1e-12).log()).sum(dim=-1).mean()
        return F.cross_entropy(logits[wanted > 0], wanted[wanted > 0]) + entropy


def regenerator_epoch(data_path: Path, name: str, repeats: int) -> Timing:
    """Each pair encodes its source again, padded to the maximum."""
    config, dataset, pairs = ours._pairs(data_path, name)
    ids = ours.regenerator(config, dataset.item_num)
    model = PlainRegenerator(ids)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98))
    everything = np.random.default_rng(0).permutation(len(pairs.sequence))
    width = ids.max_length + 2

    def step(rows: np.ndarray) -> None:
        source = source_tokens(pairs.sequences, pairs.sequence[rows], ids)
        source = F.pad(source, (0, width - source.size(1)))
        target = target_tokens(pairs.patterns, pairs.pattern[rows], ids)
        optimizer.zero_grad()
        model.loss(source, target).backward()
        optimizer.step()

    torch.autograd.set_detect_anomaly(False)
    model.train()
    return _timed_batches(np.array_split(everything, len(everything) // 256), step, 2 * repeats)


def decoding(data_path: Path, name: str, repeats: int) -> Timing:
    """Decode one sequence and one memory at a time. The whole row is read again for every token."""
    config, dataset, pairs = ours._pairs(data_path, name)
    model = ours.trained_regenerator(config, dataset, pairs)
    some = np.random.default_rng(0).choice(len(pairs.sequences), (repeats, PEER_SEQUENCES), replace=False)

    @torch.no_grad()
    def decode_one(number: int) -> None:
        source = source_tokens(pairs.sequences, np.array([number]), model)
        for memory in range(model.diversity):
            encoded = model.encode(Packed(source))[:, memory]
            row: list[int] = []
            while len(row) < config["decode_max_length"]:
                read = torch.tensor([[model.sos, *row]])
                hidden = model.decode(Packed(read), encoded, source > 0)[0, -1]
                logits = hidden @ model.embedding.weight.T
                banned = {0, model.sos, *row}
                if len(row) < 2:
                    banned |= set(range(len(logits))) - set(source[0].tolist())
                logits[sorted(banned)] = -torch.inf
                token = int(logits.argmax())
                if token == model.eos:
                    break
                row.append(token)

    seconds = []
    for numbers in some:
        seconds += ours.repeat(lambda numbers=numbers: [decode_one(number) for number in numbers], 1)
    return seconds, PEER_SEQUENCES / len(pairs.sequences)


STAGES = {
    stage.__name__: stage
    for stage in (
        sequence_building,
        sasrec_epoch,
        sasrec_epoch_as_shipped,
        duorec_epoch,
        memory_encoding,
        neighbour_search,
        finetune_epoch,
        evaluation,
        mining,
        regenerator_epoch,
        decoding,
    )
}
