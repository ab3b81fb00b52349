"""Synthetic interactions of any size that resemble Amazon Beauty's: many short histories and a popular head."""

from __future__ import annotations

from pathlib import Path

import numpy as np

BEAUTY_USERS, BEAUTY_ITEMS, BEAUTY_INTERACTIONS = 22_363, 12_101, 198_502


def write_synthetic(data_path: Path, interactions: int, items: int = BEAUTY_ITEMS, seed: int = 0) -> str:
    """Write ``data_path/NAME/NAME.inter`` unless the file exists. Return the data set's name.

    Histories have at least 5 items; their lengths are geometric (mean 8.9, as in Beauty). Items follow a power law.
    """
    name = f"synthetic-{interactions}-{items}"
    path = data_path / name / f"{name}.inter"
    if path.is_file():
        return name
    rng = np.random.default_rng(seed)
    users = int(interactions * BEAUTY_USERS / BEAUTY_INTERACTIONS)
    lengths = 4 + rng.geometric(1 / (interactions / users - 4), users)
    user = np.repeat(np.arange(1, users + 1), lengths)
    time = np.arange(len(user)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    item = (items * rng.random(len(user)) ** 2).astype(int) + 1
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        np.savetxt(file, np.c_[user, item, time], fmt="%d", delimiter="\t")
    return name
