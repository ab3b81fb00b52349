"""The tables of docs/size.md in markdown, from result files. No figure is typed by hand."""

from __future__ import annotations

from typing import Any

from benchmarks.end_to_end import STAGES, WHOLE
from benchmarks.tables import PROTOCOLS, Run, cell, gain, interval, mean, seeds, test_of

_TITLES = {"finetune_epoch": "one fine-tuning epoch", "epoch": "one epoch", "evaluate": "evaluate, both protocols"}


def end_to_end_table(result: dict[str, Any]) -> str:
    """Seconds and peak memory of each stage at each size, and how they grow."""
    rows, slopes = result["rows"], result["growth"].get("seconds", {})
    heads = [f"{row['interactions']:,} interactions, {row['items']:,} items" for row in rows]
    lines = [f"| stage | {' | '.join(heads)} | slope |", "|---" * (len(rows) + 2) + "|"]
    for stage in (*STAGES, WHOLE):
        cells = " | ".join(f"{of['seconds']:,.1f} s, {of['peak_mib']:,.0f} MiB" for of in _of(rows, stage))
        slope = f"{slopes[stage]:.2f}" if stage in slopes else ""
        lines.append(f"| {_TITLES.get(stage, stage)} | {cells} | {slope} |")
    threads = sorted({row["machine"]["threads"] for row in rows})
    text = f"Threads: {', '.join(map(str, threads))}. The slope is that of log seconds over log interactions"
    busy = 1 - sum(of["cpu_s"] for of in _of(rows, WHOLE)) / sum(
        of["seconds"] * row["machine"]["threads"] for row, of in zip(rows, _of(rows, WHOLE))
    )
    processor = result["growth"].get("cpu_s", {}).get(WHOLE)
    if processor is not None:
        text += f"; that of the processor time of the whole is {processor:.2f}"
    return "\n".join(lines) + f"\n\n{text}. The threads did not run for {100 * busy:.0f} % of the time."


def _of(rows: list[dict[str, Any]], stage: str) -> list[dict[str, float]]:
    return [row["stages"][stage] for row in rows]


def search_table(result: dict[str, Any]) -> str:
    """How long it takes to find the memories of a part of the data, exactly and by lists."""
    lines = [
        "| memories | index | built in, s | recall@20 | ms a query | FAISS Flat | times faster [range] | peak, MiB |",
        "|---" * 8 + "|",
    ]
    for row in result["rows"]:
        if "part_ms_a_query" not in row or row["index_factory"] == "auto":
            continue
        wanted, ratio = f" for a recall of {row['index_recall']:g}" if row["index_recall"] else "", row["ratio"]
        lines.append(
            f"| {row['memories']:,}, {row['data']['keys']} | {row['factory']}{wanted} | {row['build_s']:.1f} "
            f"| {row['part_recall']:.3f} | {row['part_ms_a_query']:.3g} | {row['faiss_ms_a_query']:.3g} "
            f"| {ratio['median']:.3g} [{ratio['least']:.3g}, {ratio['most']:.3g}] | {row['peak_mib']:,.0f} |"
        )
    return "\n".join(lines)


def recall_table(exact: list[Run], lists: list[Run]) -> str:
    """What RaSeRec loses by an approximate search, with the same backbones and seeds."""
    lines = ["| search | recall@20 | N@10 | change, % | masked N@10 | change, % |", "|---" * 6 + "|"]
    for title, runs in (("exact", exact), ("list by list, `--index_recall=0.99`", lists)):
        found = ["1" if run.get("index") is None else f"{run['index']['recall']:.3f}" for run in runs]
        cells = []
        for protocol in PROTOCOLS:
            figures = mean(test_of(run, "train")[protocol]["ndcg@10"] for run in runs)
            cells += [figures, "" if runs is exact else gain(exact, "train", runs, "train", protocol)]
        lines.append(f"| {title}, {seeds(runs)} | {', '.join(dict.fromkeys(found))} | {' | '.join(cells)} |")
    return "\n".join(lines)


def stride_table(result: dict[str, Any]) -> str:
    """What ``window_stride`` costs and gains on long histories."""
    lines = [
        "| data, seed | window_stride | items read a pair | an epoch, s of processor time | peak, MiB "
        "| validation N@10 | gain over 1, % |",
        "|---" * 7 + "|",
    ]
    for row in result["rows"]:
        stride = f"auto ({row['stride']})" if row["window_stride"] == "auto" else str(row["stride"])
        over_exact = interval(*row["gain_over_exact"]) if "gain_over_exact" in row else ""
        lines.append(
            f"| {row['dataset']}, {row['seed']} | {stride} | {row['items_read_a_pair']:.2f} | {row['epoch_cpu_s']:.1f} "
            f"| {row['peak_mib']:,.0f} | {cell(row['valid'])} | {over_exact} |"
        )
    return "\n".join(lines)
