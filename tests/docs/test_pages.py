"""The pages: their links, the size of README.md, and what is written from the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import render
from benchmarks.parameters import parameters_page

README, DOCS = render.PAGES["README"], render.DOCS
ROOT = README.parent
PAGES = [README, *sorted(DOCS.glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links {path}, which does not exist"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links {path}#{anchor}, which is no heading"


def test_the_readme_is_short():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert len(text.encode()) <= 10_000
    assert max(len(line) for line in text.splitlines() if line.startswith("|")) <= 110


def test_every_page_is_linked_from_the_readme():
    linked = {path for path, _ in LINK.findall(README.read_text(encoding="utf-8"))}
    assert {f"docs/{page.name}" for page in DOCS.glob("*.md")} - linked <= {"docs/recbole-models.md"}


def test_the_page_of_parameters_is_the_table():
    assert render.PAGES["parameters"].read_text(encoding="utf-8") == parameters_page()


def test_a_backbone_fits_in_40_lines():
    page = (DOCS / "backbones.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(programs) == 2
    assert all(len(program.splitlines()) <= 40 for program in programs)
    assert (ROOT / "examples" / "own_backbone.py").read_text(encoding="utf-8") == programs[0]


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda file: file.stem)
def test_an_example_is_short(example):
    assert len(example.read_text(encoding="utf-8").splitlines()) < 40
