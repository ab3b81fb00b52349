"""The tables of docs/memory.md: poisoning, new items, and what a living memory is worth."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import PROTOCOLS, cell, interval
from recbole_raserec.evaluation.ranking import MEMORIES_BY_TIME

NEVER = "never"
TARGETS = {"new": "an item that nobody knew", "rare": "a rare item", "median": "an item of median frequency"}


def poisoning_table(result: dict[str, Any]) -> str:
    """The fewest memories of the stronger attacker, without and with each limit, and what the limits cost."""
    recommended, most = result["recommended"], int(result["options"]["most"])
    limits = ("max_per_owner", "votes_per_owner", "new_item_owners")
    names = [f"`{name}={recommended[name]}`" for name in limits]
    lines = [f"| model | target | owners | without | {' | '.join(names)} | all three |", "|---" * 8 + "|"]
    for model in result["models"]:
        for target, label in TARGETS.items():
            for owners in ("one", "many"):
                case = {"model": model, "target": target, "owners": owners}
                rows = [row for row in result["rows"] if case.items() <= row.items()]
                cells = [_fewest(rows, name) for name in ("without", *limits, "all")]
                lines.append(f"| {model} | {label} | {owners} | {' | '.join(cells)} |")
    share, seeds = 100 * float(result["options"]["share"]), result["options"]["seeds"]
    data = (
        f"{result['data']}, {result['memories']:,} memories, {result['users']:,} users, {seeds} seeds: the fewest "
        f"added memories, to a tenth, that put the target into the ten best items of {share:g} % of the users, of the "
        f"stronger of two attackers. {NEVER}: not with {most:,} memories, or not with those that are let in. "
        f"{_models(result['models'])}"
    )
    return "\n".join([data, "", *lines]) + ("\n\n" + _cost(result) if "cost" in result else "")


def _models(models: dict[str, Any]) -> str:
    """What each model is."""
    told = [
        f"{name}: strength {model['strength']:g}, adjustment {model['adjustment']:g}, mixture "
        + (f"{model['mixture']['weight']:g} of {model['voters']} memories" if model["mixture"]["weight"] else "0")
        for name, model in models.items()
    ]
    return "; ".join(told) + "."


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
    first = (
        f"What the limits cost when people add honestly ({count:,} memories of what they chose), on "
        f"{int(result['options']['users']):,} of the users of each kind, drawn at random:"
    )
    return "\n".join([first, "", *lines])


def new_items_table(result: dict) -> str:
    """Recall of items that training never saw, and what adding them costs the others."""
    recall, k = result["recall"], result["k"]
    lines = [f"| users whose next item is new | R@{k}, ours | most frequent items | chance |", "|---|---|---|---|"]
    for part in ("validation", "test"):
        found = recall[part]
        figures = " | ".join(cell(value) for value in (found["ours"], found["popularity"], recall["chance"]))
        lines.append(f"| {part}, {found['users']:,} users | {figures} |")
    others = recall["others"]
    text = (
        f"{result['data']}: training never saw {result['chosen_items']:,} of the items; then "
        f"{result['added_memories']:,} memories that lead to them were added. R@{k} of the {others['users']:,} other "
        f"users, who are ranked among more items then: {cell(others['before'])} before, {cell(others['after'])} after."
    )
    return "\n".join(lines) + "\n\n" + text


def living_table(result: dict) -> str:
    """The figures of the three memories of a split by time, and what the living one gains over the frozen one."""
    labels = {"backbone": "no memory", **MEMORIES_BY_TIME}
    lines = ["| settings | memory | N@10 | R@10 | N@10, masked | R@10, masked |", "|---" * 6 + "|"]
    for variant, found in result["variants"].items():
        for name, label in labels.items():
            figures = [
                cell(sum(row[name][protocol][metric] for row in found["rows"]) / len(found["rows"]))
                for protocol in PROTOCOLS
                for metric in ("ndcg@10", "recall@10")
            ]
            lines.append(f"| {variant} | {label} | {' | '.join(figures)} |")
    first = next(iter(result["variants"].values()))
    text = (
        f"{first['dataset']['name']}, shares {result['options']['shares']} of the interactions, "
        f"{first['test_users']:,} test users, {len(first['rows'])} seeds."
    )
    told = [
        f"{variant}, {name}: N@10 " + ", ".join(
            f"{interval(*found['gains'][name][protocol]['ndcg@10'])} % {protocol}" for protocol in PROTOCOLS
        )
        for variant, found in result["variants"].items()
        for name in found["gains"]
    ]  # fmt: skip
    return "\n".join([text, "", *lines, "", *(f"- {line}" for line in told)])
