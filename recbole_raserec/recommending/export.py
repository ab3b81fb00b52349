"""Vectors of users, items and memories for other programs, for example a vector store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recbole_raserec.errors import ConfigError, DataError
from recbole_raserec.recommending.answer import View
from recbole_raserec.recommending.request import Request
from recbole_raserec.runtime.files import replacing, writing

FORMS = ("parquet", "npy")


def user_vectors(view: View, request: Request) -> np.ndarray:
    """[B, D or D + 1] augmented user vectors, for the product with the item vectors. DataError if a history is cold."""
    cold = view.is_cold(request)
    if cold.any():
        problem = "the model knows none of its items"
        raise DataError(f"history {int(cold.argmax())}", None, problem, "leave it out: it has no vector")
    parts = []
    for rows in view.blocks(request):
        block = request.take(rows)
        vectors = view.encode(block)
        parts.append(view.users(vectors, view.retrieve(vectors, block)))
    return np.concatenate(parts) if parts else np.zeros((0, view.catalogue.scorer.items.shape[1]), np.float32)


@torch.no_grad()
def item_vectors(view: View) -> np.ndarray:
    """[V, D or D + 1] vector of each item, padding first. The last number is the bias of the item, if there is one."""
    return view.catalogue.scorer.items.cpu().numpy()


def write(view: View, folder: Path, form: str) -> list[Path]:
    """Write ``items`` and ``memories`` into ``folder``, and return the paths.

    parquet: a row each, with ``item``, ``title`` and ``vector``, and with ``id``, ``item``, ``length``, ``time`` and
    ``vector``. npy: the vectors alone, in the same order, and the rest as JSON lines. Owners are not written.
    """
    if form not in FORMS:
        raise ConfigError("form", form, "not an allowed value", f"use one of {', '.join(FORMS)}")
    tokens, snapshot = view.trained.items.tokens, view.snapshot
    numbers = np.flatnonzero(view.catalogue.allowed).tolist()
    items = {
        "item": [tokens[number] for number in numbers],
        "title": [view.trained.title(number) for number in numbers],
    }
    rows = snapshot.leading_to(0)
    memories = {
        "id": snapshot.ids(rows),
        "item": [tokens[target] for target in snapshot.targets(rows).tolist()],
        "length": snapshot.lengths(rows),
        "time": snapshot.times(rows),
    }
    vectors = item_vectors(view)[numbers], snapshot.keys(rows)
    tables = zip(("items", "memories"), (pd.DataFrame(items), pd.DataFrame(memories)), vectors)
    return [path for name, frame, of in tables for path in _write(folder / name, frame, of, form)]


def _write(path: Path, frame: pd.DataFrame, vectors: np.ndarray, form: str) -> list[Path]:
    if form == "parquet":
        target = path.with_suffix(".parquet")
        with replacing(target) as temporary:
            frame.assign(vector=list(vectors)).to_parquet(temporary, index=False)
        return [target]
    array, lines = path.with_suffix(".npy"), path.with_suffix(".jsonl")
    with writing(array) as file:
        np.save(file, vectors)
    with replacing(lines) as temporary:
        frame.to_json(temporary, orient="records", lines=True)
    return [array, lines]
