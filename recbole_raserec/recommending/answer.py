"""From histories to the best items. A history's answer does not depend on the others of its request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recbole_raserec.errors import DataError
from recbole_raserec.recommending.catalogue import Catalogue
from recbole_raserec.recommending.request import Request
from recbole_raserec.retrieval.neighbours import Neighbours
from recbole_raserec.retrieval.snapshot import Snapshot
from recbole_raserec.training.model_file import TrainedModel

_ROWS = 512  # histories answered at once
_SCORES = 2**24  # held at once
# Rows that go through a function together. A processor rounds a row alike whatever the other rows are, if their number
# is always the same.
_BLOCK = 16
_TOKENS, _LEAST = 128, 4  # items, and histories, of a block that is encoded

_OfUsers = Callable[[Tensor, Neighbours], Tensor]


class Best(NamedTuple):
    """The best items of B histories, best first.

    Attributes
    ----------
    row : [N] number of the history.
    item, score, rank : [N] each; ranks begin with 1.
    found : [B, K] rows of each history's memories in the snapshot.
    """

    row: np.ndarray
    item: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    found: np.ndarray


@dataclass(frozen=True)
class View:
    """A trained model, and its memories and catalogue at one moment."""

    trained: TrainedModel
    snapshot: Snapshot
    catalogue: Catalogue

    @cached_property
    def tokens(self) -> list[str]:
        """Tokens of the items that may be recommended."""
        tokens = self.trained.items.tokens
        return [tokens[number] for number in np.flatnonzero(self.catalogue.allowed).tolist()]

    def checked(self, items: np.ndarray, field: str) -> View:
        """This view. Raise DataError if one of ``items`` was forgotten, came later, or has too few owners yet."""
        allowed = self.catalogue.allowed
        for number in items.tolist():
            if number >= len(allowed) or not allowed[number]:
                raise DataError(field, self.trained.items.tokens[number], "an unknown item", "leave it out")
        return self

    @torch.no_grad()
    def encode(self, request: Request) -> np.ndarray:
        """[B, D] user vectors of the backbone. Each history must have an item that the backbone knows."""
        backbone = self.trained.model.backbone
        device, width = backbone.item_vectors.device, backbone.item_vectors.shape[1]
        known = [self._known(items)[-backbone.max_seq_length :] for items in request.items]
        lengths = np.array([len(items) for items in known], np.int64)
        users = np.where(request.owners < self.trained.user_num, np.maximum(request.owners, 0), 0)
        vectors = np.empty((len(known), width), np.float32)
        # A causal backbone does not see what follows a history, so few widths serve all lengths.
        encode: Callable[..., Tensor] = backbone.encode_padded if backbone.causal else backbone
        widths = _widths(lengths, backbone.max_seq_length) if backbone.causal else lengths
        for block in _blocks(widths):
            columns = _windows([known[row] for row in block], widths[block[0]]), lengths[block], users[block]
            found = encode(*(torch.from_numpy(column).to(device) for column in columns))
            vectors[block] = found.float().cpu().numpy()
        return vectors

    def is_cold(self, request: Request) -> np.ndarray:
        """[B] whether the backbone knows no item of a history."""
        return np.array([len(self._known(items)) == 0 for items in request.items], bool)

    def retrieve(self, vectors: np.ndarray, request: Request) -> np.ndarray:
        """[B, K] rows of the memories of each history."""
        return self.snapshot.search(vectors, request.owners, request.lengths, self.trained.model.depth)

    def neighbours(self, found: np.ndarray) -> Neighbours:
        """The memories ``found`` [B, K], on the model's device."""
        return self.snapshot.neighbours(torch.from_numpy(found).to(self.catalogue.scorer.item_vectors.device))

    def scores(self, vectors: np.ndarray, found: np.ndarray) -> np.ndarray:
        """[B, V] scores of all items."""
        return self._of_blocks(lambda h, memories: self.catalogue.scorer(h, memories).T, vectors, found)

    def users(self, vectors: np.ndarray, found: np.ndarray) -> np.ndarray:
        """[B, D] augmented user vectors, for the product with the scorer's items."""
        return self._of_blocks(self.catalogue.scorer.users, vectors, found)

    @torch.no_grad()
    def _of_blocks(self, function: _OfUsers, vectors: np.ndarray, found: np.ndarray) -> np.ndarray:
        """The results [B, ...] of ``function`` for vectors [B, D] and memories [B, K], in blocks of one size."""
        device, rows = self.catalogue.scorer.item_vectors.device, _padded(np.arange(len(vectors)), _BLOCK)
        results = []
        for block in rows.reshape(-1, _BLOCK):
            h = torch.from_numpy(vectors[block]).to(device)
            results.append(function(h, self.neighbours(found[block])).cpu().numpy())
        return np.concatenate(results)[: len(vectors)]

    def popular(self) -> np.ndarray:
        """[V] scores of the items by their number of training interactions, for histories that say nothing."""
        counts = np.zeros(len(self.catalogue.allowed), np.float32)
        counts[: len(self.trained.counts)] = self.trained.counts
        return counts

    def blocks(self, request: Request) -> Iterator[np.ndarray]:
        """Numbers of the histories that are answered at once."""
        size = max(1, min(_ROWS, _SCORES // len(self.catalogue.allowed)))
        for start in range(0, len(request), size):
            yield np.arange(start, min(start + size, len(request)))

    def best(self, request: Request, k: int, allowed: np.ndarray, filter_seen: bool) -> Best:
        """The ``k`` best ``allowed`` [V] items of each history, without its own items if ``filter_seen``."""
        cold = self.is_cold(request)
        scores = np.empty((len(request), len(allowed)), np.float32)
        found = np.full((len(request), self.trained.model.depth), -1, np.int32)
        scores[cold] = self.popular()
        warm = request.take(np.flatnonzero(~cold))
        if len(warm):
            vectors = self.encode(warm)
            found[~cold] = self.retrieve(vectors, warm)
            scores[~cold] = self.scores(vectors, found[~cold])
        scores[:, ~allowed] = -np.inf
        if filter_seen:
            for row, items in enumerate(request.items):
                scores[row, items[items < len(allowed)]] = -np.inf  # others became items after this view
        return Best(*_top(scores, k), found)

    def _known(self, items: np.ndarray) -> np.ndarray:
        """The items of the training data; the backbone has no vectors of others to read."""
        return items[items < len(self.trained.counts)]


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    """``rows``, with the last one repeated until they fill blocks of ``size``."""
    return np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % size)])


