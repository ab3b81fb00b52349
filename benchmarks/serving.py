"""How fast is a trained model? ``python benchmarks/serving.py --model_file=FILE --data=Beauty.txt``.

Each (number of memories, index) has its own process, so its memory can be measured.

  --model_file=FILE   of a run on the data
  --data=FILE         sequences, a user a line; its users are the requests
  --sizes=A,B         numbers of memories; 0 is the model's own, others have keys like them (benchmarks/keys.py)
  --indices=A;B       factory strings or auto
  --index_recall=0    as for run
  --peers=FOLDER      a folder with the package implicit (pip install --target=FOLDER --no-deps implicit), or nothing
  --output=FILE       benchmarks/results/serving.json; the rows of other sizes and indices stay in the file

``single`` is one history at a time, ``batch`` is 1,024 histories at once; both return a frame of 10 items with the
items of the history left out. ``recall`` is the fraction of the exact 20 nearest memories that are found. ``adds`` are
durable, 100 in a transaction. ``load_s`` is Recommender.load. The peers answer the same users: RecBole's own
full_sort_topk with RecBole's SASRec with the same weights, which has no memory and reads the histories from its data
set, and implicit's recommend of a matrix factorisation, which knows its users and reads no history.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402

from benchmarks import read_options  # noqa: E402
from benchmarks.children import measure_each  # noqa: E402
from benchmarks.keys import real_keys  # noqa: E402
from benchmarks.search import COMPARED, HISTORY  # noqa: E402
from recbole_raserec.runtime.machine import resident_mib  # noqa: E402

DEFAULTS = {
    "model_file": "", "data": "", "sizes": "0,1000000,10000000", "indices": "Flat;auto", "index_recall": "0",
    "peers": "", "output": str(HERE / "results" / "serving.json"),
}  # fmt: skip
SINGLE, WARM, BATCH, K = 500, 30, 1024, 10
ADDS, A_TRANSACTION = 2_000, 100


def measure(options: dict[str, str]) -> dict[str, Any]:
    """One row of the result, measured in this process."""
    from recbole_raserec import Recommender
    from recbole_raserec.runtime.machine import peak_rss_mib

    size = int(options["size"])
    with tempfile.TemporaryDirectory() as folder:
        start = perf_counter()
        recommender = Recommender.load(
            options["model_file"], Path(folder) / "m.memory", "cpu", options["index"], float(options["index_recall"])
        )
        loaded = perf_counter() - start
        if size:
            recommender = enlarged(recommender, options["model_file"], size, options, folder)
        users, histories = requests(recommender, options["data"])
        start = perf_counter()
        recommender.recommend(histories[:1])  # builds the index
        row: dict[str, Any] = {
            "memories": len(recommender.memory),
            "size": size,
            "index_factory": options["index"],
            "index_recall": float(options["index_recall"]),
            "load_s": round(loaded, 3),
            "index_s": round(perf_counter() - start, 2),
            "single_ms": latencies(lambda n: recommender.recommend([histories[n]], K)),
            "batch_a_second": rate(lambda: recommender.recommend(histories[:BATCH], K), BATCH),
            "recall": recall(recommender, histories[:COMPARED]),
            "resident_mib": round(resident_mib()),
            "peak_mib": round(peak_rss_mib()),
        }
        if not size:
            row["adds_a_second"], row["create_s"] = adds(recommender, histories)
            row["recbole"] = of_recbole(options["model_file"], options["data"], users, Path(folder))
            if options["peers"]:
                row["implicit"] = of_implicit(options["peers"], recommender, options["data"])
    return row


def enlarged(recommender: Any, model_file: str, size: int, options: dict[str, str], folder: str) -> Any:
    """The recommender with ``size`` memories whose keys are like the model's."""
    from recbole_raserec import Recommender
    from recbole_raserec.retrieval.living import IndexSettings, LivingMemory
    from recbole_raserec.retrieval.memory import MemoryBank
    from recbole_raserec.retrieval.names import Names

    trained, rows = recommender.view().trained, np.arange(size)
    keys = real_keys(model_file)[0].draw(size, 1)
    norm = np.linalg.norm(trained.memory.keys, axis=1).mean()
    items = np.random.default_rng(2).integers(1, len(trained.items), size).astype(np.int32)
    bank = MemoryBank(keys * norm, items, (rows // HISTORY + 1).astype(np.int32), (rows % HISTORY + 1).astype(np.int32))
    index = IndexSettings(options["index"], recall=float(options["index_recall"]))
    living = LivingMemory(bank, trained.items, Names(), Path(folder) / "large.memory", trained.digest, index)
    return Recommender(trained, living)


def requests(recommender: Any, data: str) -> tuple[list[str], list[list[str]]]:
    """Users in random order, and their histories without the last item."""
    known = set(recommender.items)
    lines = [line.split() for line in Path(data).read_text().splitlines()]
    rows = [lines[n] for n in np.random.default_rng(0).permutation(len(lines)) if len(lines[n]) > 4]
    rows = [row for row in rows if set(row[1:]) <= known]
    return [row[0] for row in rows], [row[1:-1] for row in rows]


def latencies(work: Callable[[int], Any]) -> dict[str, float]:
    """Milliseconds of single calls."""
    for n in range(WARM):
        work(n)
    seconds = []
    for n in range(WARM, WARM + SINGLE):
        start = perf_counter()
        work(n)
        seconds.append(1000 * (perf_counter() - start))
    return {"p50": round(float(np.median(seconds)), 2), "p99": round(float(np.quantile(seconds, 0.99)), 2)}


def rate(work: Callable[[], Any], count: int) -> float:
    """Answers a second, the median of five calls."""
    work()
    seconds = []
    for _ in range(5):
        start = perf_counter()
        work()
        seconds.append(perf_counter() - start)
    return round(count / float(np.median(seconds)), 1)


def recall(recommender: Any, histories: list[list[str]]) -> float:
    """Fraction of the exact 20 nearest memories that a search finds."""
    from recbole_raserec.data.histories import read_histories
    from recbole_raserec.recommending.request import numbered
    from recbole_raserec.retrieval.recall import exact_search

    view = recommender.view()
    request = numbered(read_histories(histories), view.trained.items, view.trained.users, "raise")
    vectors, bank = view.encode(request), view.snapshot.base.bank
    found = view.snapshot.search(vectors, request.owners, request.lengths, 20)
    least = exact_search(bank.keys, vectors, 20).least
    return round(float(np.mean(view.snapshot.cosines(vectors, found) >= least[:, None] - 1e-6)), 4)


def adds(recommender: Any, histories: list[list[str]]) -> tuple[float, float]:
    """Durable adds a second, and seconds to create the store with the first of them."""
    start = perf_counter()
    recommender.memory.add(histories[0][:-1], histories[0][-1], owner="first")
    created, start = perf_counter() - start, perf_counter()
    for block in range(0, ADDS, A_TRANSACTION):
        some = histories[block : block + A_TRANSACTION]
        recommender.memory.add_many([h[:-1] for h in some], [h[-1] for h in some], [f"new {block}"] * len(some))
    return round(ADDS / (perf_counter() - start), 1), round(created, 2)


def of_recbole(model_file: str, data: str, users: list[str], folder: Path) -> dict[str, Any]:
    """RecBole's full_sort_topk with its own SASRec and the weights of our backbone."""
    import torch
    from recbole.data.dataloader import FullSortEvalDataLoader
    from recbole.model.sequential_recommender import SASRec
    from recbole.utils.case_study import full_sort_topk

    from recbole_raserec import Config, SequenceDataset, convert

    state = torch.load(model_file, weights_only=True)
    if state["config"]["backbone"] != "SASRec" or state["config"]["average_weight"] or state["config"]["score_tau"]:
        return {"not_run": "RecBole has no such backbone"}
    convert(data, "sequences", "serving", folder, show_progress=False)
    sizes = ("hidden_size", "inner_size", "n_layers", "n_heads", "MAX_ITEM_LIST_LENGTH")
    given = {name: state["config"][name] for name in sizes}
    config = Config("RaSeRec", "serving", config_dict={**given, "data_path": str(folder), "gpu_id": ""})
    dataset = SequenceDataset(config)
    test = dataset.build()[2]
    model = SASRec(config, dataset).eval()
    prefix = "backbone."
    model.load_state_dict({n[len(prefix) :]: w for n, w in state["state_dict"].items() if n.startswith(prefix)})
    loader = FullSortEvalDataLoader(config, test, None)
    number = np.array([dataset.token2id(dataset.uid_field, user) for user in users])
    return {
        "single_ms": latencies(lambda n: full_sort_topk(number[n : n + 1], model, loader, K, "cpu")),
        "batch_a_second": rate(lambda: full_sort_topk(number[:BATCH], model, loader, K, "cpu"), BATCH),
    }


def of_implicit(folder: str, recommender: Any, data: str) -> dict[str, Any]:
    """The recommend of implicit's ALS with 64 factors."""
    sys.path.append(folder)
    from implicit.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    number = {item: n for n, item in enumerate(recommender.items)}
    lines = [line.split()[1:-2] for line in Path(data).read_text().splitlines()]
    pairs = [(row, number[item]) for row, items in enumerate(lines) for item in items if item in number]
    rows, columns = np.array(pairs).T
    table = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(lines), len(number)))
    model = AlternatingLeastSquares(factors=64, iterations=3, random_state=0, num_threads=2)
    model.fit(table, show_progress=False)
    order = np.random.default_rng(0).permutation(len(lines))
    return {
        "single_ms": latencies(lambda n: model.recommend(order[n], table[order[n]], K)),
        "batch_a_second": rate(lambda: model.recommend(order[:BATCH], table[order[:BATCH]], K), BATCH),
    }


def main(argv: list[str]) -> None:
    measure_each(__file__, read_options(argv, DEFAULTS), _of)


def _of(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["size"], row["index_factory"], row["index_recall"]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(json.loads(os.environ["OPTIONS"]))))
    else:
        main(sys.argv[1:])
