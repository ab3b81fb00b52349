"""Do the readers withstand any file? ``python benchmarks/fuzz.py``.

  --seconds=600   of fuzzing, shared among the targets
  --targets=all   names with commas (benchmarks/fuzz_targets.py)
  --seed=0        of the mutations
  --output=FILE   benchmarks/results/fuzz.json

Each target runs in a process of its own. With atheris (pip install atheris) the mutations follow the coverage of this
package's lines; without it they are random changes of the seeds. A finding is an error other than DataError,
ConfigError and the service's Refusal, an execution of more than a second of its thread, more than 512 MiB above the
start, or a part of an output. Findings are counted by error and line, and the first input of each is kept. The figures
of a target are added to those in the file if the same code made them, so a run can go on.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import random
import re
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SLOW, MIB, LONGEST = 1.0, 512, 4096  # seconds; MiB; bytes of an input
sys.path.insert(0, str(HERE.parent))

from benchmarks.fuzz_targets import Target, targets  # noqa: E402


class Watch:
    """Runs a target on inputs, counts, and keeps what must not happen."""

    def __init__(self, target: Target) -> None:
        self.target, self.executions, self.refused, self.slowest = target, 0, 0, 0.0
        self.findings: dict[str, dict[str, Any]] = {}
        for seed in target.seeds:  # what is imported on first use is not the reader's time
            with contextlib.suppress(Exception):
                target.read(seed)
        self.start_mib = _peak_mib()

    def __call__(self, data: bytes) -> None:
        self.executions += 1
        begin = time.thread_time()  # others may use the machine
        try:
            self.target.read(data)
        except Exception as error:
            if type(error).__name__ in ("DataError", "ConfigError", "Refusal"):
                self.refused += 1
            else:
                last = traceback.extract_tb(error.__traceback__)[-1]
                ours = [f for f in traceback.extract_tb(error.__traceback__) if "recbole_raserec" in f.filename]
                at = ours[-1] if ours else last
                self._note(f"{type(error).__name__} at {Path(at.filename).name}:{at.name}", str(error), data)
        seconds = time.thread_time() - begin
        self.slowest = max(self.slowest, seconds)
        if seconds > SLOW:
            self._note("more than a second", f"{seconds:.1f} s", data)
        if self.executions % 1000 == 0 and _peak_mib() > self.start_mib + MIB:
            self._note("more than 512 MiB", f"{_peak_mib():.0f} MiB", data)

    def figures(self, seconds: float) -> dict[str, Any]:
        """What the run of this target found."""
        corpus = hashlib.sha256(b"".join(hashlib.sha256(seed).digest() for seed in self.target.seeds)).hexdigest()
        counts = {"executions": self.executions, "refused": self.refused, "seconds": round(seconds, 1)}
        most = {"slowest": round(self.slowest, 3), "grown_mib": round(_peak_mib() - self.start_mib)}
        return {**counts, **most, "seeds": len(self.target.seeds), "seeds_sha256": corpus, "findings": self.findings}

    def _note(self, kind: str, message: str, data: bytes) -> None:
        known = self.findings.setdefault(
            kind, {"times": 0, "message": message[:200], "input": base64.b64encode(data[:2000]).decode()}
        )
        known["times"] += 1


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def mutate(seed: bytes, rng: random.Random) -> bytes:
    """``seed`` with a few random changes: flipped bits, cut, doubled and moved parts, and tokens that readers fear."""
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at, to = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        kind = rng.randrange(5)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : min(to, at + 64)]
        elif kind == 2:
            data[at:at] = data[at : min(to, at + 64)]
        elif kind == 3:
            data[at:at] = rng.choice(FEARED)
        else:
            data[at : at + 4] = rng.randbytes(rng.randrange(8))
    return bytes(data[:LONGEST] if len(seed) < LONGEST else data)


FEARED = [
    b"\0", b"\r", b"\n", b'"', b"'", b"\xff\xfe", b"\xef\xbb\xbf", b"[" * 2000, b"NaN", b"1e999", b"-1", b"9" * 30,
    b"{", b"}", b"null", b"\\ud800", b"!!python/object/apply:os.system ['false']", b"\x1f\x8b", b"&a [*a]", b": ", b",",
    b"9" * 5000,
]  # fmt: skip


def one(name: str, seconds: float, seed: int, executions: int = sys.maxsize) -> dict[str, Any]:
    """Feed a target random mutations for some seconds, in this process."""
    rng, begin = random.Random(f"{seed}/{name}"), time.perf_counter()
    with tempfile.TemporaryDirectory(dir=_fast_folder()) as folder:
        watch = Watch(targets(Path(folder))[name])
        for first in watch.target.seeds:
            watch(first)
        while time.perf_counter() - begin < seconds and watch.executions < executions:
            watch(mutate(rng.choice(watch.target.seeds), rng))
    return {**watch.figures(time.perf_counter() - begin), "engine": "random"}


def guided(name: str, seconds: float, seed: int, report: Path) -> None:
    """Feed a target mutations that follow its coverage. atheris ends the process."""
    import atheris

    with (
        atheris.instrument_imports(include=["recbole_raserec"]),
        tempfile.TemporaryDirectory(dir=_fast_folder()) as folder,
    ):
        for module in MODULES:
            __import__(module)
        watch = Watch(targets(Path(folder))[name])
        corpus, begin, state = Path(folder) / "corpus", time.perf_counter(), {"next": 20000, "at": 0.0}
        corpus.mkdir()
        for number, first in enumerate(watch.target.seeds):
            (corpus / str(number)).write_bytes(first)

        def step(data: bytes) -> None:
            watch(data)
            now = time.perf_counter()
            if now - state["at"] > 1 or len(watch.findings) > state["kinds"]:  # what is not written by the end is lost
                state.update(at=now, kinds=len(watch.findings))
                report.write_text(json.dumps({**watch.figures(now - begin), "engine": "atheris"}), encoding="utf-8")

        longest = max(LONGEST, *(2 * len(first) for first in watch.target.seeds))
        options = [f"-max_total_time={seconds:.0f}", f"-seed={seed + 1}", f"-max_len={longest}", "-rss_limit_mb=4096"]
        atheris.Setup([sys.argv[0], *options, "-timeout=60", str(corpus)], step, enable_python_coverage=True)
        atheris.Fuzz()


MODULES = [
    f"recbole_raserec.{name}"
    for name in ("config.words", "serving.bodies", "serving.schemas", "data.convert", "data.sources", "serving.lines",
                 "data.titles", "config.config", "tuning.space", "tuning.ledger", "reporting.page",
                 "training.model_file", "data.dataset")
]  # fmt: skip


def _fast_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def child(name: str, seconds: float, seed: int) -> dict[str, Any]:
    """The figures of a target's run in a process of its own, with the coverage that libFuzzer reports."""
    with tempfile.TemporaryDirectory() as folder:
        report, log = Path(folder) / "report.json", Path(folder) / "log"
        pid = os.fork()
        if not pid:
            with log.open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
                command = [sys.executable, __file__, "--child", name, str(seconds), str(seed), str(report)]
                os.execv(sys.executable, command)
        _, status = os.waitpid(pid, 0)
        text = log.read_text(encoding="utf-8", errors="replace")
        if not report.is_file():
            sys.exit(f"error: {name} failed:\n{text[-2000:]}")
        figures = json.loads(report.read_text(encoding="utf-8"))
        reached = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", text)
        if status:
            figures["findings"][f"the process ended with {status}"] = {"times": 1, "message": text[-300:], "input": ""}
        if reached:
            figures |= dict(zip(("edges", "features", "corpus"), map(int, reached[-1])))
        return figures


