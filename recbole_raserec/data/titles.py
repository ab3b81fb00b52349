"""Titles of items, from the ``.item`` file of a data set."""

from __future__ import annotations

from pathlib import Path


def read_titles(folder: Path, dataset: str) -> dict[str, str]:
    path = folder / f"{dataset}.item"
    if not path.is_file():
        return {}
    with open(path, encoding="utf-8", errors="replace") as file:
        names = [c.partition(":")[0] for c in file.readline().rstrip("\r\n").split("\t")]
        at = [n for n, name in enumerate(names) if "title" in name]
        return {r[0]: r[at[0]] for r in (line.rstrip("\r\n").split("\t") for line in file)} if at else {}
