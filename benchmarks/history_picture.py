"""README.md's first picture, of a run on ml-100k: ``python benchmarks/history_picture.py [result.json] [user]``.

A user's last items, the nearest memories of others, what followed them, and what is recommended. The user is drawn
from all users by a seed, if none is named. The result is that of ``make run``.
"""

from __future__ import annotations

import random
import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import recbole

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from recbole_raserec import Recommender  # noqa: E402
from recbole_raserec.reporting.result import read_result  # noqa: E402

INTERACTIONS = Path(recbole.__file__).parent / "dataset_example" / "ml-100k" / "ml-100k.inter"
SHOWN, MEMORIES, BEST = 4, 4, 4
STYLE = "font: 13px system-ui, sans-serif; fill: #111"


class Column(NamedTuple):
    """A column of boxes: its head, the left edge, and the lines of each box, the first one in bold."""

    head: str
    left: int
    width: int
    boxes: list[list[str]]


def columns(recommender: Recommender, user: str) -> list[Column]:
    """History, memories, what followed them, and recommendations of ``user`` before the last item."""
    table = pd.read_csv(INTERACTIONS, sep="\t", dtype=str).rename(columns=lambda name: name.partition(":")[0])
    table = table.assign(timestamp=table["timestamp"].astype(float)).sort_values("timestamp", kind="stable")
    histories = table.groupby("user_id")["item_id"].agg(list)
    history = histories[user][:-1]
    best = recommender.recommend([history], k=BEST, users=[user], explain=True)
    found = recommender.explain(history, best["item"][0], user=user).memories.head(MEMORIES)
    followed = set(found["item"])
    title = recommender.title
    near = [
        [f"person {row.person}, cosine {row.cosine:.2f}", f"after {row.length} items"] for row in found.itertuples()
    ]
    chosen = [[title(item), "chosen next by this person"] for item in found["item"]]
    given = [
        [f"{row.rank}. {title(row.item)}", "chosen after a near memory" if row.item in followed else "fits the history"]
        for row in best.itertuples()
    ]
    return [
        Column(f"user {user}: the last of {len(history)} items", 10, 210, [[title(i)] for i in history[-SHOWN:]]),
        Column("the nearest memories", 250, 190, near),
        Column("what followed them", 480, 210, chosen),
        Column("recommended", 730, 220, given),
    ]


def svg(parts: list[Column]) -> str:
    """The picture as one SVG element with a white ground, so it is readable on a dark page."""
    height = 70 + 58 * max(len(part.boxes) for part in parts)
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 {height}" role="img" style="{STYLE}">']
    lines.append("<title>From a history to memories, to what followed them, to recommendations</title>")
    lines.append(f'<rect width="960" height="{height}" fill="#fff"/>')
    for number, part in enumerate(parts):
        lines.append(f'<text x="{part.left}" y="28" font-weight="bold">{escape(part.head)}</text>')
        for row, box in enumerate(part.boxes):
            top = 44 + 58 * row
            colour = ("#eef4fb", "#f3f3f3", "#fdf1e7", "#e9f6f0")[number]
            lines.append(
                f'<rect x="{part.left}" y="{top}" width="{part.width}" height="48" rx="6" fill="{colour}" '
                'stroke="#bbb"/>'
            )
            for place, text in enumerate(box):
                size = "" if place == 0 else ' font-size="11" fill="#555"'
                lines.append(
                    f'<text x="{part.left + 10}" y="{top + (29 if len(box) == 1 else 21) + 17 * place}"{size}>'
                    f"{escape(_cut(text, part.width))}</text>"
                )
        if number:
            before = parts[number - 1]
            start, stop = before.left + before.width + 6, part.left - 8
            lines.append(f'<path d="M{start} 126H{stop}m-7 -5l7 5l-7 5" fill="none" stroke="#555" stroke-width="2"/>')
    return "\n".join([*lines, "</svg>", ""])


def _cut(text: str, width: int) -> str:
    most = width // 7
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def main(argv: list[str]) -> None:
    result = Path(argv[0] if argv else "result.json").resolve()
    file = read_result(result).model_file
    assert file, f"{result} names no model"
    recommender = Recommender.load(result.parent / file, store=result.parent / "picture.memory")
    user = argv[1] if len(argv) > 1 else str(random.Random(0).randint(1, 943))
    (HERE / "pictures" / "retrieval.svg").write_text(svg(columns(recommender, user)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