def main(argv: list[str]) -> None:
    logging.disable(logging.WARNING)
    if argv[:1] == ["--child"]:
        name, seconds, seed, report = argv[1], float(argv[2]), int(argv[3]), Path(argv[4])
        try:
            import atheris  # noqa: F401
        except ImportError:
            report.write_text(json.dumps(one(name, seconds, seed)), encoding="utf-8")
        else:
            guided(name, seconds, seed, report)
        return
    from benchmarks import code_sha256, read_options
    from recbole_raserec.runtime.files import json_line, write_text
    from recbole_raserec.runtime.machine import versions

    defaults = {"seconds": "600", "targets": "all", "seed": "0", "output": str(HERE / "results" / "fuzz.json")}
    options = read_options(argv, defaults)
    with tempfile.TemporaryDirectory() as folder:
        names = list(targets(Path(folder)))
    chosen = names if options["targets"] == "all" else options["targets"].split(",")
    output, code = Path(options["output"]), code_sha256()
    older = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    rows = older["targets"] if older.get("code_sha256") == code else {}
    for name in chosen:
        figures = child(name, float(options["seconds"]) / len(chosen), int(options["seed"]))
        rows[name] = added(rows.get(name), figures)
        total = sum(row["executions"] for row in rows.values())
        content = {"executions": total, "code_sha256": code, "targets": rows, "versions": versions()}
        write_text(output, json_line(content) + "\n")
        kinds = {kind: found["times"] for kind, found in figures["findings"].items()}
        print(f"{name}: {figures['executions']:,} executions, findings {kinds}", flush=True)


def added(older: dict[str, Any] | None, newer: dict[str, Any]) -> dict[str, Any]:
    """The figures of two runs of a target: sums, and the larger of the others."""
    if older is None:
        return newer
    sums = {name: round(older[name] + newer[name], 1) for name in ("executions", "refused", "seconds")}
    most = {name: max(older.get(name, 0), newer.get(name, 0)) for name in
            ("slowest", "grown_mib", "edges", "features", "corpus")}  # fmt: skip
    findings = {**newer["findings"], **older["findings"]}  # an input that is known stays
    times = {kind: sum(one["findings"].get(kind, {}).get("times", 0) for one in (older, newer)) for kind in findings}
    findings = {kind: {**found, "times": times[kind]} for kind, found in findings.items()}
    return {**newer, **sums, **most, "findings": findings}


if __name__ == "__main__":
    main(sys.argv[1:])
