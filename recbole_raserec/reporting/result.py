"""The result of a run: one JSON-able dict, its file, and the table a reader sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recbole_raserec.evaluation.groups import group_metrics
from recbole_raserec.evaluation.metrics import Metrics, both_protocols
from recbole_raserec.evaluation.ranking import PROTOCOLS, Ranks
from recbole_raserec.evaluation.significance import Resampling, improvements, pack_ranks
from recbole_raserec.runtime.files import replacing
from recbole_raserec.runtime.machine import machine, peak_rss_mib, versions

MEMORIES = {"train": "memory of training pairs", "train+valid": "memory of training and validation pairs"}


def build_result(
    config: Any,
    dataset: Any,
    valid: dict[str, dict[str, float]],
    ranks: dict[str, Ranks],
    seconds: dict[str, float],
    curves: dict[str, list[float]],
    losses: dict[str, list[float]],
) -> dict[str, Any]:
    """Everything a result file says.

    ``improvement`` is RaSeRec over its backbone on the unmasked test ranking, ``improvement_masked``
    the same on the masked one: ``{metric: [percent, low, high]}``. Both, and ``raserec.test``, use the
    memory that ``memory_include_valid`` names; ``raserec.test_by_memory`` has either. ``test_ranks``
    holds every user's rank by the backbone and with either memory, packed, so that runs can be compared on
    paired users; ``groups`` the metrics by popularity of the test item and by history length.
    ``train_losses`` are sums over the batches of each epoch.
    """
    headline = headline_memory(config)
    metrics, resampling = Metrics.of(config), Resampling.of(config)
    by_memory: dict[str, dict[str, Any]] = {
        memory: {
            "test": both_protocols(ranks[memory], metrics),
            "improvement": improvements(ranks["backbone"], ranks[memory], metrics, resampling),
        }
        for memory in MEMORIES
    }
    sequences = dataset.sequences
    return {
        "dataset": {
            "name": config["dataset"],
            "sha256": dataset.sha256,
            "users": sequences.original,
            "items": dataset.item_num - 1,
            "interactions": int(sequences.offsets[sequences.original]),
        },
        "backbone": {
            "name": config["backbone"],
            "valid": valid["backbone"],
            "test": both_protocols(ranks["backbone"], metrics),
        },
        "raserec": {
            "name": config["model"],
            "memory": headline,
            "valid": valid["raserec"],
            "test": by_memory[headline]["test"],
            "test_by_memory": by_memory,
        },
        "groups": group_metrics(
            ranks["backbone"],
            ranks[headline],
            sequences.test_part(),
            sequences.training_only().items,
            dataset.item_num,
            metrics,
            resampling,
        ),
        "improvement": by_memory[headline]["improvement"]["unmasked"],
        "improvement_masked": by_memory[headline]["improvement"]["masked"],
        "test_users": len(ranks["backbone"].unmasked),
        "test_ranks": {
            side: {p: pack_ranks(ranks[side].of(p), metrics.depth) for p in PROTOCOLS}
            for side in ("backbone", *MEMORIES)
        },
        "seconds": {stage: round(value, 2) for stage, value in seconds.items()},
        "peak_rss_mib": peak_rss_mib(),
        "valid_curves": curves,
        "train_losses": losses,
        "config": config.plain(),
        "versions": versions(),
        "machine": machine(str(config["device"])),
        "seed": config["seed"],
    }


def headline_memory(config: Any) -> str:
    """Which of ``MEMORIES`` the headline figures are of."""
    return "train+valid" if config["memory_include_valid"] else "train"


def build_drift(config: Any, backbone: Ranks, drift: dict[float, tuple[int, Ranks]]) -> list[dict[str, Any]]:
    """Test metrics of each memory of older pairs, and its gain over the backbone."""
    return [
        {
            "share": share,
            "memories": memories,
            "test": both_protocols(ranks, Metrics.of(config)),
            "improvement": improvements(backbone, ranks, Metrics.of(config), Resampling.of(config)),
        }
        for share, (memories, ranks) in drift.items()
    ]


def write_result(path: str | Path, result: dict[str, Any]) -> None:
    """Write ``result`` as JSON, atomically."""
    with replacing(Path(path)) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def format_result(result: dict[str, Any]) -> str:
    """The result as an aligned table: both protocols, both memories, relative gain with its interval."""
    data, seconds = result["dataset"], result["seconds"]
    headline = result["raserec"]["memory"]
    counts = f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} interactions"
    lines = [
        f"{data['name']}: {counts}, {result['test_users']:,} test users, seed {result['seed']}",
        f"backbone {result['backbone']['name']}; gain in percent with its 95 % interval over paired users",
    ]
    for protocol in PROTOCOLS:
        base = result["backbone"]["test"][protocol]
        rows = [[f"test, {protocol}", *base], [result["backbone"]["name"], *(f"{v:.4f}" for v in base.values())]]
        for memory, label in MEMORIES.items():
            found = result["raserec"]["test_by_memory"][memory]
            name = f"{result['raserec']['name']}, {label}" + (" *" if memory == headline else "")
            rows.append([name, *(f"{v:.4f}" for v in found["test"][protocol].values())])
            rows.append(["  gain", *(_gain(found["improvement"][protocol][metric]) for metric in base)])
        lines += ["", *aligned(rows)]
    mixture = result["raserec"].get("mixture")
    chosen = f"mixture by validation: weight {mixture['weight']}, tau {mixture['tau']}" if mixture else ""
    lines += [
        "",
        *([chosen] if chosen else []),
        "* the figures under raserec.test and improvement in the result file (memory_include_valid)",
        "seconds: " + ", ".join(f"{stage} {value:.0f}" for stage, value in seconds.items())
        + f"; peak memory {result['peak_rss_mib']:.0f} MiB",
    ]  # fmt: skip
    return "\n".join(lines)


def _gain(interval: list[float | None]) -> str:
    percent, low, high = interval
    if percent is None:
        return "-"
    return f"{percent:+.1f}" if low is None else f"{percent:+.1f} [{low:+.1f}, {high:+.1f}]"


def aligned(rows: list[list[str]]) -> list[str]:
    """Lines of a table, its first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
        for row in rows
    ]
