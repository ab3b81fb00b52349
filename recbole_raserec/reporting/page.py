"""One HTML page from result files. It needs no script and no network, and is readable on a phone and on paper."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import jinja2

from recbole_raserec.config.parameters import NEWER, affects
from recbole_raserec.errors import ConfigError, DataError, RaSeRecError
from recbole_raserec.evaluation.ranking import PROTOCOLS
from recbole_raserec.reporting import figures
from recbole_raserec.reporting.result import read_result
from recbole_raserec.reporting.text import verdict
from recbole_raserec.runtime.files import write_text
from recbole_raserec.training.course import validated_every

SWEPT = ("top_k", "alpha")  # the parameters of the paper's Figure 2, in its order


def write_report(results: Sequence[str | Path], output: str | Path) -> Path:
    """Write the page for result files of ``run``.

    Raises
    ------
    DataError : a file is missing or is not a result of ``run``, or its metrics are not those of the first.
    ConfigError : ``output`` is one of the result files.
    """
    runs = [{**read_result(path), "file": Path(path).name} for path in results]
    if Path(output).resolve() in {Path(path).resolve() for path in results}:
        raise ConfigError("output", output, "is one of the result files, which would be lost", "give another file")
    try:
        for path, run in zip(results, runs):
            if _metrics(run) != _metrics(runs[0]):
                problem = f"it has other metrics than {results[0]}: {', '.join(_metrics(run))}"
                raise DataError("result", path, problem, "report runs of the same metrics and topk together")
            if _watched(run) != _watched(runs[0]):
                problem = f"its valid_metric is {_watched(run)}, and that of {results[0]} is {_watched(runs[0])}"
                raise DataError("result", path, problem, "report runs of the same valid_metric together")
        page = build_page(runs)
    except RaSeRecError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, jinja2.TemplateError) as error:
        names, problem = " ".join(map(str, results)), f"a value in them is not one of a run ({error!r})"
        raise DataError("result", names, problem, "give files that `recbole-raserec run` wrote, unchanged") from error
    write_text(Path(output), page)
    return Path(output)


def _metrics(run: dict[str, Any]) -> list[str]:
    return list(run["backbone"]["test"][PROTOCOLS[0]])


def _watched(run: dict[str, Any]) -> str:
    return str(run["config"]["valid_metric"]).lower()


def build_page(runs: list[dict[str, Any]]) -> str:
    """The HTML of results. Each result also has the name of its ``file``."""
    runs = [{**run, "label": label} for run, label in zip(runs, labels(runs))]
    swept = sweeps(runs)
    repeated = {id(run) for name, series in swept for run in series if run["config"][name] != series[0]["config"][name]}
    shown = [run for run in runs if id(run) not in repeated]
    other_seeds = {id(run) for _, series in swept for run in series if run["seed"] != series[0]["seed"]}
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    template = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(
        "page.html"
    )
    return template.render(
        runs=runs,
        shown=shown,
        swept=swept,
        metric=_watched(runs[0]),
        verdict=_verdict,
        protocols=PROTOCOLS,
        metrics=_metrics(runs[0]),
        curves=_curves([run for run in runs if id(run) not in other_seeds]),
        sensitivities=[sensitivity(*sweep, protocol) for sweep in swept for protocol in PROTOCOLS],
        groups=[{"label": run["label"], "pictures": _groups(run)} for run in shown if "groups" in run],
        drifts=[_drift(run, protocol) for run in runs if run.get("drift") for protocol in PROTOCOLS],
        portraits=[
            {
                **run["portrait"],
                "label": run["label"],
                "similarity": figures.similarity(run["portrait"]["neighbourhood"]),
                "plane": figures.plane(run["portrait"]["plane"]),
            }
            for run in runs
            if "portrait" in run
        ],
        gain=_gain,
    )


def labels(runs: list[dict[str, Any]]) -> list[str]:
    """A label for each run: data set, backbone and seed, and the parameters that differ among runs with equal ones."""
    short = [_short_label(run) for run in runs]
    found = []
    for run, name in zip(runs, short):
        alike = [_whole(other) for other, of_other in zip(runs, short) if of_other == name]
        differing = sorted({key for config in alike for key in config if _differs(key, alike)})
        found.append(", ".join([name, *(f"{key} {_shown(_whole(run).get(key))}" for key in differing)]))
    times, seen = Counter(found), Counter[str]()
    for place, label in enumerate(found):
        if times[label] > 1:  # runs with equal parameters, for example of two machines
            seen[label] += 1
            found[place] = f"{label}, run {seen[label]}"
    return found


def _short_label(run: dict[str, Any]) -> str:
    return f"{_system(run)}, seed {run['seed']}"


def _system(run: dict[str, Any]) -> str:
    return f"{run['dataset']['name']}, {run['backbone']['name']}"


def _whole(run: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a run, with those that are newer than the run at their defaults."""
    return {**NEWER, **run["config"]}


def _differs(name: str, configs: list[dict[str, Any]]) -> bool:
    return affects(name) != "nothing" and any(config.get(name) != configs[0].get(name) for config in configs)


