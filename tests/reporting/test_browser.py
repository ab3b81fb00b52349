"""The page as people see it: in a headless Chromium, on a phone, on a screen and on paper. Run by `make test-all`."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from recbole_raserec.cli import main

pytestmark = pytest.mark.slow
WIDTHS = {"phone": 390, "screen": 1280}
# Left and right edge, height, and the size of the smallest letters, of each element.
BOXES = """nodes => nodes.map(node => {
  const box = node.getBoundingClientRect();
  const letters = [...node.querySelectorAll('text')].map(text => text.getBoundingClientRect().height);
  return [box.left, box.right, box.height, Math.min(99, ...letters)];
})"""
OVERFLOW = "() => document.documentElement.scrollWidth - window.innerWidth"


@pytest.fixture
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "no Chromium: apt-get install chromium, or name one by CHROMIUM=..."
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=quiet)
        yield chromium
        chromium.close()


@pytest.fixture
def page_file(results: list[str]) -> Path:
    assert main(["report", *results, "--output=report.html"]) == 0
    return Path("report.html").resolve()


def test_every_part_is_seen_on_a_phone_and_on_a_screen(page_file, browser):
    for width in WIDTHS.values():
        tab = browser.new_page(viewport={"width": width, "height": 844})
        asked, complaints = [], []
        tab.on("request", lambda request, asked=asked: asked.append(request.url))
        tab.on("console", lambda message, complaints=complaints: complaints.append(message.text))
        tab.on("pageerror", lambda error, complaints=complaints: complaints.append(str(error)))
        tab.goto(page_file.as_uri())
        assert asked == [page_file.as_uri()]
        assert complaints == []
        assert tab.evaluate(OVERFLOW) <= 0
        for kind in ("h2", "svg", ".example", "table"):
            assert tab.locator(kind).count() > 0
            for node in tab.locator(kind).all():
                assert node.is_visible()
        for left, right, height, letters in tab.locator("svg").evaluate_all(BOXES):
            assert 0 <= left < right <= width
            assert height > 100
            assert letters >= 7  # pixels
        for node in tab.locator("svg").all():
            assert_drawn(node.screenshot())
        tab.close()


def test_figures_stand_beside_each_other_on_a_screen_and_are_light_on_paper(page_file, browser):
    tab = browser.new_page(viewport={"width": WIDTHS["screen"], "height": 844}, color_scheme="dark")
    tab.goto(page_file.as_uri())
    first, second = tab.locator("#curves + .figures figure").evaluate_all(BOXES)
    assert second[0] >= first[1]
    ground = "() => getComputedStyle(document.body).backgroundColor"
    assert tab.evaluate(ground) == "rgb(22, 24, 28)"
    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.evaluate(ground) == "rgb(255, 255, 255)"


def test_nothing_is_cut_on_paper(page_file, browser):
    tab = browser.new_page(viewport={"width": 700, "height": 990})  # A4 less its margins, 96 dots an inch
    tab.goto(page_file.as_uri())
    tab.emulate_media(media="print")
    for _, right, height, _ in tab.locator("svg, .example").evaluate_all(BOXES):
        assert right <= 700
        assert height < 990
    assert tab.evaluate(OVERFLOW) <= 0
    assert tab.pdf(format="A4").startswith(b"%PDF")


def assert_drawn(picture: bytes) -> None:
    """Coloured shapes and dark letters on white."""
    from PIL import Image

    pixels = Counter(Image.open(BytesIO(picture)).convert("RGB").getdata())
    total = sum(pixels.values())
    assert pixels.most_common(1)[0][0] == (255, 255, 255)
    assert sum(n for colour, n in pixels.items() if max(colour) - min(colour) > 60) > total / 2000
    assert sum(n for colour, n in pixels.items() if max(colour) < 100) > total / 2000
