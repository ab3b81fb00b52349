"""From the model of `make run` to recommendations with reasons: ``python examples/recommend.py [result.json]``."""

import json
import sys
from pathlib import Path

from recbole_raserec import Recommender

model = json.loads(Path(sys.argv[1] if len(sys.argv) > 1 else "result.json").read_text())["model_file"]
recommender = Recommender.load(model, store="example.memory")
history = ["50", "181", "172"]
print("after", ", ".join(recommender.title(item) for item in history))
for row in recommender.recommend([history], k=5, explain=True).itertuples():
    print(f"{row.rank}. {recommender.title(row.item)}, {row.reason}")

recommender.memory.add(history, "Andor", owner="anna", time="2026-11-25")  # an item that training never saw
print("after Anna chose Andor")
ranked = recommender.recommend([history], k=1680, explain=True)
for row in ranked[(ranked["rank"] <= 3) | (ranked["item"] == "Andor")].itertuples():
    print(f"{row.rank}. {recommender.title(row.item)}, {row.reason}")
print("forgotten:", recommender.memory.forget(owner="anna"))
