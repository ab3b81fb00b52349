"""Does a run survive a kill and a failing disk at any point? ``python benchmarks/kills_pipeline.py``.

  --kills=100       random SIGKILLs over the pipeline on a slice of ml-100k
  --faults=kill,torn,ENOSPC,EIO,EACCES   at each boundary of a short pipeline
  --every=1         only each n-th boundary
  --seed=0          of the random moments
  --output=FILE     benchmarks/results/kills-pipeline.json

A boundary is a write, fsync, rename, link, unlink or creation of a file by runtime/files.py, through which every file
of a run goes. The short pipeline converts a table, regenerates (mining, embedding, regenerator, decoding), pre-trains,
remembers, fine-tunes, chooses a mixture, ranks and writes the model and the result. At each boundary it is killed just
before the call ("torn": when half of a write is done), or the call fails with an error. Then the same command goes on
with resume. Ranks, metrics, curves, rows and weights must be those of the run that nothing disturbed, in every bit. A
fault ends this program with an error and without a file. A kill is not a loss of power: the system stays up.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # a child that is forked has none of its parent's threads

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402

from benchmarks import read_options  # noqa: E402
from benchmarks.faults import Faults  # noqa: E402

A_RUN = 4  # random kills of a run before it may end
SHORT = {
    "hidden_size": 16, "inner_size": 32, "MAX_ITEM_LIST_LENGTH": 8, "cross_inner_size": 32, "epochs": 2,
    "finetune_epochs": 2, "top_k": 5, "learning_rate": 0.01, "mixture_weight": [0, 0.3], "mixture_top_k": 9,
    "regenerate": "DR4SR", "memory": ["pairs", "patterns"], "pattern_min_support": 5, "regenerator_epochs": 1,
    "regenerator_embedding_epochs": 1, "regenerator_n_heads": 2, "regenerator_inner_size": 32, "decode_max_length": 4,
    "bootstrap_samples": 100, "show_progress": False, "state": "ERROR", "resume": True, "result_file": "result.json",
    "checkpoint_dir": "saved", "gpu_id": "",
}  # fmt: skip
SLICE = {
    **SHORT, "user_inter_num_interval": "[100,201)", "MAX_ITEM_LIST_LENGTH": 20, "window_stride": 20,
    "pattern_min_support": 20, "decode_max_length": 6, "mixture_top_k": 20, "mixture_weight": [0, 0.1],
}  # fmt: skip


def short(folder: Path) -> None:
    """The short pipeline, in ``folder``."""
    from recbole_raserec import convert, run

    rng, lines = np.random.default_rng(3), ["user,item,timestamp"]
    for user in range(60):
        steps = np.where(rng.random(rng.integers(4, 16)) < 0.8, 1, rng.integers(0, 30, 1))
        lines += [f"u{user},i{n},{at}" for at, n in enumerate((rng.integers(30) + steps.cumsum()) % 30)]
    (folder / "walks.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    convert(folder / "walks.csv", "csv", "walks", "dataset", show_progress=False)
    run("RaSeRec", "walks", config_dict={**SHORT, "data_path": "dataset"})


def on_slice(folder: Path) -> None:
    """The pipeline on the users of ml-100k with 100 to 200 ratings, in ``folder``."""
    from recbole_raserec import run

    run("RaSeRec", "ml-100k", config_dict=SLICE)


def warm_up() -> None:
    """Run the short pipeline once here, so that the children need not import what it imports."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(folder)
        try:
            short(Path(folder))
        finally:
            os.chdir(here)


