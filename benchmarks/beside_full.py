"""Tables of other settings beside ``--preset=full`` on the same data, with the same seeds, in markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.backbone_variants import DECODED, LEVERS
from benchmarks.tables import PROTOCOLS, Run, cell, gain, interval, mean, seeds, test_of


def beside_full_table(full: list[Run], others: dict[str, list[Run]]) -> str:
    """N@10 of backbone and RaSeRec, the gain of RaSeRec over its backbone, and of both over those of ``full``.

    Parameters
    ----------
    full : the runs of ``--preset=full`` with SASRec.
    others : label -> runs of the same seeds as ``full``, or of some of them.
    """
    head = ["settings", "protocol", "backbone, N@10", "with retrieval, N@10", "gain, %"]
    head += ["backbone over the first row's, %", "with retrieval over the first row, %"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for label, runs in {"SASRec, `--preset=full`": full, **others}.items():
        same = [run for run in full if run["seed"] in {other["seed"] for other in runs}]
        for protocol in PROTOCOLS:
            cells = [mean(test_of(run, side)[protocol]["ndcg@10"] for run in runs) for side in ("backbone", "train")]
            cells.append(gain(runs, "backbone", runs, "train", protocol))
            for side in ("backbone", "train"):
                cells.append("" if runs is full else gain(same, side, runs, side, protocol))
            lines.append(f"| {label}, {seeds(runs)} | {protocol} | {' | '.join(cells)} |")
    return "\n".join(lines)


def decoded_table(result: dict[str, Any]) -> str:
    """:func:`sweep_table` of the preset and of what regeneration adds to it, and what has no row."""
    rows = [row for row in result["rows"] if "gain" not in row or _regenerates(row)]
    return sweep_table(rows, decoded=True) + _without_a_row(rows, DECODED)


def lever_table(result: dict[str, Any]) -> str:
    """:func:`sweep_table` of the preset and of other changes of its backbone, and what has no row."""
    rows = [row for row in result["rows"] if not _regenerates(row)]
    return sweep_table(rows) + _without_a_row(rows, LEVERS)


def _without_a_row(rows: list[dict[str, Any]], variants: Iterable[str]) -> str:
    """A paragraph that names the variants that were not measured; empty if all were."""
    missing = "; ".join(name for name in variants if name not in {row["variant"] for row in rows})
    return f"\n\nThe program knows these changes too, and they were not measured: {missing}." if missing else ""


def _regenerates(row: dict[str, Any]) -> bool:
    return "rows" in row or "regenerate" in row["changed"]


def sweep_table(rows: list[dict[str, Any]], decoded: bool = False) -> str:
    """Validation figures of changes of the backbone's training, and their gain over the preset, the first row.

    ``decoded`` adds the number of decoded rows.
    """
    head = ["data, seed", "change", *(["decoded rows"] if decoded else []), "best epoch"]
    head += [f"{masked}{name}" for masked in ("", "masked ") for name in ("R@10", "N@10", "gain in N@10, %")]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [f"{row['dataset']}, {row['seed']}", row["variant"]]
        cells += [*([f"{row.get('rows', 0):,}"] if decoded else []), str(row["best_epoch"])]
        for protocol in PROTOCOLS:
            figures = row["valid"][protocol]
            cells += [cell(figures["recall@10"]), cell(figures["ndcg@10"])]
            cells.append(interval(*row["gain"][protocol]["ndcg@10"]) if "gain" in row else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
