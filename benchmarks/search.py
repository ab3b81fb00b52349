"""Measure the search for memories, exact, with ``index_factory=auto`` and by lists: ``python benchmarks/search.py``.

Each (number of memories, index) has its own process, so its peak memory can be measured.

  --model_file=FILE   a trained model; the keys are those of its memory, each moved in a random direction by the
                      distance of a real key to its nearest neighbour. Without it, the keys are clusters on a sphere.
  --sizes=A,B         numbers of memories; 131413 are Beauty's
  --indices=A;B       factory strings, auto, or lists: what auto uses for the rows of a part of the data in a large bank
  --index_nprobe=16   --index_recall=0   as for run
  --output=FILE       benchmarks/results/search.json; the rows of other sizes and indices stay in the file
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

HERE = Path(__file__).parent
DEFAULTS = {
    "model_file": "",
    "sizes": "131413,1000000,10000000",
    "indices": "Flat;auto;lists",
    "index_nprobe": "16",
    "index_recall": "0",
    "output": str(HERE / "results" / "search.json"),
}
K, HISTORY = 20, 6  # a user of Beauty has six training pairs
SINGLE, WARM = 300, 20  # single searches that are timed, and searches before them
BATCHES = (64, 1024)
COMPARED = 4000  # queries of the recall
REPEATS = 7  # of the search of a part and of FAISS's, in turn
LISTS_PART, OTHER_PART = 2**15, 2**11  # of the memory's own keys that are searched at once, by lists and otherwise


def measure(size: int, factory: str, nprobe: int, recall: float, model_file: str) -> dict[str, Any]:
    """One row of the result, measured in this process."""
    from benchmarks.keys import made_keys, real_keys
    from recbole_raserec.retrieval.memory import MemoryBank
    from recbole_raserec.runtime.machine import peak_rss_mib, resident_mib

    source, about = real_keys(model_file) if model_file else made_keys(size)
    rows, before = np.arange(size), resident_mib()
    own = model_file and size == len(source.centres)
    keys, owners, lengths = source.centres if own else source.draw(size, 1), rows // HISTORY + 1, rows % HISTORY + 1
    built = _build(keys, factory, nprobe, recall)
    bank = MemoryBank(keys, rows % 12_101 + 1, owners, lengths, None, factory, nprobe, recall)
    rng = np.random.default_rng(3)
    if factory == "lists":
        found = {**built, **_measure_part(bank, bank._lists.sample(LISTS_PART))}
        return {**_about(size, keys, factory, recall, about), **found}
    queries = source.draw(max(SINGLE + WARM, *BATCHES), 2)
    users, prefix = rng.integers(1, owners[-1] + 1, len(queries)), rng.integers(1, HISTORY + 1, len(queries))

    def search(rows: slice) -> Callable[[], Any]:
        return lambda: bank.search(queries[rows], users[rows], prefix[rows], K)

    search(slice(0, WARM))()
    for row in range(WARM):
        search(slice(row, row + 1))()
    single = [1000 * _seconds(search(slice(row, row + 1))) for row in range(WARM, WARM + SINGLE)]
    batches = {n: [1000 * _seconds(search(slice(0, n))) / n for _ in range(3)] for n in BATCHES}
    some = rng.permutation(size)[:OTHER_PART]
    found = {} if factory == "auto" and not bank.is_exact else _measure_part(bank, some)
    return {
        **_about(size, keys, factory, recall, about),
        **built,
        "keys_mib": round(keys.nbytes / 2**20, 1),
        "resident_mib": round(resident_mib() - before, 1),
        "peak_mib": peak_rss_mib(),  # unless a part was searched, which knows its own
        "recall": round(_recall(bank, queries[:COMPARED]), 4),
        "single_ms": {"median": _digits(statistics.median(single)), "p99": _digits(float(np.quantile(single, 0.99)))},
        "batch_ms_a_query": {str(n): _digits(statistics.median(times)) for n, times in batches.items()},
        **found,
    }


def _about(size: int, keys: np.ndarray, factory: str, recall: float, data: dict[str, Any]) -> dict[str, Any]:
    from recbole_raserec.retrieval.index import choose_factory

    return {
        "memories": size,
        "width": keys.shape[1],
        "index_factory": factory,
        "factory": factory if factory == "lists" else choose_factory(factory, *keys.shape),
        "index_recall": recall,
        "data": data,
    }


def _measure_part(bank: Any, rows: np.ndarray) -> dict[str, Any]:
    """How the memory's own keys ``rows`` are searched as the rows of a part, beside FAISS's exact search.

    FAISS has no leak rule and no order of equally near memories, and searches for at most 2,048 of the keys. The
    machine may be slower at another time, so both are timed in turn.
    """
    from recbole_raserec.retrieval.index import build_index, normalise
    from recbole_raserec.runtime.machine import peak_rss_mib

    nobody, peer = np.full(len(rows), int(bank.owners.max()) + 1), rows[:OTHER_PART]

    def search() -> np.ndarray:
        return bank.search(bank.keys[rows], nobody, np.ones_like(nobody), K, part=len(bank))

    found, peak = search(), peak_rss_mib()  # without FAISS's index
    flat = bank.index if bank.is_exact else build_index(bank.keys, "Flat", 1)
    queries = normalise(bank.keys[peer])
    flat.search(queries, K)
    times = [(_seconds(search), _seconds(lambda: flat.search(queries, K))) for _ in range(REPEATS)]
    ours, faiss = ([1000 * seconds / len(part) for seconds in side] for side, part in zip(zip(*times), (rows, peer)))
    ratios = [theirs / own for own, theirs in zip(ours, faiss)]
    some = np.random.default_rng(5).permutation(len(rows))[:COMPARED]
    return {
        "part_ms_a_query": _digits(statistics.median(ours)),
        "faiss_ms_a_query": _digits(statistics.median(faiss)),
        "ratio": {
            name: _digits(of(ratios)) for name, of in (("median", statistics.median), ("least", min), ("most", max))
        },
        "part_recall": round(_share_found(bank, bank.keys[rows[some]], found[some]), 4),
        "peak_mib": peak,
    }


def _recall(bank: Any, queries: np.ndarray) -> float:
    """Fraction of the exact ``K`` nearest memories that the bank finds for somebody without memories of their own."""
    nobody = np.full(len(queries), int(bank.owners.max()) + 1)
    return _share_found(bank, queries, bank.search(queries, nobody, np.ones_like(nobody), K))


def _share_found(bank: Any, queries: np.ndarray, found: np.ndarray) -> float:
    """Fraction of the exact ``K`` nearest memories that are in ``found`` [Q, K]."""
    from recbole_raserec.retrieval.recall import exact_search

    least = exact_search(bank.keys, queries, K).least
    return float(np.mean(bank.cosines(queries, found) >= least[:, None] - 1e-6))


def _build(keys: np.ndarray, factory: str, nprobe: int, recall: float) -> dict[str, Any]:
    """Seconds, size and setting of the index that the bank will build for itself when it is first searched."""
    from recbole_raserec.retrieval.index import build_index, choose_factory
    from recbole_raserec.retrieval.lists import build_lists
    from recbole_raserec.retrieval.recall import check_recall, facts_of

    start = perf_counter()
    index = build_lists(keys) if factory == "lists" else build_index(keys, factory, nprobe)
    built: dict[str, Any] = {"build_s": round(perf_counter() - start, 2)}
    if factory == "lists" or choose_factory(factory, *keys.shape) != "Flat":
        start = perf_counter()
        logged = round(check_recall(index, keys, recall), 4)
        built["recall_s"] = round(perf_counter() - start, 2)
        facts = facts_of(index, factory, logged)
        built |= {"logged_recall": logged, **{name: facts[name] for name in facts.keys() - {"factory", "recall"}}}
    return built if factory == "lists" else {**built, "index_mib": round(_index_bytes(index) / 2**20, 1)}


def _index_bytes(index: Any) -> int:
    """Size of the index's file."""
    import faiss

    sizes: list[int] = []
    faiss.write_index(index, faiss.PyCallbackIOWriter(lambda content: sizes.append(len(content))))
    return sum(sizes)


def _seconds(work: Callable[[], Any]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def _digits(value: float) -> float:
    return float(f"{value:.3g}")


def main(argv: list[str]) -> None:
    from benchmarks import read_options
    from benchmarks.children import measure_each

    measure_each(__file__, {name: str(value) for name, value in read_options(argv, DEFAULTS).items()}, _of)


def _of(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["memories"], row["index_factory"], row["index_recall"], row["data"]["keys"]


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    if sys.argv[1:2] == ["--one"]:
        given = json.loads(os.environ["OPTIONS"])
        numbers = int(given["index_nprobe"]), float(given["index_recall"])
        print(json.dumps(measure(int(given["size"]), given["index"], *numbers, given["model_file"])))
    else:
        main(sys.argv[1:])
