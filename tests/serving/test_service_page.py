"""The page as people use it: in a headless Chromium, by keyboard alone, on a phone. Run by `make test-all`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.serving.conftest import TOKEN

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("trained", ["mixture"], indirect=True)]
OVERFLOW = "() => document.documentElement.scrollWidth - window.innerWidth"
MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"
# The smallest ratio of contrast between a text and the colour behind it.
CONTRAST = """() => {
  const light = text => {
    const part = text.match(/[\\d.]+/g).slice(0, 3).map(value => {
      const share = value / 255;
      return share <= .04045 ? share / 12.92 : ((share + .055) / 1.055) ** 2.4;
    });
    return .2126 * part[0] + .7152 * part[1] + .0722 * part[2];
  };
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!colour.startsWith("rgba(0, 0, 0, 0")) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const nodes = [...document.querySelectorAll("h1, h2, p, label, button, .title, .why, .rank")];
  return Math.min(...nodes.filter(node => node.offsetParent).map(node => {
    const pair = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => b - a);
    return (pair[0] + .05) / (pair[1] + .05);
  }));
}"""


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


class Tab:
    """A page of the service, and what it asked for and complained of."""

    def __init__(self, browser, service, path: str = "/", **options) -> None:
        self.home = f"http://127.0.0.1:{service.port}"
        self.page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.asked, self.complaints = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(self.home + path)

    def best(self) -> list[str]:
        """The recommended items, when the list is there."""
        self.page.locator("#best li").first.wait_for()
        return self.page.locator("#best li").evaluate_all("lines => lines.map(line => line.dataset.item)")

    def status(self, text: str) -> None:
        """Wait until the status has this text."""
        self.page.locator("#status", has_text=text).wait_for()

    def add(self, title: str) -> None:
        self.page.get_by_label("Title").fill(title)
        self.page.get_by_role("button", name=f"Add {title}", exact=True).click()
        self.status(f"Added {title}.")

    def close(self) -> None:
        assert all(url.startswith((self.home, "data:")) for url in self.asked), self.asked
        assert self.complaints == []
        self.page.close()


def test_a_choice_changes_the_list_until_it_is_forgotten(service, browser):
    tab = Tab(browser, service)
    popular = tab.best()
    assert "popular" in tab.page.locator("#best .why").first.inner_text()
    tab.add("Item number 3")
    tab.add("Item number 4")
    first = tab.best()
    assert first != popular
    assert first == service.post("/recommend", {"histories": [["i3", "i4"]]})["answers"][0]["items"]
    assert tab.page.locator("#best .why").count() == 10
    chosen = first[-1]
    for _ in range(3):
        tab.page.locator(f"#best li[data-item={chosen}] button").click()
        tab.status("It is remembered.")
        assert tab.page.locator("#history li").count() == 3
        tab.page.get_by_role("button", name="Start again").click()
        tab.status("The history is empty.")
        tab.add("Item number 3")
        tab.add("Item number 4")
        chosen_at = tab.best().index(chosen)
    assert chosen_at < 9
    tab.status("The memory has changed this list")
    assert tab.page.locator("#best .change").count() > 0
    tab.page.get_by_role("button", name="Forget me").click()
    tab.status("3 memories of yours are deleted.")
    assert tab.best() == first
    tab.close()


def test_by_keyboard_alone(service, browser):
    tab = Tab(browser, service)
    tab.best()
    page, keys = tab.page, tab.page.keyboard

    def focused() -> str:
        return page.evaluate("(document.activeElement.getAttribute('aria-label') || document.activeElement.id)")

    def press(name: str, most: int = 40) -> None:
        for _ in range(most):
            if focused() == name:
                return
            keys.press("Tab")
        raise AssertionError(f"Tab does not reach {name}; it is at {focused()}")

    press("search")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    keys.type("number 7")
    page.get_by_role("button", name="Add Item number 7", exact=True).wait_for()
    press("Add Item number 7")
    keys.press("Enter")
    tab.status("Added Item number 7.")
    assert focused() == "search"
    keys.type("number 8")
    keys.press("Enter")  # the first result has the focus then
    page.locator("button[aria-label='Add Item number 8']:focus").wait_for()
    keys.press("Enter")
    tab.status("Added Item number 8.")
    press("Remove Item number 7")
    keys.press("Space")
    tab.status("Removed Item number 7.")
    assert focused() == "history-head"
    best = tab.best()[1]
    press(f"I chose Item number {best[1:]}")
    keys.press("Enter")
    tab.status("It is remembered.")
    assert focused() == "best-head"
    page.keyboard.press("Shift+Tab")
    assert focused() == "forget"
    keys.press("Enter")
    tab.status("1 memory of yours is deleted.")
    tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(service, browser, scheme):
    tab = Tab(browser, service, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    tab.add("Item number 3")
    tab.best()
    assert tab.page.evaluate(OVERFLOW) <= 0
    assert tab.page.evaluate(CONTRAST) >= 4.5
    for button in tab.page.locator("button:visible").all():
        box = button.bounding_box()
        assert box["height"] >= 40
        assert 0 <= box["x"] < box["x"] + box["width"] <= 360
    tab.close()


def test_a_screen_reader_is_told_what_things_are(service, browser):
    tab = Tab(browser, service)
    tab.best()
    tab.add("Item number 3")
    page = tab.page
    assert page.get_by_role("main").count() == 1
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("searchbox", name="Title").count() == 1
    assert page.get_by_role("status").get_attribute("aria-live") == "polite"
    for name in ("Your history", "Recommended next"):
        assert page.get_by_role("list", name=name).count() == 1
    unnamed = "nodes => nodes.filter(node => !(node.getAttribute('aria-label') || node.textContent).trim()).length"
    assert page.locator("button").evaluate_all(unnamed) == 0
    names = page.locator("#best button").evaluate_all("nodes => nodes.map(node => node.getAttribute('aria-label'))")
    assert len(set(names)) == 10
    tab.close()


def test_a_title_with_markup_is_text(service, browser):
    for _ in range(30):
        service.post("/remember", [{"history": ["i3", "i4"], "next_item": MARKUP}] * 20)
    tab = Tab(browser, service)
    tab.add("Item number 3")
    tab.add("Item number 4")
    assert MARKUP in tab.best()
    line = tab.page.locator("#best li", has_text=MARKUP)
    assert line.count() == 1
    line.get_by_role("button").click()
    tab.status("It is remembered.")
    tab.page.get_by_label("Title").fill("<img")
    tab.page.locator("#found button").first.wait_for()
    assert tab.page.locator("#found button").first.inner_text() == MARKUP
    assert tab.page.locator("main img, main b").count() == 0
    tab.close()


def test_the_token_is_asked_for(serve_in_thread, browser):
    tab = Tab(browser, serve_in_thread(token=TOKEN))
    tab.status("This service needs a token.")
    tab.page.get_by_label("Token of this service").fill("wrong")
    tab.page.get_by_role("button", name="Go on").click()
    tab.status("The token is wrong.")
    tab.page.get_by_label("Token of this service").fill(TOKEN)
    tab.page.get_by_role("button", name="Go on").click()
    tab.status("Welcome.")
    assert len(tab.best()) == 10
    assert not tab.page.locator("#gate").is_visible()
    tab.page.reload()
    assert len(tab.best()) == 10
    tab.complaints = [text for text in tab.complaints if "401" not in text]
    tab.close()


def test_the_examples_of_the_docs_run(service, browser):
    tab = Tab(browser, service, "/docs")
    tab.page.locator("section").nth(9).wait_for()
    for section in tab.page.locator("section").all():
        section.get_by_role("button").click()
        answer = "403" if "needs a token" in section.inner_text() else "200"
        section.locator("pre", has_text=answer).last.wait_for()
    tab.complaints = [text for text in tab.complaints if "403" not in text]
    tab.close()