def _widths(lengths: np.ndarray, longest: int) -> np.ndarray:
    """[B] the next power of two from 8 on, at most ``longest``, that holds each history."""
    return np.minimum(2 ** np.ceil(np.log2(np.maximum(lengths, 8))).astype(np.int64), longest)


def _blocks(widths: np.ndarray) -> Iterator[np.ndarray]:
    """Numbers of histories that are encoded together: of one width, and always as many of a width."""
    for width in np.unique(widths).tolist():
        size = max(_LEAST, _TOKENS // width)
        yield from _padded(np.flatnonzero(widths == width), size).reshape(-1, size)


def _windows(histories: list[np.ndarray], width: int) -> np.ndarray:
    """[B, width] items, 0 after the end."""
    windows = np.zeros((len(histories), width), np.int64)
    for window, items in zip(windows, histories):
        window[: len(items)] = items
    return windows


def _top(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row, item, score and rank of the ``k`` best of each row [B, V]. Equal scores are in the order of the items.

    An item with the score -inf is left out.
    """
    k = min(k, scores.shape[1])
    least = torch.from_numpy(scores).topk(k, dim=1).values[:, -1].numpy()  # the k-th best score of each row
    row, item = np.nonzero((scores >= least[:, None]) & (scores > -np.inf))
    score = scores[row, item]
    order = np.lexsort((item, -score, row))
    row, item, score = row[order], item[order], score[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row) + 1
    kept = rank <= k
    return row[kept], item[kept], score[kept], rank[kept]
