from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from recbole_raserec.cli import main
from recbole_raserec.reporting.portrait import neighbourhood
from recbole_raserec.retrieval.memory import NO_MEMORY, MemoryBank


class Outline(HTMLParser):
    """Ids of headings, number of pictures, resources that the page would load, and whether every element is closed."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.ids, self.pictures, self.loads, self.open = [], 0, [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if tag == "h2" else []
        self.pictures += tag == "svg"
        self.loads += [value for name, value in attributes if name in ("src", "href") and not value.startswith("#")]
        self.loads += [tag] if tag in ("script", "link", "iframe") else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_has_every_part_and_loads_nothing(results, capsys):
    assert main(["report", *results, "--output=out/page.html"]) == 0
    text = Path("out/page.html").read_text()
    outline = Outline()
    outline.feed(text)
    assert outline.ids == ["summary", "headline", "curves", "sensitivity", "groups", "drift", "memory-1", "runs"]
    assert outline.pictures == 2 + 2 + 2 + 2 + 2  # groups of one run of the sweep alone
    assert outline.loads == []
    assert outline.open == []
    result = json.loads(Path(results[0]).read_text())
    for metrics in result["raserec"]["test"].values():
        assert all(f"{value:.4f}" in text for value in metrics.values())
    assert len(result["portrait"]["examples"]) == 5
    for user in result["portrait"]["examples"]:
        assert user["target"] in text
    name = "tiny, SASRec, seed 2020, alpha"
    assert text.count(f"<td>{name} 0.2") == 2 * 3 - 1  # backbone and RaSeRec in two tables, and the table of runs
    assert text.count(f"<td>{name} 0.8") == 1  # a run of a sweep is in the table of runs, and a row of its sweep
    assert "<td>0.2</td>" in text
    assert "<td>0.8</td>" in text
    assert "1 more runs differ" in text
    assert text.count("users can show") + text.count("retrieval h") + text.count("no gain in percent") == 2
    main(["report", results[0], *results, "--output=twice.html"])
    assert 'id="groups"' in Path("twice.html").read_text()
    main(["report", *results, "--output=again.html"])
    assert Path("again.html").read_text() == text


@pytest.mark.parametrize("content", [None, "junk", "[]", '{"backbone": 1}'])
def test_what_is_no_result_is_refused(content, own_folder, capsys):
    if content is not None:
        Path("r.json").write_text(content)
    assert main(["report", "r.json"]) == 2
    assert "--result_file=FILE" in capsys.readouterr().err
    assert not Path("report.html").exists()


def test_the_neighbourhood_counts_what_is_there():
    memory = MemoryBank(
        np.array([[1, 0], [0, 1], [1, 1]], np.float32), np.array([5, 6, 7]), np.zeros(3, int), np.ones(3, int)
    )
    vectors, found = np.array([[2.0, 0], [0, 3]], np.float32), np.array([[0, 2], [1, NO_MEMORY]])
    cosine = memory.cosines(vectors, found)
    np.testing.assert_allclose(cosine, [[1, 0.5**0.5], [1, -np.inf]], atol=1e-6)
    seen = neighbourhood(cosine, found, memory, np.array([7, 5]))
    assert sum(seen["nearest"]) == sum(seen["last"]) == 2
    assert seen["retrieved_share"] == 1
    assert seen["target_among_memories"] == 0.5
