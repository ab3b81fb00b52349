"""Write the tables and pictures of the pages from benchmarks/results/: ``python benchmarks/render.py [--check]``.

With --check nothing is written. The exit code is 1 if a page would change, or if a bold figure of docs/benchmarks.md
does not reach its bar in benchmarks/published.json.

benchmarks/results/README.md gets all headline figures, docs/benchmarks.md the most important ones, and README.md one
table. Only the text between the markers ``<!-- NAME -->`` and ``<!-- /NAME -->`` is replaced. No figure is typed by
hand. docs/parameters.md is written from the table of parameters. benchmarks/pictures/ gets the pictures of the runs in
benchmarks/results/sensitivity/, and report.html, the report of these runs.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks import (  # noqa: E402
    memory_tables,
    reliability_tables,
    safeguard_tables,
    service_tables,
    size_tables,
    speed_tables,
    tables,
)
from benchmarks.beside_full import beside_full_table, decoded_table, lever_table  # noqa: E402
from benchmarks.drift_tables import drift_table  # noqa: E402
from benchmarks.front import front_table, reasons  # noqa: E402
from benchmarks.headline import below_table, headline_tables, unearned  # noqa: E402
from benchmarks.parameters import parameters_page  # noqa: E402
from benchmarks.trade_off import trade_off  # noqa: E402
from recbole_raserec.reporting.page import sensitivity, sweeps, write_report  # noqa: E402
from recbole_raserec.reporting.result import read_result  # noqa: E402

RESULTS, DOCS = HERE / "results", HERE.parent / "docs"
PAGES = {
    "README": HERE.parent / "README.md",
    "all figures": RESULTS / "README.md",
    **{
        name: DOCS / f"{name}.md"
        for name in (
            "backbones", "benchmarks", "distributed", "memory", "parameters", "reliability", "safeguard", "serving",
            "size", "tried",
        )
    },
}  # fmt: skip
# Page, name of the block, result file, and what makes the block of it
TABLES = (
    ("benchmarks", "rectools", "rectools.json", speed_tables.rectools_table),
    ("memory", "newitems", "new-items.json", memory_tables.new_items_table),
    ("memory", "living", "living-ml-100k.json", memory_tables.living_table),
    ("memory", "livinggroceries", "living-groceries.json", memory_tables.living_table),
    ("memory", "poisoning", "poisoning.json", memory_tables.poisoning_table),
    ("reliability", "faults", "kills-pipeline.json", reliability_tables.faults_table),
    ("reliability", "fuzz", "fuzz.json", reliability_tables.fuzz_table),
    ("serving", "recommender", "serving.json", service_tables.recommender_table),
    ("serving", "speed", "serving_http.json", service_tables.speed_table),
    ("distributed", "processes", "several-processes.json", speed_tables.processes_table),
    ("size", "endtoend", "end_to_end.json", size_tables.end_to_end_table),
    ("size", "search", "search.json", size_tables.search_table),
    ("size", "strides", "long-histories.json", size_tables.stride_table),
    ("tried", "decodedsweep", "backbone-sweep.json", decoded_table),
    ("tried", "levers", "backbone-sweep.json", lever_table),
)
# The result files of each row beside preset full on Beauty
BESIDE_FULL = {
    "HSTU, the same preset": "backbones/beauty-hstu-full-*.json",
    "SASRec, filter beside attention": "backbones/beauty-sasrec-filter-full-*.json",
}
ABOUT = (
    "Written by `python benchmarks/render.py` from the files beside it. Means over the seeds and half their range; "
    "gains over the backbone of the same run, with 95 % intervals over users."
)
ABOUT_GROUPS = (
    "N@10 of the backbone and of RaSeRec (training pairs in the memory), the gain with half its range over the seeds. "
    "Quintile 1 is the rarest fifth of the items in training, quintile 5 the most frequent one: the head; the "
    "others are the tail. 50- are histories of 50 and more items. "
    "[How it is measured](../../docs/method.md#how-it-is-measured)."
)


def draw(files: list[Path], headline: list[tables.Run], folder: Path) -> None:
    """Write the report of ``files`` into ``folder``, a picture of each of their sweeps, and that of the presets."""
    folder.mkdir(exist_ok=True)
    write_report(files, folder / "report.html")
    for name, series in sweeps([dict(read_result(file)) for file in files]):
        for protocol in tables.PROTOCOLS:
            picture = sensitivity(name, series, protocol)["picture"]
            (folder / f"{name}-{protocol}.svg").write_text(picture, encoding="utf-8")
    for protocol in tables.PROTOCOLS:
        (folder / f"trade-off-{protocol}.svg").write_text(trade_off(headline, protocol), encoding="utf-8")


def replace_block(text: str, name: str, block: str) -> str:
    """``text`` with ``block`` between the markers of ``name``. Only the text between the markers is replaced."""
    assert f"<!-- {name} -->" in text, f"there is no block {name}"
    return re.sub(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m: m[1] + block + "\n" + m[2], text, flags=re.S)


def page(headline: list[tables.Run]) -> str:
    """The page of all headline figures, with the figures of groups of users."""
    parts = ["# All headline figures", ABOUT, tables.full_table(headline)]
    for kind, title in tables.KINDS.items():
        names = headline[0]["groups"][kind]
        parts += [f"## {title}", ABOUT_GROUPS, tables.group_table(headline, kind, names)]
    return "\n\n".join(parts) + "\n"


def blocks(headline: list[tables.Run], swept: list[tables.Run], bench: dict, published: dict) -> dict[str, str]:
    """The name and the content of each block of docs/benchmarks.md."""
    return {
        "accuracy": headline_tables(headline, published),
        "below": below_table(headline, published),
        "ablation": tables.ablation_table([run for run in headline if tables.in_ablation(run)]),
        "groups": tables.group_table(headline, "item_popularity", ("quintile 1", "tail", "head")),
        "drift": drift_table([run for run in swept if "drift" in run]),
        "bench": speed_tables.bench_table(bench) + "\n\n" + speed_tables.growth_table(bench),
        "paths": speed_tables.paths_table(bench["accuracy"]),
    }


def headline_runs() -> list[tables.Run]:
    """The runs of the Amazon data sets. An older run of preset ``safe`` names its values instead."""
    others = _runs("amazon-*.json")
    return others + [{**run, "config": {**run["config"], "preset": "safe"}} for run in _runs("safeguard/*.json")]


def pages(published: dict, headline: list[tables.Run], swept: list[Path]) -> dict[str, str]:
    """The text of each of ``PAGES``, from the result files."""
    bench = _json("bench-cpu.json")
    runs = [read_result(file) for file in swept]
    texts = {name: file.read_text(encoding="utf-8") for name, file in PAGES.items()}

    def put(place: str, name: str, block: str) -> None:
        texts[place] = replace_block(texts[place], name, block)

    for name, block in blocks(headline, runs, bench, published).items():
        put("benchmarks", name, block)
    for place, name, file, table in TABLES:
        put(place, name, table(_json(file)))
    exact, lists = (_runs(f"recall/*-{index}-*.json") for index in ("exact", "lists"))
    put("size", "recall", size_tables.recall_table(exact, lists))
    beside = {label: _runs(files) for label, files in BESIDE_FULL.items()}
    put("backbones", "figures", beside_full_table(exact, beside))
    pooled = _json("safeguard-groups.json")["rows"]
    safe = [run for run in headline if run["config"].get("preset") == "safe"]
    put("safeguard", "nobody", safeguard_tables.nobody_table(safe, headline, pooled))
    put("safeguard", "own", safeguard_tables.own_table(_runs("own/*.json")))
    put("README", "results", front_table(headline, published))
    put(
        "README",
        "why",
        reasons(headline, _runs("own/ownbeauty-*.json"), [run for run in runs if "drift" in run], bench),
    )
    return {**texts, "all figures": page(headline), "parameters": parameters_page()}


def problems(written: dict[str, str], published: dict) -> list[str]:
    """What --check finds: pages that would change, and bold figures of docs/benchmarks.md below their bar."""
    before = {name: PAGES[name].read_text(encoding="utf-8") for name in written}
    stale = [PAGES[name].name for name, text in written.items() if before[name] != text]
    told = [f"{file} is not what the result files say: run python benchmarks/render.py" for file in stale]
    block = re.search(r"<!-- accuracy -->\n(.*?)<!-- /accuracy -->", before["benchmarks"], re.S)
    assert block, "docs/benchmarks.md has no block named accuracy"
    return told + unearned(block[1], published)


def _runs(pattern: str) -> list[tables.Run]:
    return [read_result(file) for file in _files(pattern)]


def _json(name: str) -> dict:
    return json.loads(_files(name)[0].read_text(encoding="utf-8"))


def _files(pattern: str) -> list[Path]:
    """The result files of a block. Without any, its page would keep figures that no file holds."""
    found = sorted(RESULTS.glob(pattern))
    return found or sys.exit(f"error: {RESULTS / pattern} is missing, and a table is made of it")


def main(argv: list[str]) -> None:
    if argv not in ([], ["--check"]):
        sys.exit("error: the only option is --check")
    published = json.loads((HERE / "published.json").read_text(encoding="utf-8"))
    swept = sorted((RESULTS / "sensitivity").glob("*.json"), key=lambda file: ("default" not in file.name, file.name))
    headline = headline_runs()
    written = pages(published, headline, swept)
    if argv:
        sys.exit("\n".join(problems(written, published)) or 0)
    for name, text in written.items():
        PAGES[name].write_text(text, encoding="utf-8")
    draw(swept, headline, HERE / "pictures")


if __name__ == "__main__":
    main(sys.argv[1:])
