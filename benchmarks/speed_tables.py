"""The tables of speed in markdown, from what bench.py, rectools_sasrec.py, several_processes.py, accuracy.py found."""

from __future__ import annotations

from benchmarks.tables import PROTOCOLS, cell, interval

LIMITS = {"flops": "arithmetic", "bytes": "memory"}
BESIDE = {
    "sequence_building": "RecBole",
    "sasrec_epoch": "RecBole, anomaly mode off",
    "sasrec_epoch_as_shipped": "RecBole as it ships",
    "neighbour_search": "FAISS and a filter in Python",
    "evaluation": "RecBole, unmasked only",
    "mining": "Seq2Pat",
}


def bench_table(result: dict) -> str:
    """This package and what it is timed beside, for every stage and size that both ran."""
    lines = [
        "| stage | data | beside | its s | ours, s | ratio [range] | its MiB | ours, MiB | of the limit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["stages"]:
        if "ratio" not in row:
            continue
        low, high = row["spread"]
        lines.append(
            f"| {row['stage']} | {row['data']} | {BESIDE.get(row['stage'], 'plain loop')} "
            f"| {row['peer_s']:.2f} | {row['ours_s']:.2f} "
            f"| {row['ratio']:.3g}x [{low:.3g}, {high:.3g}] | {row['peer_mib']} | {row['ours_mib']} "
            f"| {100 * row['roofline']:.0f} % of {LIMITS[row['limit']]} |"
        )
    return "\n".join(lines)


def growth_table(result: dict) -> str:
    """The growth of our seconds with the interactions: slope of log seconds over log interactions."""
    slopes = ", ".join(f"{stage} {slope:.2f}" for stage, slope in result["growth"].items())
    text = f"Growth with the interactions (log-log slope, synthetic data): {slopes}."
    for row in result["stages"]:
        if row["stage"] == "large_catalogue":
            text += (
                f" A SASRec epoch over {row['data']} (a million items): {row['ours_s']:.0f} s, {row['ours_mib']} MiB."
            )
    return text


def paths_table(rows: list[dict]) -> str:
    """The changes in a backbone's accuracy by the fast paths: means over seeds, against the first row."""
    lines = [
        "| way | epochs | test N@10 unmasked | masked | change in N@10 unmasked, % | masked, % |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        test = [cell(row["test"][protocol]["ndcg@10"]) for protocol in PROTOCOLS]
        changes = ["", ""]
        if "change_percent" in row:
            changes = [interval(*row["change_percent"][protocol]["ndcg@10"]) for protocol in PROTOCOLS]
        epochs = ", ".join(str(number) for number in row["epochs"])
        lines.append(f"| {' | '.join([row['way'], epochs, *test, *changes])} |")
    return "\n".join(lines)


def rectools_table(result: dict) -> str:
    """SASRec by RecTools and ours, on the same data for the same number of epochs."""
    lines = ["| package | an epoch, s | pairs | peak, MiB | test N@10 |", "|---" * 5 + "|"]
    for row in result["rows"]:
        lines.append(
            f"| {row['package']} | {row['epoch_s']:.1f} | {row['pairs']:,} | {row['peak_mib']:,.0f} "
            f"| {cell(row['test_ndcg@10'])} |"
        )
    theirs, ours = result["rows"]
    ratio = f"{theirs['epoch_s'] / ours['epoch_s']:.1f}"
    lines += ["", f"{result['epochs']} epochs. An epoch of RecTools takes {ratio} times as long as ours."]
    return "\n".join(lines)


_ON = {
    "epoch": "torch.distributed, an epoch of SASRec",
    "memory_encoding": "Ray, memory encoding",
    "decoding": "Ray, decoding",
}


def processes_table(result: dict) -> str:
    """One process with all threads, and several workers with one thread each."""
    workers = max(row["workers"] for row in result["rows"])
    lines = [
        f"| stage | one process, {workers} threads, s | {workers} workers, one thread each, s | times as fast |",
        "|---" * 4 + "|",
    ]
    for stage, title in _ON.items():
        one, many = (row["median_s"] for row in result["rows"] if row["stage"] == stage)
        lines.append(f"| {title} | {one:.2f} | {many:.2f} | {one / many:.2f} |")
    return "\n".join(lines)
