"""The tables of docs/serving.md on the speed of a recommender and of its service."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.tables import cell


def recommender_table(result: dict[str, Any]) -> str:
    """A trained model in Python: latency, throughput, recall and memory, by number of memories and index."""
    head = "| memories | index | p50, ms | p99, ms | histories a second | recall@20 | index built, s | resident, MiB |"
    lines = [head, "|---" * 8 + "|"]
    for row in sorted(result["rows"], key=lambda row: (row["memories"], row["index_factory"])):
        single, exact = row["single_ms"], row["index_factory"] == "Flat" or not row["size"]
        index = f"{row['index_factory']}{', which is exact here' if exact and row['index_factory'] == 'auto' else ''}"
        speed = f"{single['p50']:.1f} | {single['p99']:.1f} | {row['batch_a_second']:,.0f}"
        recall = "exact" if exact else cell(row["recall"])
        lines.append(
            f"| {row['memories']:,} | {index} | {speed} | {recall} | {row['index_s']:.1f} | {row['resident_mib']:,} |"
        )
    return "\n".join(lines) + "\n\n" + _peers(next(row for row in result["rows"] if row["size"] == 0))


def _peers(row: dict[str, Any]) -> str:
    """The other figures of the model's own memories, and the peers that answered the same users."""
    adds = f"{row['adds_a_second']:,.0f} durable additions a second in batches of 100"
    said = f"Loading takes {row['load_s']:.2f} s; {adds}."
    peers = {
        "recbole": "RecBole's `full_sort_topk` of SASRec with the same weights",
        "implicit": "implicit's `recommend`",
    }
    for name, label in peers.items():
        if name in row:
            found = row[name]["single_ms"]
            said += (
                f" {label}: p50 {found['p50']:.1f}, p99 {found['p99']:.1f} ms, "
                f"{row[name]['batch_a_second']:,.0f} a second."
            )
    return said


def speed_table(result: dict[str, Any]) -> str:
    """Latency and throughput by clients, with and without micro-batching, and the memory over the soak."""
    lines = ["| clients | micro-batching | p50, ms | p99, ms | requests a second |", "|---|---|---|---|---|"]
    for row in result["rows"]:
        shown = f"{row['p50_ms']:.1f} | {row['p99_ms']:.1f} | {row['requests_per_second']:,.0f}"
        lines.append(f"| {row['clients']} | {'yes' if row['batching'] else 'no'} | {shown} |")
    text = (
        f"{result['memories']:,} memories, {result['items']:,} items, {result['cores']} cores that the clients share."
    )
    return "\n".join([text, "", *lines]) + _soak(result.get("soak"))


def _soak(soak: dict[str, Any] | None) -> str:
    if soak is None:
        return ""
    times = list(_thirds(soak["rss_mib"]))
    moments = ("at the start", "in the middle", "at the end")
    shown = ", ".join(f"{mib:.0f} MiB {when}" for when, mib in zip(moments, times))
    minutes = soak["rss_mib"][-1][0] / 60
    return (
        f"\n\n{minutes:.0f} minutes of eight clients that ask, add and forget ({soak['requests']:,} requests): {shown}."
    )


def _thirds(seen: list[list[float]]) -> Iterable[float]:
    """Resident memory after a tenth of the looks (until then the service is not warm), after half, and at the end."""
    return (seen[at][1] for at in (len(seen) // 10, len(seen) // 2, len(seen) - 1))
