"""Write what an example prints into README.md: ``python benchmarks/examples.py [result.json]``.

The result is that of ``make run``. ``tests/end_to_end/test_examples.py`` checks that the README holds it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.render import README, replace_block  # noqa: E402


def output_of(example: str, *arguments: str, folder: str | Path) -> str:
    """What ``examples/example.py`` prints in ``folder``. An error of the example ends the program."""
    program = [sys.executable, str(HERE.parent / "examples" / f"{example}.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"error: {example} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def main(argv: list[str]) -> None:
    result = Path(argv[0] if argv else "result.json").resolve()
    for store in result.parent.glob("example.memory*"):
        store.unlink()
    block = f"```\n{output_of('recommend', str(result), folder=result.parent)}```"
    README.write_text(replace_block(README.read_text(encoding="utf-8"), "example", block), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
