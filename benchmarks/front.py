"""What README.md says in figures: its reasons and its one table."""

from __future__ import annotations

import re
from typing import Any

from benchmarks.drift_tables import drift_gain
from benchmarks.headline import COLUMNS, bars, cell_of
from benchmarks.tables import PROTOCOLS, Run, cell, gain, grouped, seeds, short, title

FRONT = (("unmasked", "ndcg@10"), ("unmasked", "recall@10"), ("masked", "ndcg@10"), ("masked", "recall@10"))


def front_table(results: list[Run], published: dict[str, Any]) -> str:
    """The one table of README.md: each data set's SASRec and full pipeline, published and ours, and both bars.

    The presets ``best`` and ``safe`` have a row where there are runs of them.
    """
    head = ["data", "system", *(f"{protocol} {short(metric)}" for protocol, metric in FRONT)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    groups = grouped(results)
    for data, about in published["data"].items():
        of_preset = {_preset(runs): runs for runs in groups[data, "SASRec"].values()}
        plain = of_preset[None]
        goal = bars(about, "SASRec")
        rows = {
            "SASRec, published": _printed(dict(zip(COLUMNS, about["rows"]["SASRec"]))),
            f"SASRec, {seeds(plain)}": [cell_of(plain, "backbone", *column) for column in FRONT],
            "full pipeline, published": _printed(dict(zip(COLUMNS, about["rows"]["SASRec, full pipeline"]))),
        }
        for preset, label in (("full", "full pipeline"), ("best", "preset best"), ("safe", "preset safe")):
            if runs := of_preset.get(preset):
                rows[f"{label}, {seeds(runs)}"] = [cell_of(runs, "train", *column, goal[column]) for column in FRONT]
        for kind, label in (("mean of seeds", "best mean of seeds"), ("printed", "best printed of other models")):
            found = {
                (protocol, metric): bar["value"]
                for protocol, kinds in about["bars"].items()
                for metric, bar in kinds.get(kind, {}).items()
            }
            rows[label] = _printed(found)
        lines += [f"| {title(data)} | {label} | {' | '.join(cells)} |" for label, cells in rows.items()]
    return re.sub(" +", " ", "\n".join(lines))


def _printed(figures: dict[tuple[str, str], float]) -> list[str]:
    """The cells of figures that somebody printed, empty where there is none."""
    return [cell(figures[column]) if column in figures else "" for column in FRONT]


def reasons(results: list[Run], own: list[Run], drift: list[Run], bench: dict[str, Any]) -> str:
    """Three reasons with the figures that were measured.

    Parameters
    ----------
    results : the headline runs.
    own : runs of the same sequences of Beauty with the settings of a data set of one's own.
    drift : runs that were tested with only the older half of their memories, too.
    bench : the times of the stages.
    """
    runs = next(runs for runs in grouped(results)["amazon-beauty", "SASRec"].values() if not _preset(runs))
    unmasked, masked, own_unmasked, own_masked = (
        gain(same, "backbone", same, "train", protocol) for same in (runs, own) for protocol in PROTOCOLS
    )
    older, all_pairs, newest = (drift_gain(drift, memory, "unmasked") for memory in (0.5, "train", "train+valid"))
    epoch = next(row for row in bench["stages"] if row["stage"] == "sasrec_epoch" and row["data"] == "amazon-beauty")
    return f"""- **It helps on sparse data.** On Amazon Beauty retrieval changes SASRec's N@10 by {unmasked} % unmasked,
  by {masked} % masked ({seeds(runs)}, same users, 95 % intervals; [benchmarks](docs/benchmarks.md)). With
  the settings that data of your own get, which watch [each group of users](docs/safeguard.md), it is
  {own_unmasked} % and {own_masked} % ({seeds(own)}).
- **It learns without training.** Every choice is a memory at once. With the older half of the memories the gain is
  {older}, with all of them {all_pairs}, and with the newest ones too {newest} (Beauty,
  {seeds(drift)}, the paper's rate of fine-tuning). A memory is durable, can be forgotten, and gives each
  recommendation a [reason](docs/memory.md). Tested after one moment in time, newer memories were worth
  [nothing on ml-100k, and little on groceries](docs/memory.md#what-a-living-memory-is-worth).
- **It needs no GPU.** An epoch of SASRec on Beauty takes {epoch["ours_s"]:.1f} s on two cores, where RecBole's
  takes {epoch["peer_s"]:.0f} s ([speed](docs/benchmarks.md#speed)). All figures here are from CPUs."""


def _preset(runs: list[Run]) -> Any:
    return runs[0]["config"].get("preset")