def _shown(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _verdict(run: dict[str, Any], protocol: str) -> str:
    return verdict(_interval(run, protocol, _watched(run)), run["test_users"])


def _interval(run: dict[str, Any], protocol: str, metric: str) -> list[float | None]:
    return run["improvement" if protocol == "unmasked" else "improvement_masked"][metric]


def _gain(run: dict[str, Any], protocol: str, metric: str) -> list[str]:
    """Lines of a table cell: the gain and, if there is one, its interval."""
    percent, low, high = _interval(run, protocol, metric)
    if percent is None:
        return ["-"]
    return [f"{percent:+.1f} %", *([] if low is None else [f"[{low:+.1f}, {high:+.1f}]"])]


def _curves(runs: list[dict[str, Any]]) -> dict[str, str]:
    pictures = {}
    for stage, epochs in (("pretrain", "epochs"), ("finetune", "finetune_epochs")):
        series: dict[str, Sequence[tuple[int, float]]] = {}
        for run in runs:
            step = validated_every(run["config"].get("eval_step", 1), run["config"][epochs])
            curve = [(n * step, score) for n, score in enumerate(run["valid_curves"].get(stage, ()), 1)]
            if curve and curve not in series.values():  # runs of a sweep share their backbone
                series[run["label"]] = curve
        if series:
            pictures[stage] = figures.curves(series, _watched(runs[0]))
    return pictures


def sweeps(runs: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """For each parameter of ``SWEPT``, the groups of runs that differ only in it, and in the seed.

    A group has the seeds with which every value ran. If there is none, each seed is a group of its own.
    """
    found = []
    for name in SWEPT:
        of_seeds = [part for series in _alike(runs, {name, "seed"}) for part in _with_equal_seeds(series, name)]
        found += [(name, series) for series in of_seeds if len({run["config"][name] for run in series}) > 1]
    return found


def _alike(runs: list[dict[str, Any]], apart_from: set[str]) -> list[list[dict[str, Any]]]:
    """Groups of runs of the same data whose other parameters are equal."""
    alike: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        whole = _whole(run)
        rest = {key: value for key, value in whole.items() if key not in apart_from and affects(key) != "nothing"}
        alike.setdefault(json.dumps([run["dataset"]["sha256"], rest], sort_keys=True), []).append(run)
    return list(alike.values())


def _with_equal_seeds(series: list[dict[str, Any]], name: str) -> list[list[dict[str, Any]]]:
    """The runs of the seeds that every value of the parameter has, or the runs of each seed."""
    seeds: dict[Any, set[int]] = {}
    for run in series:
        seeds.setdefault(run["config"][name], set()).add(run["seed"])
    common = set.intersection(*seeds.values())
    parts = [common] if common else [{seed} for seed in sorted(set.union(*seeds.values()))]
    return [[run for run in series if run["seed"] in part] for part in parts]


def sensitivity(name: str, series: list[dict[str, Any]], protocol: str) -> dict[str, str]:
    """The picture of a sweep: the test metric over the parameter, with each of the two memory banks."""
    metric = _watched(series[0])
    points = {
        f"RaSeRec, {memory}": [
            (run["config"][name], run["raserec"]["test_by_memory"][memory]["test"][protocol][metric]) for run in series
        ]
        for memory in series[0]["raserec"]["test_by_memory"]
    }
    of_seed = {run["seed"]: run["backbone"]["test"][protocol][metric] for run in series}
    picture = figures.over(name, points, fmean(of_seed.values()), f"test {metric}, {protocol}")
    seeds = f"mean of {len(of_seed)} seeds with their range" if len(of_seed) > 1 else f"seed {series[0]['seed']}"
    label = f"{_system(series[0])}, {seeds}"
    return {"name": name, "protocol": protocol, "label": label, "picture": picture}


def _drift(run: dict[str, Any], protocol: str) -> dict[str, str]:
    """The picture of the test metric over the fraction of training pairs in the memory. At 1 it is the run's own."""
    metric = _watched(run)
    points = [(part["share"], part["test"][protocol][metric]) for part in run["drift"]]
    points.append((1.0, run["raserec"]["test_by_memory"]["train"]["test"][protocol][metric]))
    base, axis = run["backbone"]["test"][protocol][metric], "share of the training pairs, older first"
    picture = figures.over(axis, {"RaSeRec, train": points}, base, f"test {metric}, {protocol}")
    return {"protocol": protocol, "label": run["label"], "picture": picture}


def _groups(run: dict[str, Any]) -> dict[str, str]:
    metric = _watched(run)
    popularity = run["groups"]["item_popularity"]
    quintiles = {name: group for name, group in popularity.items() if name.startswith("quintile")}
    titles = {
        "by popularity of the test item (quintile 1: the rarest fifth of the items)": quintiles,
        "by length of the history": run["groups"]["history_length"],
    }
    return {title: figures.groups(of_group, metric, "unmasked") for title, of_group in titles.items() if of_group}
