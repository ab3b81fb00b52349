"""Regenerate a data set and train RecBole's own GRU4Rec on it: ``python examples/stock_gru4rec.py``."""

from pathlib import Path

from recbole_raserec import convert, regenerate, run_recbole

# In place of a file of your own: 200 users, who go through 40 items in turn and skip one now and then
lines = (
    [user, *((user + step + step // (2 + user % 5)) % 40 + 1 for step in range(6 + user % 9))] for user in range(1, 201)
)
Path("mine.txt").write_text("\n".join(" ".join(map(str, line)) for line in lines) + "\n")
convert("mine.txt", "sequences", "mine", "dataset", show_progress=False)
few = {"regenerator_epochs": 2, "regenerator_embedding_epochs": 2, "show_progress": False}
regenerate("mine-dr", dataset="mine", config_dict={"data_path": "dataset", **few})

shared = {"data_path": "dataset", "train_neg_sample_args": None, "epochs": 5, "show_progress": False}
split = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}
plain = {**shared, "eval_args": split, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
before = run_recbole("GRU4Rec", "mine", config_dict=plain)["test_result"]
after = run_recbole("GRU4Rec", "mine-dr", config_dict=shared)["test_result"]  # its folder says how it is split
print("NDCG@10 of GRU4Rec:", before["ndcg@10"], "regenerated:", after["ndcg@10"])