def start(work: Any, folder: Path, faults: Faults | None = None) -> int:
    """A child that works in ``folder``; its process id. Exit codes: 0 done, 2 an error of ours, 3 another one."""
    pid = os.fork()
    if pid:
        return pid
    code = 3
    with contextlib.suppress(BaseException):
        folder.mkdir(exist_ok=True)
        os.chdir(folder)
        log = os.open("child.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = _work(work, folder, faults)
    os._exit(code)


def _work(work: Any, folder: Path, faults: Faults | None) -> int:
    import traceback

    from recbole_raserec.errors import RaSeRecError

    if faults is not None:
        faults.install()
    try:
        work(folder)
    except RaSeRecError as error:
        print(error, flush=True)
        return 2
    except BaseException:
        traceback.print_exc()
        return 3
    finally:
        if faults is not None and not faults.at:
            (folder / "boundaries.json").write_text(json.dumps(faults.names), encoding="utf-8")
    return 0


def ended(pid: int) -> int:
    """The exit code of a child; minus the signal that killed it."""
    status = os.waitpid(pid, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def digest(folder: Path) -> str:
    """SHA-256 of all figures, ranks, curves and rows of a run, and of the model's weights and memory."""
    import torch

    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    names = ("dataset", "backbone", "raserec", "groups", "test_ranks", "valid_curves", "train_losses", "improvement",
             "improvement_masked")  # fmt: skip
    same = {**{name: result[name] for name in names}, "rows": result["regeneration"]["rows_sha256"]}
    whole = hashlib.sha256(json.dumps(same, sort_keys=True).encode())
    state = torch.load(folder / result["model_file"], weights_only=True)
    for part in ("state_dict", "memory"):
        for name, value in sorted(state[part].items()):
            whole.update(name.encode() + value.numpy().tobytes())
    left = [
        path.name for path in (folder / "saved").iterdir() if path.name.startswith(".") and ".lock" not in path.name
    ]
    assert not left, f"drafts are left: {left}"
    return whole.hexdigest()


def at_each_boundary(folder: Path, kinds: list[str], every: int) -> dict[str, Any]:
    """Disturb the short pipeline at each boundary, go on, and compare. AssertionError names the first fault."""
    assert ended(start(short, folder / "whole", Faults())) == 0, (folder / "whole" / "child.log").read_text()
    expected = digest(folder / "whole")
    names = json.loads((folder / "whole" / "boundaries.json").read_text(encoding="utf-8"))
    counts: Counter[str] = Counter()
    for kind in kinds:
        for at in range(1, len(names) + 1, every):
            if kind == "torn" and names[at - 1] != "write":
                continue
            place = folder / f"{kind}-{at}"
            code = ended(start(short, place, Faults(at, kind)))
            about = f"{kind} at boundary {at} ({names[at - 1]})"
            assert code == -signal.SIGKILL if kind in ("kill", "torn") else code in (0, 2), (
                f"{about}: ended with {code}: {_log(place)}"
            )
            counts[f"{kind}, survived" if code == 0 else kind] += 1
            assert ended(start(short, place)) == 0, f"{about}: {_log(place)}"
            assert digest(place) == expected, f"{about}: other figures"
            _remove(place)
        print(f"{kind}: {dict(counts)}", flush=True)
    return {"boundaries": dict(Counter(names)), "faults": dict(counts), "every": every, "digest": expected}


def at_random(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kill the pipeline on the slice at random moments, go on, and compare."""
    begin = time.perf_counter()
    assert ended(start(on_slice, folder / "whole")) == 0, (folder / "whole" / "child.log").read_text()
    expected, longest = digest(folder / "whole"), time.perf_counter() - begin
    rng, log, killed = np.random.default_rng(seed), [], 0
    while killed < kills:
        place, moments = folder / f"run-{len(log)}", []
        while len(moments) < min(A_RUN, kills - killed):
            pid = start(on_slice, place)
            wait = float(rng.uniform(0, longest))
            time.sleep(wait)
            os.kill(pid, signal.SIGKILL)
            code = ended(pid)
            assert code in (0, -signal.SIGKILL), (place / "child.log").read_text()
            if code == 0:
                break
            moments.append(round(wait, 2))
        killed += len(moments)
        assert ended(start(on_slice, place)) == 0, (place / "child.log").read_text()
        assert digest(place) == expected, f"other figures after kills at {moments}"
        log.append(moments)
        _remove(place)
    return {"kills": killed, "runs": len(log), "seed": seed, "digest": expected, "seconds of each kill": log}


def _log(folder: Path) -> str:
    return (folder / "child.log").read_text(encoding="utf-8")[-2000:]


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)


def main(argv: list[str]) -> None:
    output = str(HERE / "results" / "kills-pipeline.json")
    faults = "kill,torn,ENOSPC,EIO,EACCES"
    options = read_options(argv, {"kills": "100", "faults": faults, "every": "1", "seed": "0", "output": output})
    from recbole_raserec.runtime.files import json_line, write_text
    from recbole_raserec.runtime.machine import versions

    content: dict[str, Any] = {}
    warm_up()
    with tempfile.TemporaryDirectory() as folder:
        if options["faults"]:
            content |= at_each_boundary(Path(folder), options["faults"].split(","), int(options["every"]))
            print(content, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if int(options["kills"]):
            content["random"] = at_random(Path(folder), int(options["kills"]), int(options["seed"]))
    write_text(Path(options["output"]), json_line({**content, "versions": versions()}) + "\n")
    print({name: value for name, value in content.items() if name != "random"})


if __name__ == "__main__":
    main(sys.argv[1:])
