"""Time every stage of the peers and of this package, on the same data in one run: ``python benchmarks/bench.py``.

Each (stage, side, size) has its own process, so its peak memory can be measured.
Beauty's file is read from the folder ``RECBOLE_RASEREC_DATA`` or from ../shared/data.

  --stages=all      names of stages with commas; the rows of other stages stay in the file
  --output=FILE     benchmarks/results/bench-cpu.json

Sizes are multiples of Beauty's interactions: 1 is Beauty itself, the others are synthetic.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from time import perf_counter
from typing import Any, Callable

HERE = Path(__file__).parent
SIZES = {
    "sequence_building": (1, 5, 10, 100),
    "sasrec_epoch_as_shipped": (1,),
    "neighbour_search": (1,),
    "large_catalogue": (1,),
    "mining": (1, 10, 100),
    "regenerator_epoch": (1,),
    "decoding": (1,),
}
OTHER_SIZES = (1, 10, 100)
PEER_SIZES = {"sequence_building": (1, 5), "large_catalogue": ()}  # for larger sizes RecBole needs hours or tens of GB
OTHER_PEER_SIZES = (1,)
MANY_ITEMS = 1_000_000


def main(argv: list[str]) -> None:
    from benchmarks import read_options

    options = read_options(argv, {"stages": "all", "output": str(HERE / "results" / "bench-cpu.json")})
    folder = Path(tempfile.gettempdir()) / "recbole-raserec-bench"
    stages = list(_stages("ours"))
    chosen = stages if options["stages"] == "all" else options["stages"].split(",")
    if not set(chosen) <= set(stages):
        sys.exit(f"error: --stages={options['stages']}: use some of {','.join(stages)}")
    for stage in chosen:
        rates = {"flops": 1e9 * _gflops(), "bytes": 1e9 * _gigabytes()}
        rows = []
        for size in SIZES.get(stage, OTHER_SIZES):
            rows.append({**_compare(stage, folder, size, rates), **_conditions(rates)})
            print(_line(rows[-1]), flush=True)
        _write(Path(options["output"]), rows, stages)


def _conditions(rates: dict[str, float]) -> dict[str, Any]:
    """Date and machine of a row. The rates are those of a matrix product and a copy just before the measurement."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "matrix_product_gflops": round(rates["flops"] / 1e9, 1),
        "memory_gigabytes_a_second": round(rates["bytes"] / 1e9, 1),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": _versions(),
    }


def _write(output: Path, rows: list[dict[str, Any]], order: list[str]) -> None:
    """Replace the rows of a stage. The rows of other stages, and the figures of benchmarks/accuracy.py, stay."""
    from recbole_raserec.runtime.files import json_line

    result = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    others = [row for row in result.get("stages", []) if row["stage"] != rows[0]["stage"]]
    result["stages"] = sorted([*others, *rows], key=lambda row: order.index(row["stage"]))
    result["growth"] = _growth(result["stages"])
    output.write_text(json_line(result) + "\n", encoding="utf-8")


def _data(folder: Path, stage: str, size: int) -> str:
    """Create the data set of a size (Beauty's own file for 1, otherwise synthetic data). Return its name."""
    from benchmarks.synthetic import BEAUTY_INTERACTIONS, BEAUTY_ITEMS, write_synthetic

    if stage == "large_catalogue":
        return write_synthetic(folder, 10 * BEAUTY_INTERACTIONS, MANY_ITEMS)
    if size == 1:
        return beauty(folder)
    # With a fixed catalogue, the number of patterns would grow faster than the data (33x for 10x).
    items = BEAUTY_ITEMS * (size if stage == "mining" else 1)
    return write_synthetic(folder, size * BEAUTY_INTERACTIONS, items)


def beauty(folder: Path) -> str:
    """Convert Beauty's file. Return the data set's name."""
    from recbole_raserec import convert

    source = Path(os.environ.get("RECBOLE_RASEREC_DATA", HERE.parent.parent / "shared" / "data")) / "Beauty.txt"
    convert(source, "sequences", "amazon-beauty", folder, show_progress=False)
    return "amazon-beauty"


