"""A picture of the service's page, as people see it: ``python benchmarks/picture.py --model_file=FILE``.

  --model_file=FILE  a trained model with titles; of ml-100k, for the history below
  --history="Star Wars;Toy Story"  titles that are clicked together
  --chosen=3         the number of a recommended item that is pressed "chosen" (1 is the best); 0 is none
  --output=FILE      benchmarks/pictures/service.png

It needs playwright (pip) and a Chromium, which is on the PATH or named by the environment variable CHROMIUM. The
service is a process of its own with a store of its own, and nothing leaves the machine.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks import read_options  # noqa: E402
from benchmarks.serving_http import service  # noqa: E402

HISTORY = "Star Wars;Toy Story"
SIZE = {"width": 1000, "height": 820}


def main(argv: list[str]) -> None:
    defaults = {"model_file": "", "history": HISTORY, "chosen": "3"}
    options = read_options(argv, {**defaults, "output": str(HERE / "pictures" / "service.png")})
    if not Path(options["model_file"]).is_file():
        sys.exit(f"error: --model_file={options['model_file']!r}: there is no such file")
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        sys.exit("error: no Chromium: apt-get install chromium, or name one by CHROMIUM=...")
    with (
        tempfile.TemporaryDirectory() as folder,
        service(options["model_file"], Path(folder) / "picture.memory", True) as (port, _),
    ):
        take(program, port, options["history"].split(";"), int(options["chosen"]), options["output"])


def take(program: str, port: int, titles: list[str], chosen: int, output: str) -> None:
    """Click the history together, press "chosen", and write what is seen."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(f"http://127.0.0.1:{port}/")
        for title in titles:
            page.get_by_label("Title").fill(title)
            page.get_by_role("button", name=f"Add {title}", exact=True).click()
            page.locator("#status", has_text=f"Added {title}.").wait_for()
        if chosen:
            page.locator("#best li button").nth(chosen - 1).click()
            page.locator("#status", has_text="It is remembered.").wait_for()
        page.get_by_label("Title").fill("")
        page.wait_for_timeout(300)  # until the last line is drawn
        page.screenshot(path=output)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
