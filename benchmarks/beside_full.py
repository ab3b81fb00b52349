"""Tables of other settings beside ``--preset=full`` on the same data, with the same seeds, in markdown."""

from __future__ import annotations

from typing import Any

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
    """:func:`sweep_table` of the preset and of what regeneration adds to it."""
    return sweep_table([row for row in result["rows"] if "gain" not in row or _regenerates(row)], decoded=True)


def lever_table(result: dict[str, Any]) -> str:
    """:func:`sweep_table` of the preset and of other changes of its backbone."""
    return sweep_table([row for row in result["rows"] if not _regenerates(row)])


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
