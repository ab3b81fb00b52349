"""Write what examples and ``make run`` print into the pages: ``python benchmarks/examples.py [result.json]``.

The result is that of ``make run``. README.md gets what examples/recommend.py prints, docs/quickstart.md what the run
printed, and docs/backbones.md the program examples/own_backbone.py. ``tests/end_to_end/test_examples.py`` checks it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.render import DOCS, PAGES, replace_block  # noqa: E402
from recbole_raserec.reporting.result import read_result  # noqa: E402
from recbole_raserec.reporting.text import format_result  # noqa: E402


def output_of(example: str, *arguments: str, folder: str | Path) -> str:
    """What ``examples/example.py`` prints in ``folder``. An error of the example ends the program."""
    program = [sys.executable, str(HERE.parent / "examples" / f"{example}.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"error: {example} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def blocks(result: Path) -> list[tuple[Path, str, str]]:
    """The page, the name and the content of each block."""
    source = (HERE.parent / "examples" / "own_backbone.py").read_text(encoding="utf-8")
    return [
        (PAGES["README"], "example", f"```\n{output_of('recommend', str(result), folder=result.parent)}```"),
        (DOCS / "quickstart.md", "run", f"```\n{format_result(read_result(result))}\n```"),
        (DOCS / "backbones.md", "own_backbone", f"```python\n{source}```"),
    ]


def main(argv: list[str]) -> None:
    result = Path(argv[0] if argv else "result.json").resolve()
    for store in result.parent.glob("example.memory*"):
        store.unlink()
    for page, name, block in blocks(result):
        page.write_text(replace_block(page.read_text(encoding="utf-8"), name, block), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
