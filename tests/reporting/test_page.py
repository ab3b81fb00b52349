from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from recbole_raserec.cli import main
from recbole_raserec.reporting import figures
from recbole_raserec.reporting.page import _curves, build_page, labels, sensitivity, sweeps
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


def run_of(alpha, seed, ndcg=0.1):
    base, new = ({"test": {"unmasked": {"ndcg@10": figure}}} for figure in (seed / 10, ndcg))
    return {
        "dataset": {"name": "tiny", "sha256": "0"},
        "config": {"alpha": alpha, "top_k": 5, "seed": seed, "valid_metric": "NDCG@10"},
        "seed": seed,
        "backbone": {"name": "SASRec", **base},
        "raserec": {"test_by_memory": {"train": new}},
    }


@pytest.mark.parametrize(
    ("ran", "groups"),
    [
        ({0.2: [1, 2], 0.8: [1, 2]}, [[(0.2, 1), (0.2, 2), (0.8, 1), (0.8, 2)]]),
        ({0.2: [1, 2, 3], 0.8: [2]}, [[(0.2, 2), (0.8, 2)]]),  # means over different seeds would not be comparable
        ({0.2: [1, 2], 0.5: [2, 3], 0.8: [3, 1]}, [[(0.2, 1), (0.8, 1)], [(0.2, 2), (0.5, 2)], [(0.5, 3), (0.8, 3)]]),
        ({0.2: [1], 0.8: [2]}, []),
        ({0.2: [1, 2, 3]}, []),
    ],
)
def test_a_sweep_has_the_same_seeds_at_every_value(ran, groups):
    found = sweeps([run_of(alpha, seed) for alpha, seeds in ran.items() for seed in seeds])
    assert [name for name, _ in found] == ["alpha"] * len(groups)
    assert [[(run["config"]["alpha"], run["seed"]) for run in series] for _, series in found] == groups


def test_a_sweep_of_several_seeds_shows_means_and_their_range(monkeypatch):
    drawn = {}
    monkeypatch.setattr(figures, "drawn", lambda draw, **_: drawn.update(draw=draw) or "")
    figures_of = {(0.2, 1): 0.1, (0.2, 2): 0.3, (0.8, 1): 0.5, (0.8, 2): 0.6}
    shown = sensitivity("alpha", [run_of(*key, ndcg) for key, ndcg in figures_of.items()], "unmasked")
    assert shown["label"] == "tiny, SASRec, mean of 2 seeds with their range"
    figure = Figure()
    drawn["draw"](figure)
    means, backbone = figure.axes[0].lines
    np.testing.assert_allclose(means.get_xydata(), [[0.2, 0.2], [0.8, 0.55]])
    assert backbone.get_ydata()[0] == pytest.approx(0.15)
    corners = figure.axes[0].collections[0].get_paths()[0].vertices
    assert {tuple(corner) for corner in corners} == {(0.2, 0.1), (0.2, 0.3), (0.8, 0.5), (0.8, 0.6)}


def test_a_page_of_a_sweep_with_several_seeds(results):
    first, second = (json.loads(Path(file).read_text()) for file in results)
    runs = [{**run, "file": "r.json", "label": ""} for run in (first, second)]
    runs += [{**run, "seed": 7, "config": {**run["config"], "seed": 7}} for run in runs]
    text = build_page(runs)
    assert text.count("mean of 2 seeds with their range") == 2
    assert "<th>seed</th>" in text
    assert [f"<td>0.8</td><td>{seed}</td>" in text for seed in (7, 2020)] == [True, True]
    assert "2 more runs differ" in text, "the first value has a row for each seed"
    assert text.count("tiny, SASRec, seed 7, alpha 0.2: SASRec") == 2
    assert "seed 7" not in text[text.index('id="curves"') : text.index('id="sensitivity"')]


def test_a_report_takes_no_results_place_and_names_other_metrics(results, capsys):
    kept = Path(results[0]).read_bytes()
    assert main(["report", *results, f"--output={results[0]}"]) == 2
    assert "is one of the result files" in capsys.readouterr().err
    assert Path(results[0]).read_bytes() == kept
    other = json.loads(Path(results[0]).read_text().replace("recall@", "mrr@"))
    Path("other.json").write_text(json.dumps(other))
    assert main(["report", *results, "other.json"]) == 2
    assert f"result='other.json': it has other metrics than {results[0]}: mrr@" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "junk", "[]", '{"backbone": 1}'])
def test_what_is_no_result_is_refused(content, own_folder, capsys):
    if content is not None:
        Path("r.json").write_text(content)
    assert main(["report", "r.json"]) == 2
    assert "--result_file=FILE" in capsys.readouterr().err
    assert not Path("report.html").exists()


def test_a_curve_has_the_epochs_that_were_validated(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "curves", lambda series, metric: drawn.append(series) or "")
    config = {"valid_metric": "NDCG@10", "eval_step": 10, "epochs": 25, "finetune_epochs": 5}
    _curves([{"label": "a", "config": config, "valid_curves": {"pretrain": [0.1, 0.2], "finetune": [0.3]}}])
    assert drawn == [{"a": [(10, 0.1), (20, 0.2)]}, {"a": [(5, 0.3)]}]
    drawn.clear()
    _curves([{"label": "a", "config": {**config, "epochs": 4}, "valid_curves": {"pretrain": [0.1]}}])
    assert drawn == [{"a": [(4, 0.1)]}]


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


def test_runs_that_watch_other_metrics_are_no_report(results, capsys):
    other = json.loads(Path(results[0]).read_text())
    other["config"]["valid_metric"] = "Recall@10"
    Path("other.json").write_text(json.dumps(other))
    assert main(["report", results[0], "other.json", "--output=page.html"]) == 2
    assert "its valid_metric is recall@10, and that of" in capsys.readouterr().err
    assert not Path("page.html").exists()


def test_runs_of_equal_parameters_have_numbers(results):
    runs = [json.loads(Path(path).read_text()) for path in (results[0], results[0])]
    first, second = labels(runs)
    assert (first[-7:], second[-7:]) == (", run 1", ", run 2")
    assert labels(runs[:1]) == [first[:-7]]
    assert len(labels([json.loads(Path(path).read_text()) for path in results])) == len(set(results))
