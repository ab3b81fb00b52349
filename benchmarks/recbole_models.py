"""Does every sequential model of stock RecBole train on both stacks? ``python benchmarks/recbole_models.py``.

  --old=.venv/bin/python         an environment of RecBole's own pins (make STACK=old)
  --next=.venv-next/bin/python   one of the newest versions (make STACK=next)
  --models=all                   or names with commas between them
  --output=docs/recbole-models.json

Each model trains one epoch through ``recbole_raserec.run_recbole`` in a process of its own. The data are the users of
ml-100k with 150 to 200 ratings, and their last 10 items. The file holds the test metrics or the error of each model on
each stack, and the versions. It is written after each model, and a later call of the same versions goes on.
``docs/recbole-models.md`` is rendered from it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "recbole-models.md"
SLICE = {
    "user_inter_num_interval": "[150,201)", "MAX_ITEM_LIST_LENGTH": 10, "epochs": 1, "train_batch_size": 512,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
    "metrics": ["Recall", "NDCG"], "topk": [10], "valid_metric": "NDCG@10", "show_progress": False, "gpu_id": "",
    "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"], "item": ["item_id", "class"]},
}  # fmt: skip
OF_ITEMS = {"selected_features": ["class"]}
TIMEOUT = 900  # seconds a model


def main(argv: list[str]) -> None:
    sys.path.insert(0, str(HERE.parent))
    from benchmarks import read_options
    from recbole_raserec.config.properties import backbone_names
    from recbole_raserec.runtime.files import json_line

    output = str(HERE.parent / "docs" / "recbole-models.json")
    defaults = {"old": ".venv/bin/python", "next": ".venv-next/bin/python", "models": "all", "output": output}
    options = read_options(argv, defaults)
    stock = [name for name in backbone_names() if name not in ("DuoRec", "HSTU")]  # which RecBole does not have
    models = stock if options["models"] == "all" else options["models"].split(",")
    stacks = {"old": options["old"], "next": options["next"]}
    versions = {stack: _child(python, "versions") for stack, python in stacks.items()}
    file = Path(options["output"])
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found = before["models"] if before.get("versions") == versions else {}
    PAGE.parent.mkdir(exist_ok=True)
    for model in [name for name in models if name not in found]:
        found[model] = {stack: _child(python, model) for stack, python in stacks.items()}
        print(model, *(f"{stack}: {_cell(found[model][stack])}" for stack in stacks), flush=True)
        result = {"data": "ml-100k", "settings": SLICE, "versions": versions, "models": dict(sorted(found.items()))}
        file.write_text(json_line(result) + "\n", encoding="utf-8")
        PAGE.write_text(page(result, len(stock)), encoding="utf-8")


def _child(python: str, what: str) -> dict[str, Any]:
    """What ``_one`` prints in a process of the environment ``python``."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    program = [os.path.abspath(python), str(HERE / "recbole_models.py"), "--one", what]
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            return {"error": f"more than {TIMEOUT} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return json.loads(lines[-1])
    error = (done.stderr.strip().splitlines() or ["?"])[-1]
    return {"error": re.sub(r"[\w./-]*/site-packages/", "", error)[:200]}


def _one(what: str) -> None:
    if what == "versions":
        from importlib.metadata import version

        from recbole_raserec.doctor import PACKAGES

        print(json.dumps({"python": sys.version.split()[0], **{name: version(name) for name in PACKAGES}}))
        return
    import recbole

    from recbole_raserec import run_recbole

    text = (Path(recbole.__file__).parent / "properties" / "model" / f"{what}.yaml").read_text(encoding="utf-8")
    more: dict[str, Any] = {"train_neg_sample_args": None} if re.search(r"loss_type: *['\"]?CE", text) else {}
    if "selected_features" in text:
        more |= OF_ITEMS
    sys.argv = sys.argv[:1]
    if what == "S3Rec":  # one epoch of its own pre-training, then one of fine-tuning from that file
        first = {"train_stage": "pretrain", "pretrain_epochs": 1, "save_step": 1, "checkpoint_dir": "."}
        run_recbole(what, "ml-100k", config_dict={**SLICE, **more, **first}, saved=False)
        more |= {"train_stage": "finetune", "pre_model_path": "S3Rec-ml-100k-1.pth"}
    result = run_recbole(what, "ml-100k", config_dict={**SLICE, **more}, saved=False)
    print(json.dumps({"test": dict(result["test_result"])}))


def _cell(found: dict[str, Any]) -> str:
    return f"{found['test']['recall@10']:.4f} {found['test']['ndcg@10']:.4f}" if "test" in found else found["error"]


def page(result: dict[str, Any], count: int) -> str:
    """The table as Markdown; ``count`` is how many models there are."""
    lines = [
        "# RecBole's sequential models on both stacks",
        "",
        "`python benchmarks/recbole_models.py` writes this page. The figures are test recall@10 and NDCG@10 after one",
        "epoch on a small slice of ml-100k. They show that a model runs and gives the same, not how good it is.",
        "A model that fails on both stacks needs what this slice does not have, or fails in RecBole itself.",
        f"The table has {len(result['models'])} of {count} models.",
        "",
        "| stack | " + " | ".join(result["versions"]["old"]) + " |",
        "|---" * (len(result["versions"]["old"]) + 1) + "|",
    ]
    for stack, versions in result["versions"].items():
        lines.append(f"| {stack} | " + " | ".join(str(value) for value in versions.values()) + " |")
    lines += ["", "| model | old stack | next stack | |", "|---|---|---|---|"]
    for model, found in result["models"].items():
        old, new = (_cell(found[stack]).replace("|", "/") for stack in ("old", "next"))
        both = "test" in found["old"] and "test" in found["next"]
        verdict = ("the same" if old == new else "other digits") if both else (
            "fails on both" if "test" not in found["old"] and "test" not in found["next"] else
            "next stack only" if "test" in found["next"] else "OLD STACK ONLY")  # fmt: skip
        lines.append(f"| {model} | {old} | {new} | {verdict} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _one(*sys.argv[2:])
    else:
        main(sys.argv[1:])
