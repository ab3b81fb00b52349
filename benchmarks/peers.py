"""What each stage is timed beside: stock RecBole 1.2.1 or FAISS if it has the stage, otherwise a plain loop.

The plain loops search and filter in every step, row by row, and hold all logits. They turn off autograd's anomaly
mode, which RecBole's import turns on. The stages of regeneration are in ``peers_regeneration``.

If a whole stage would take many minutes, only some whole training steps are timed. The fraction of the stage that they
cover is returned with their seconds.
"""

from __future__ import annotations

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

from recbole_raserec.retrieval.attention import RetrievalAugmentation

K = 20
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


def timed_batches(loader: Any, step: Any, count: int) -> Timing:
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
    return timed_batches(loader, lambda batch: trainer._train_epoch([batch], 0), repeats)


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
    return timed_batches(TrainDataLoader(config, train, None, shuffle=True), step, repeats)


def memory_encoding(data_path: Path, name: str, repeats: int) -> Timing:
    """Encode every training prefix on its own, padded to 50 items."""
    config, (train, _, _), model = _model(data_path, name)
    model.eval()

    @torch.no_grad()
    def encode(batch: Any) -> None:
        model(batch["item_id_list"], batch["item_length"])

    return timed_batches(TrainDataLoader(config, train, None, shuffle=False), encode, repeats)


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

    return timed_batches(loader, search, len(loader) - 1)


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
    return timed_batches(TrainDataLoader(config, train, None, shuffle=True), step, 2 * repeats)


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

    seconds, _ = timed_batches(loader, evaluate, min(repeats, whole - 2))
    return seconds, config["eval_batch_size"] / len(test)


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
    )
}
