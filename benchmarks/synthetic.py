"""Synthetic interactions of any size that resemble Amazon Beauty's: many short histories and a popular head."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recbole_raserec.runtime.files import replacing

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
    with replacing(path) as draft, open(draft, "w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        np.savetxt(file, np.c_[user, item, time], fmt="%d", delimiter="\t")
    return name


def write_long_histories(data_path: Path, interactions: int = 52_551, seed: int = 0) -> str:
    """Write a data set of long histories, like those of a music service, unless it exists. Return its name.

    Lengths are log-normal: 48 on average, 899 at most, and half of all items lie beyond position 50. 4,000 songs belong
    to 400 artists. A listener knows 20 artists, prefers some of them, and hears one to eight songs of an artist in a
    row; the next song is mostly the next of the album. So the next song can be learned from the last ones.
    """
    name = f"long-{interactions}"
    path = data_path / name / f"{name}.inter"
    if path.is_file():
        return name
    rng = np.random.default_rng(seed)
    users = round(interactions / 48)
    lengths = _lengths(rng, users, interactions)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft, open(draft, "w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for user, length in enumerate(lengths):
            for time, song in enumerate(_listen(rng, length)):
                file.write(f"{user + 1}\t{song + 1}\t{time}\n")
    return name


def _lengths(rng: np.random.Generator, users: int, interactions: int) -> np.ndarray:
    """[users] lengths from 5 to 899 with the sum ``interactions``."""
    drawn = np.exp(rng.normal(0, 1.4, users))
    low, high = 0.0, float(interactions)
    while high - low > 1e-6:  # the factor that gives the sum
        factor = (low + high) / 2
        low, high = (factor, high) if np.clip(drawn * factor, 5, 899).sum() < interactions else (low, factor)
    lengths = np.clip(drawn * high, 5, 899).astype(int)
    lengths[np.argsort(lengths)[users // 2 :][: interactions - lengths.sum()]] += 1
    return lengths


def _listen(rng: np.random.Generator, length: int, artists: int = 400, album: int = 10) -> list[int]:
    """One listener's songs."""
    known = (artists * rng.random(20) ** 2).astype(int)
    songs: list[int] = []
    while len(songs) < length:
        artist, song = known[int(20 * rng.random() ** 2)], int(album * rng.random() ** 2)
        for _ in range(rng.integers(1, 9)):
            songs.append(int(artist * album + song))
            song = (song + 1) % album if rng.random() < 0.7 else int(album * rng.random() ** 2)
    return songs[:length]
