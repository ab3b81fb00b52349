"""The tables of docs/memory.md and docs/serving.md on poisoning, and on the speed of a recommender and its service."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.tables import cell

NEVER = "never"
TARGETS = {"new": "an item that nobody knew", "rare": "a rare item", "median": "an item of median frequency"}


def poisoning_table(result: dict[str, Any]) -> str:
    """The fewest memories of the stronger attacker, without and with each limit, and what the limits cost."""
    recommended, most = result["recommended"], int(result["options"]["most"])
    limits = ("max_per_owner", "votes_per_owner", "new_item_owners")
    names = [f"`{name}={recommended[name]}`" for name in limits]
    lines = [f"| model | target | owners | without | {' | '.join(names)} | all three |", "|---" * 8 + "|"]
    for weight in sorted({row["mixture_weight"] for row in result["rows"]}):
        model = f"mixture {weight:g}" if weight else "no mixture"
        for target, label in TARGETS.items():
            for owners in ("one", "many"):
                case = {"mixture_weight": weight, "target": target, "owners": owners}
                rows = [row for row in result["rows"] if case.items() <= row.items()]
                cells = [_fewest(rows, name) for name in ("without", *limits, "all")]
                lines.append(f"| {model} | {label} | {owners} | {' | '.join(cells)} |")
    share, seeds = 100 * float(result["options"]["share"]), result["options"]["seeds"]
    data = (
        f"{result['data']}, {result['memories']:,} memories, {result['users']:,} users, {seeds} seeds: the fewest "
        f"added memories, to a tenth, that put the target into the ten best items of {share:g} % of the users, of the "
        f"stronger of two attackers. {NEVER}: not with {most:,} memories, or not with those that are let in."
    )
    return "\n".join([data, "", *lines]) + "\n\n" + _cost(result)


def _fewest(rows: list[dict[str, Any]], name: str) -> str:
    """The range over the seeds, of the attacker who needs the fewest memories."""
    best = []
    for seed in sorted({row["seed"] for row in rows}):
        found = [row[name] for row in rows if row["seed"] == seed and row[name] is not None]
        best.append(min(found, default=None))
    reached = [number for number in best if number is not None]
    if not reached:
        return NEVER
    low, high = f"{min(reached):,}", f"{max(reached):,}"
    if len(reached) < len(best):
        return f"{low} or {NEVER}"
    return low if low == high else f"{low} to {high}"


def _cost(result: dict[str, Any]) -> str:
    """R@20 after honest additions."""
    lines = ["| limit | R@20, users whose next item is new | R@20, others |", "|---|---|---|"]
    for name, found in result["cost"].items():
        lines.append(f"| {name} | {cell(found['new'])} | {cell(found['others'])} |")
    count = next(iter(result["cost"].values()))["memories"]
    first = f"What the limits cost when people add honestly ({count:,} memories of what they chose):"
    return "\n".join([first, "", *lines])


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
