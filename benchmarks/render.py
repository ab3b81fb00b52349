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
from benchmarks.beside_full import beside_full_table  # noqa: E402
from benchmarks.front import front_table, reasons  # noqa: E402
from benchmarks.headline import headline_tables, unearned  # noqa: E402
from benchmarks.parameters import parameters_page  # noqa: E402
from recbole_raserec.reporting.page import sensitivity, sweeps, write_report  # noqa: E402
from recbole_raserec.reporting.result import read_result  # noqa: E402

README = HERE.parent / "README.md"
RESULTS = HERE / "results"
ALL_FIGURES = RESULTS / "README.md"
DOCS = HERE.parent / "docs"
PAGES = (
    "backbones", "benchmarks", "distributed", "memory", "parameters", "reliability", "safeguard", "serving", "size",
)  # fmt: skip
BACKBONES, BENCHMARKS, DISTRIBUTED, MEMORY, PARAMETERS, RELIABILITY, SAFEGUARD, SERVING, SIZE = (
    DOCS / f"{name}.md" for name in PAGES
)
# Page, name of the block, result file, and what makes the block of it
TABLES = (
    (BENCHMARKS, "rectools", "rectools.json", speed_tables.rectools_table),
    (MEMORY, "newitems", "new-items.json", memory_tables.new_items_table),
    (MEMORY, "living", "living.json", memory_tables.living_table),
    (MEMORY, "poisoning", "poisoning.json", memory_tables.poisoning_table),
    (RELIABILITY, "faults", "kills-pipeline.json", reliability_tables.faults_table),
    (RELIABILITY, "fuzz", "fuzz.json", reliability_tables.fuzz_table),
    (SERVING, "recommender", "serving.json", service_tables.recommender_table),
    (SERVING, "speed", "serving_http.json", service_tables.speed_table),
    (DISTRIBUTED, "processes", "several-processes.json", speed_tables.processes_table),
    (SIZE, "endtoend", "end_to_end.json", size_tables.end_to_end_table),
    (SIZE, "search", "search.json", size_tables.search_table),
    (SIZE, "strides", "long-histories.json", size_tables.stride_table),
)
# Page, name of the block, and the result files of each row beside preset full on Beauty
BESIDE_FULL = (
    (
        BACKBONES,
        "figures",
        {
            "HSTU, the same preset": "backbones/beauty-hstu-full-*.json",
            "SASRec, filter beside attention": "backbones/beauty-sasrec-filter-full-*.json",
        },
    ),
    (BENCHMARKS, "decoded", {"decoded rows too": "decoded/beauty-sasrec-full-decoded-*.json"}),
)
ABOUT = (
    "Written by `python benchmarks/render.py` from the files beside it. Means over the seeds and half their range; "
    "gains over the backbone of the same run, with 95 % intervals over users."
)
ABOUT_GROUPS = (
    "N@10 of the backbone and of RaSeRec (training pairs in the memory), the gain with half its range over the seeds."
)


def draw(files: list[Path], folder: Path) -> None:
    """Write the report of ``files`` into ``folder``, and a separate picture of each of their sweeps."""
    folder.mkdir(exist_ok=True)
    write_report(files, folder / "report.html")
    for name, series in sweeps([dict(read_result(file)) for file in files]):
        for protocol in tables.PROTOCOLS:
            picture = sensitivity(name, series, protocol)["picture"]
            (folder / f"{name}-{protocol}.svg").write_text(picture, encoding="utf-8")


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


def blocks(
    results: list[tables.Run],
    headline: list[tables.Run],
    swept: list[tables.Run],
    bench: dict,
    published: dict,
) -> dict[str, str]:
    """The name and the content of each block of docs/benchmarks.md."""
    full = [run for run in headline if run["config"].get("preset") == "full"]
    return {
        "accuracy": headline_tables(headline, published),
        "ablation": tables.ablation_table([run for run in results if tables.in_ablation(run)]),
        "groups": tables.group_table(full, "item_popularity", ("quintile 1", "tail", "head")),
        "drift": tables.drift_table(next(run for run in swept if "drift" in run)),
        "bench": speed_tables.bench_table(bench) + "\n\n" + speed_tables.growth_table(bench),
        "paths": speed_tables.paths_table(bench["accuracy"]),
    }


def pages(published: dict, swept: list[Path]) -> dict[Path, str]:
    """Each page and its text, from the result files."""
    results = _runs("amazon-*.json")
    headline = [run for run in results if tables.in_headline(run["config"])]
    bench = _json("bench-cpu.json")
    text = BENCHMARKS.read_text(encoding="utf-8")
    for name, block in blocks(results, headline, [read_result(file) for file in swept], bench, published).items():
        text = replace_block(text, name, block)
    others = (BACKBONES, DISTRIBUTED, MEMORY, RELIABILITY, SAFEGUARD, SERVING, SIZE)
    texts = {BENCHMARKS: text, **{file: file.read_text(encoding="utf-8") for file in others}}
    for place, name, file, table in TABLES:
        if (RESULTS / file).exists():
            texts[place] = replace_block(texts[place], name, table(_json(file)))
    exact, lists = (_runs(f"recall/*-{index}-*.json") for index in ("exact", "lists"))
    if exact:
        texts[SIZE] = replace_block(texts[SIZE], "recall", size_tables.recall_table(exact, lists))
    for place, name, rows in BESIDE_FULL:
        if found := {label: runs for label, files in rows.items() if (runs := _runs(files))}:
            texts[place] = replace_block(texts[place], name, beside_full_table(exact, found))
    if guarded := _runs("safeguard/*.json"):
        full = [run for run in headline if run["config"].get("preset") == "full"]
        texts[SAFEGUARD] = replace_block(texts[SAFEGUARD], "nobody", safeguard_tables.nobody_table(guarded, full))
    drift = next(run for run in map(read_result, swept) if "drift" in run)
    readme = README.read_text(encoding="utf-8")
    for name, block in {"results": front_table(headline, published), "why": reasons(headline, drift, bench)}.items():
        readme = replace_block(readme, name, block)
    written = {README: readme, ALL_FIGURES: page(headline), **texts}
    return {**written, PARAMETERS: parameters_page()}


def problems(written: dict[Path, str], published: dict) -> list[str]:
    """What --check finds: pages that would change, and bold figures of docs/benchmarks.md below their bar."""
    stale = [file for file, text in written.items() if file.read_text(encoding="utf-8") != text]
    told = [f"{file.name} is not what the result files say: run python benchmarks/render.py" for file in stale]
    block = re.search(r"<!-- accuracy -->\n(.*?)<!-- /accuracy -->", BENCHMARKS.read_text(encoding="utf-8"), re.S)
    assert block, "docs/benchmarks.md has no block named accuracy"
    return told + unearned(block[1], published)


def _runs(pattern: str) -> list[tables.Run]:
    return [read_result(file) for file in sorted(RESULTS.glob(pattern))]


def _json(name: str) -> dict:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def main(argv: list[str]) -> None:
    if argv not in ([], ["--check"]):
        sys.exit("error: the only option is --check")
    published = json.loads((HERE / "published.json").read_text(encoding="utf-8"))
    swept = sorted((RESULTS / "sensitivity").glob("*.json"), key=lambda file: ("default" not in file.name, file.name))
    written = pages(published, swept)
    if argv:
        sys.exit("\n".join(problems(written, published)) or 0)
    for file, text in written.items():
        file.write_text(text, encoding="utf-8")
    draw(swept, HERE / "pictures")


if __name__ == "__main__":
    main(sys.argv[1:])
