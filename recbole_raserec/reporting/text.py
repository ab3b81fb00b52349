"""What ``run`` prints: a summary, the tables and the next commands, in at most 100 columns."""

from __future__ import annotations

import textwrap

from recbole_raserec.evaluation.ranking import LIVING, MEMORIES, MEMORIES_BY_TIME, PROTOCOLS
from recbole_raserec.reporting.result import Result
from recbole_raserec.runtime.progress import format_seconds

WIDTH = 100


def format_result(result: Result) -> str:
    """The summary, a table for each protocol with each memory and the intervals of the gains, and what comes next."""
    lines = summary(result)
    for protocol in PROTOCOLS:
        lines += ["", *aligned(_rows(result, protocol))]
    if not _as_backbone(result):
        lines += ["", "gain: over the backbone on the same users, with the ends of its 95 % interval"]
        lines.append(
            "* this memory's figures are raserec.test and improvement in the result file (memory_include_valid)"
        )
    mixture = result.raserec.get("mixture")
    if mixture and (mixture["weight"] or "choice" not in result.raserec):
        exponent = f", popularity exponent {mixture['exponent']}" if "exponent" in mixture else ""
        lines.append(f"mixture by validation: weight {mixture['weight']}, tau {mixture['tau']}{exponent}")
    return "\n".join([*lines, *_next_commands(result)])


def summary(result: Result) -> list[str]:
    """What was trained, what retrieval gave under each protocol and why, where the model lies, what it took."""
    data, metric = result.dataset, str(result.config["valid_metric"]).lower()
    counts = f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} interactions"
    trained = f"{result.raserec['name']} on {result.backbone['name']}, trained on {data['name']}"
    lines = [f"{trained}: {counts}, seed {result.seed}"]
    for protocol, gains in zip(PROTOCOLS, (result.improvement, result.improvement_masked)):
        before, after = (part["test"][protocol][metric] for part in (result.backbone, result.raserec))
        words = "the backbone's own scores" if _as_backbone(result) else verdict(gains[metric], result.test_users)
        lines.append(f"{protocol} {metric} {before:.4f} -> {after:.4f}, {words}")
    if (choice := result.raserec.get("choice")) and choice["note"]:
        lines.append(f"safeguard: {choice['note']}")
        if not choice["retrieval"]:
            lines.append("--safeguard=False uses the best of them on validation all the same")
    lines.append(f"model and memory: {result.model_file or 'not written'}")
    lines.append(f"{format_seconds(result.seconds)}; peak memory {result.peak_rss_mib:.0f} MiB")
    wrapper = textwrap.TextWrapper(WIDTH, break_long_words=False, break_on_hyphens=False)  # paths stay whole
    return [part for line in lines for part in wrapper.wrap(line)]


def _as_backbone(result: Result) -> bool:
    """Whether the scores are the backbone's own."""
    choice = result.raserec.get("choice")
    return choice is not None and not choice["retrieval"]


def verdict(interval: list[float | None], users: int) -> str:
    """A gain in percent with its interval, and in words what it shows.

    Parameters
    ----------
    interval : gain and the ends of its interval. The gain is None if the backbone's metric is 0; the ends are None if
        there is no interval.
    users : number of test users.
    """
    percent, low, high = interval
    if percent is None:
        return "no gain in percent, because the backbone's is 0"
    if low is None or high is None:
        return f"{percent:+.1f} % without an interval"
    words = "retrieval helps" if low > 0 else "retrieval hurts" if high < 0 else ""
    words = words or f"no difference that {users:,} users can show"
    return f"{percent:+.1f} % [{low:+.1f}, {high:+.1f}]: {words}"


def _rows(result: Result, protocol: str) -> list[list[str]]:
    """The rows of one protocol: metrics of the backbone, then metrics and gains with each memory that is used."""
    backbone, raserec = result.backbone, result.raserec
    base = backbone["test"][protocol]
    rows = [[f"test, {protocol}", *base], [backbone["name"], *_values(base)]]
    if _as_backbone(result):
        return [*rows, [f"{raserec['name']}, no retrieval", *_values(raserec["test"][protocol])]]
    labels = MEMORIES_BY_TIME if LIVING in raserec["test_by_memory"] else MEMORIES
    for memory, found in raserec["test_by_memory"].items():
        label = labels[memory]
        star = " *" if memory == raserec["memory"] else ""
        rows.append([f"{raserec['name']}, {label}{star}", *_values(found["test"][protocol])])
        gains = [found["improvement"][protocol][metric] for metric in base]
        for end, column in zip(("  gain, %", "    from", "    to"), zip(*gains)):
            rows.append([end, *("-" if value is None else f"{value:+.1f}" for value in column)])
    return rows


def _values(figures: dict[str, float]) -> list[str]:
    return [f"{value:.4f}" for value in figures.values()]


def _next_commands(result: Result) -> list[str]:
    """The commands that use the model and the result file."""
    if result.model_file is None:
        return []
    file = result.config.get("result_file")
    return [
        "",
        'next (a line of h.jsonl is {"history": [ITEM, ITEM, ...]}):',
        f"  recbole-raserec recommend --model_file={result.model_file} --input=h.jsonl",
        f"  recbole-raserec serve --model_file={result.model_file}",
        f"  recbole-raserec report {file}" if file else "  recbole-raserec report FILE, after run --result_file=FILE",
    ]


def aligned(rows: list[list[str]]) -> list[str]:
    """Lines of a table. The first column is left-aligned, the others are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
        for row in rows
    ]
