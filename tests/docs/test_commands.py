"""Every command and every Python block of the pages runs, on small data. ``make test-docs`` runs this.

Both run as they are written, but for the words in capitals (FILE, NAME) and the arguments in ``FEW``, which make a
command short; ``fit`` trains one epoch. What is printed is compared by ``tests/end_to_end/test_examples.py``.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import render

pytestmark = pytest.mark.slow
README, DOCS = render.PAGES["README"], render.DOCS
ROOT = README.parent
# Their commands talk to a service; tests/serving and benchmarks/kills.py run it.
OWN_TESTS = {"serving", "memory", "reliability", "recbole-models"}
PAGES = [README, *(page for page in sorted(DOCS.glob("*.md")) if page.stem not in OWN_TESTS)]
# These install or run all tests. A test cannot run them; .ci/run does.
NOT_RUN = ("make ", "pip install", "uv ")
SHORT = "--epochs=1 --finetune_epochs=1 --window_stride=50 --show_progress=False --bootstrap_samples=100"
FEW = {
    "run": SHORT,
    "tune": f"{SHORT} --num_samples=2",
    "regenerate": "--regenerator_epochs=1 --regenerator_embedding_epochs=1 --show_progress=False",
}
ONE_EPOCH = """
from functools import partial
from recbole_raserec import Recommender
Recommender.fit = partial(Recommender.fit, epochs=1)
"""


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of the page's fenced blocks, without those that a command wrote."""
    text = re.sub(r"<!-- (\w+) -->.*?<!-- /\1 -->", "", page.read_text(encoding="utf-8"), flags=re.S)
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.S | re.M)


def commands(block: str) -> list[str]:
    lines = (re.sub(r"\s+# .*$|\s{2,}#.*$", "", line) for line in block.replace("\\\n", " ").splitlines())
    return [line for line in lines if line.strip()]


def start(words: list[str], folder: Path, **more: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **more}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def run_command(command: str, folder: Path, model: str) -> str:
    """Run one line of a page in ``folder``."""
    words = shlex.split(command)
    more = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        more[name] = value
    words = [word.replace("FILE", model).replace("NAME", "orders") for word in words]
    if words[0] == "python":
        return start([sys.executable, str(ROOT / words[1]), *words[2:]], folder, **more)
    assert words[0] == "recbole-raserec", f"this test does not know {command!r}"
    given = {word.partition("=")[0] for word in words}
    few = [word for word in FEW.get(words[1], "").split() if word.partition("=")[0] not in given]
    if "--regenerate=DR4SR" in words:
        few += FEW["regenerate"].split()[:2]
    return start([sys.executable, "-m", "recbole_raserec", *words[1:], *few], folder, **more)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with the files that the pages name (orders.csv, Beauty.txt, its data set), and a model of ml-100k."""
    place = tmp_path_factory.mktemp("pages")
    (place / "properties").symlink_to(ROOT / "properties")  # as in a clone
    orders = (f"c{c},part {(c + day) % 30},2024-01-{day + 1:02}" for c in range(60) for day in range(4 + c % 9))
    (place / "orders.csv").write_text("customer,product,date\n" + "\n".join(orders) + "\n")
    rows = (" ".join(str((c + step) % 30 + 1) for step in range(5 + c % 9)) for c in range(60))
    (place / "Beauty.txt").write_text("\n".join(f"{user} {row}" for user, row in enumerate(rows, 1)) + "\n")
    lines = {
        "histories": {"history": ["50", "172"]},
        "new": {"history": ["50", "172"], "next_item": "181", "owner": "anna"},
        "gone": {"owner": "anna"},
    }
    for name, content in lines.items():
        (place / f"{name}.jsonl").write_text(json.dumps(content) + "\n")
    convert = "recbole-raserec convert --input=Beauty.txt --format=sequences --dataset=amazon-beauty"
    run_command(convert, place, "")
    run_command("recbole-raserec run --model=RaSeRec --dataset=ml-100k --result_file=result.json", place, "")
    return place, json.loads((place / "result.json").read_text())["model_file"]  # a page may write the file again


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, trained):
    folder, model = trained
    for language, block in blocks(page):
        if language == "python":
            before = ONE_EPOCH if "Recommender.fit" in block else ""
            start([sys.executable, "-c", before + block.replace("FILE", model)], folder)
        else:
            assert language in ("", "bash"), f"{page.name}: a block in {language}"
            for command in commands(block):
                if not command.startswith(NOT_RUN):
                    run_command(command, folder, model)