def _compare(stage: str, folder: Path, size: int, rates: dict[str, float]) -> dict[str, Any]:
    name = _data(folder, stage, size)
    repeats = 1 if size == 100 or stage == "large_catalogue" else 3  # these take minutes and have no peer
    sides = {"ours": _measure(stage, "ours", folder, name, repeats)}
    if size in PEER_SIZES.get(stage, OTHER_PEER_SIZES):
        sides["peer"] = _measure(stage, "peer", folder, name, repeats=3)
    ours = sides["ours"]
    row = {"stage": stage, "size": size, "data": name, "ours_s": ours["median"], "ours_mib": ours["mib"]}
    row |= {"ours_all_s": ours["seconds"], "ours_share_measured": ours["share"]}
    for limit, work in ours["work"].items():  # fraction of the machine's measured rate that the stage reaches
        row |= {"limit": limit, "work": work, "roofline": round(work / rates[limit] / ours["median"], 3)}
    if "peer" in sides:
        peer = sides["peer"]
        row |= {"peer_s": peer["median"], "peer_mib": peer["mib"], "peer_all_s": peer["seconds"]}
        row["ratio"] = round(peer["median"] / ours["median"], 1)
        row["spread"] = [
            round(min(peer["seconds"]) / max(ours["seconds"]), 1),
            round(max(peer["seconds"]) / min(ours["seconds"]), 1),
        ]
        row["peer_share_measured"] = peer["share"]
    return row


def _measure(stage: str, side: str, folder: Path, name: str, repeats: int) -> dict[str, Any]:
    """Run one stage of one side in its own process."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryDirectory() as working_folder:
        done = subprocess.run(
            [sys.executable, str(HERE / "bench.py"), "--one", stage, side, str(folder), name, str(repeats)],
            capture_output=True, text=True, env=environment, cwd=working_folder,
        )  # fmt: skip
    if done.returncode:
        sys.exit(f"error: {side} {stage} on {name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _stages(side: str) -> dict[str, Callable[..., Any]]:
    """The stages of one side, ``ours`` or ``peer``, in the order of the table."""
    from benchmarks import ours, ours_regeneration, peers, peers_regeneration

    rooms = {"ours": (ours, ours_regeneration), "peer": (peers, peers_regeneration)}[side]
    return {name: stage for room in rooms for name, stage in room.STAGES.items()}


def _one(stage: str, side: str, folder: str, name: str, repeats: str) -> None:
    from recbole_raserec.runtime.machine import peak_rss_mib

    seconds, share, *work = _stages(side)[stage](Path(folder), name, int(repeats))
    whole = [round(s / share, 4) for s in seconds]
    measured = {"seconds": whole, "median": statistics.median(whole), "share": share, "mib": round(peak_rss_mib())}
    print(json.dumps({**measured, "work": work[0] if work else {}}))


def _growth(rows: list[dict[str, Any]]) -> dict[str, float]:
    """For each stage, the log-log slope (least squares) of our seconds over interactions on synthetic data."""
    import numpy as np

    slopes = {}
    for stage in dict.fromkeys(row["stage"] for row in rows):
        mine = [row for row in rows if row["stage"] == stage and row["size"] != 1]
        if len(mine) > 1:
            sizes, seconds = ([math.log(row[name]) for row in mine] for name in ("size", "ours_s"))
            slopes[stage] = round(float(np.polyfit(sizes, seconds, 1)[0]), 3)
    return slopes


def _line(row: dict[str, Any]) -> str:
    text = f"{row['stage']:18} x{row['size']:<4} ours {row['ours_s']:9.2f} s {row['ours_mib']:6} MiB"
    if "ratio" in row:
        low, high = row["spread"]
        text += f"   peer {row['peer_s']:9.2f} s {row['peer_mib']:6} MiB   ratio {row['ratio']} [{low}, {high}]"
    return text


def _gflops() -> float:
    """Rate of a 2,048 x 2,048 matrix product in GFLOP/s, median of 9."""
    import torch

    a = torch.randn(2048, 2048)
    seconds = []
    for _ in range(9):
        start = perf_counter()
        a @ a
        seconds.append(perf_counter() - start)
    return round(2 * 2048**3 / statistics.median(seconds) / 1e9, 1)


def _gigabytes() -> float:
    """Rate of a copy of 256 MiB in GB/s (bytes read and written), median of 9."""
    import numpy as np

    source = np.ones(2**25)
    copy = np.empty_like(source)
    seconds = []
    for _ in range(9):
        start = perf_counter()
        np.copyto(copy, source)
        seconds.append(perf_counter() - start)
    return 2 * source.nbytes / statistics.median(seconds) / 1e9


def _versions() -> dict[str, str]:
    from recbole_raserec.runtime.machine import versions

    return versions()


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    if sys.argv[1:2] == ["--one"]:
        _one(*sys.argv[2:])
    else:
        main(sys.argv[1:])
