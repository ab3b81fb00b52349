"""Train the runs of the tables, one result file per run: ``python benchmarks/reproduce.py``.

  --runs=all          which runs, with commas: headline, backbones, recall, safeguard, sensitivity, or names of runs;
                      own needs data sets of others (docs/safeguard.md), so all leaves it out
  --seeds=2020,2021,2022
  --data_path=dataset folder where ``recbole-raserec convert`` wrote the data sets
  --output=FOLDER     benchmarks/results
  --jobs=1            number of runs side by side, of different seeds. Each run has one thread, like the runs of the
                      tables; their number changes the last digits. OMP_NUM_THREADS before the command sets another
                      number

A run is skipped if its file exists. A stopped run continues from its last epoch. Generated rows and trained backbones
that two runs have in common are made once. Each run is a separate process, and its command is printed. The data must be
those of the tables: RecBole's downloads of the same names are other files.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock
from typing import NamedTuple

HERE = Path(__file__).parent
INTERRUPTED = 130  # exit code after Ctrl-C
sys.path.insert(0, str(HERE.parent))

from benchmarks import read_options  # noqa: E402


class DataSet(NamedTuple):
    """A data set: start of its files' names, arguments of ``recbole-raserec convert``, SHA-256 of its .inter file."""

    short: str
    convert: str
    sha256: str


BEAUTY = "9cc62f3b17f84e3d195f67a5cc40d540eaa6ada491b4c9886c143c87f8c1ad99"
TOYS = "c8c89507346f3a323e69e936e8630d880446e4c119741c2139fb342a6a1d0919"
SPORTS = "d8626ebb688f6533c5c8791bc6c0d2e9ec7ec926d9ae7107e357214c59bf43e6"
DATA = {
    "amazon-beauty": DataSet("amazon-beauty", "--input=Beauty.txt --format=sequences", BEAUTY),
    "amazon-toys-games": DataSet("amazon-toys", "--input=Toys_and_Games.txt --format=sequences", TOYS),
    "amazon-sports-outdoors": DataSet("amazon-sports", "--input=Sports_and_Outdoors.txt --format=sequences", SPORTS),
}
# Data sets without settings of their own (docs/safeguard.md)
OWN_DATA = {
    "ownbeauty": DataSet("ownbeauty", DATA["amazon-beauty"].convert, BEAUTY),
    "owntoys": DataSet("owntoys", DATA["amazon-toys-games"].convert, TOYS),
    "ml-small": DataSet(
        "ml-small",
        "--input=ratings.csv --user=userId --item=movieId --time=timestamp",
        "1b14c693fa81b3f473563127bf2cb22a4278f29f1f64300f5b3436e84bc93e39",
    ),
    "groceries": DataSet(
        "groceries",
        "--input=groceries.csv --user=household_id --item=product_id --time=transaction_timestamp",
        "eb6933e44bf4a5c56ab82c096b737f085c0d2dd4079ea6387881b5166413e68a",
    ),
}
# name of the file without its seed: words of `recbole-raserec run`, the data set first
PRESETS = {"SASRec": ("", "full", "best"), "DuoRec": ("", "full", "best")}
HEADLINE = {
    f"{data.short}-{backbone.lower()}{preset and f'-{preset}'}": (
        f"--dataset={name} --backbone={backbone}{preset and f' --preset={preset}'}"
    )
    for backbone, presets in PRESETS.items()
    for name, data in DATA.items()
    for preset in presets
}
# Backbones that the published tables do not have, at the settings of preset full
BACKBONES = {
    "backbones/beauty-hstu-full": "--dataset=amazon-beauty --backbone=HSTU --preset=full",
    "backbones/beauty-sasrec-filter-full": (
        "--dataset=amazon-beauty --preset=full --average_weight=0.7 --average_form=filter"
    ),
}
# Under the safeguard (docs/safeguard.md)
SAFEGUARD = {
    f"safeguard/{data.short.removeprefix('amazon-')}-{backbone.lower()}-full": (
        f"--dataset={name} --backbone={backbone} --preset=safe"
    )
    for backbone in PRESETS
    for name, data in DATA.items()
}
# With the default settings (docs/safeguard.md)
FILTERS = {"groceries": " --user_inter_num_interval=[5,inf) --item_inter_num_interval=[5,inf)"}
OWN = {f"own/{name}": f"--dataset={name}{FILTERS.get(name, '')}" for name in OWN_DATA}
# What an approximate search costs (docs/size.md)
RECALL = {
    f"recall/beauty-sasrec-full-{name}": f"--dataset=amazon-beauty --preset=full {index}"
    for name, index in {"exact": "--index_factory=Flat", "lists": "--index_factory=lists --index_recall=0.99"}.items()
}
# The headline paper's Figure 2, at its rate of fine-tuning, with values below and above its alpha .5 and top_k 20
SWEPT = {"alpha": (0.1, 0.3, 0.7, 0.9), "top_k": (5, 10, 50)}
PAPER = "--dataset=amazon-beauty --finetune_learning_rate=0.001"
SENSITIVITY = {
    "sensitivity/beauty-sasrec-default": f"{PAPER} --portrait=True --drift_shares=[0.25,0.5,0.75]",
    **{
        f"sensitivity/beauty-sasrec-{name}-{value}": f"{PAPER} --{name}={value}"
        for name, values in SWEPT.items()
        for value in values
    },
}
OUTPUT = os.path.relpath(HERE / "results")  # relative, because files hold their own path
ALL = {**HEADLINE, **BACKBONES, **RECALL, **SAFEGUARD, **SENSITIVITY}
RUNS = {**ALL, **OWN}
GROUPS = {
    "headline": HEADLINE,
    "backbones": BACKBONES,
    "recall": RECALL,
    "safeguard": SAFEGUARD,
    "own": OWN,
    "sensitivity": SENSITIVITY,
    "all": ALL,
}


def main(argv: list[str]) -> None:
    defaults = {"runs": "all", "seeds": "2020,2021,2022", "data_path": "dataset", "output": OUTPUT, "jobs": "1"}
    options = read_options(argv, defaults)
    chosen: dict[str, None] = {}
    for word in options["runs"].split(","):
        if word not in {*GROUPS, *RUNS}:
            sys.exit(f"error: --runs={word}: use some of {', '.join([*GROUPS, *RUNS])}")
        chosen.update(dict.fromkeys(GROUPS.get(word, [word])))
    if not options["jobs"].isdigit() or options["jobs"] == "0":
        sys.exit(f"error: --jobs={options['jobs']}: a whole number from 1 on")
    seeds = {seed: Lock() for seed in options["seeds"].split(",")}  # runs of a seed share rows and backbones
    runs = [(name, seed) for name in chosen for seed in seeds if not _result(name, seed, options).is_file()]
    for words in sorted({RUNS[name].split()[0] for name, _ in runs}):
        _check_data(words.removeprefix("--dataset="), Path(options["data_path"]))
    stopped = Event()
    with ThreadPoolExecutor(int(options["jobs"])) as pool:
        try:
            codes = list(pool.map(lambda run: _run(*run, seeds[run[1]], stopped, options), runs))
        except KeyboardInterrupt:  # the runs get it too, and keep their last epoch
            stopped.set()
            print("interrupted; the same command goes on", file=sys.stderr)
            sys.exit(INTERRUPTED)
    sys.exit(1 if any(codes) else 0)


def _result(name: str, seed: str, options: dict[str, str]) -> Path:
    return Path(options["output"]) / f"{name}-{seed}.json"


def _check_data(name: str, folder: Path) -> None:
    """End the program before any training if the data set is missing or is another one."""
    path, data = folder / name / f"{name}.inter", {**DATA, **OWN_DATA}[name]
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    if sha256 == data.sha256:
        return
    fault = f"has SHA-256 {sha256}, the table's data have {data.sha256}" if sha256 else "is missing"
    convert = f"recbole-raserec convert {data.convert} --dataset={name} --data_path={folder}"
    sys.exit(f"error: {path} {fault}. run: {convert}")


def _run(name: str, seed: str, alone: Lock, stopped: Event, options: dict[str, str]) -> int:
    """Run one training, unless the program is to stop by the time it may begin. Return its exit code."""
    places = [f"--data_path={options['data_path']}", f"--result_file={_result(name, seed, options)}"]
    if options["output"] != OUTPUT:  # another place is for training anew, not for what was trained before
        places.append(f"--checkpoint_dir={Path(options['output']) / 'saved'}")
    words = [*RUNS[name].split(), f"--seed={seed}", *places]
    command = ["run", "--model=RaSeRec", *words, "--resume=True", "--show_progress=False"]
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    program = [sys.executable, str(HERE.parent / "run_recbole_raserec.py"), *command]
    with alone:
        if stopped.is_set():
            return INTERRUPTED
        line = f"OMP_NUM_THREADS={environment['OMP_NUM_THREADS']} recbole-raserec {shlex.join(command)}"
        print(f"{line}\n", end="", flush=True)  # one write, so runs side by side do not mix their lines
        code = subprocess.run(program, env=environment, check=False).returncode
        if code == INTERRUPTED:  # Ctrl-C reaches the run too, perhaps before this program
            stopped.set()
        return code


if __name__ == "__main__":
    main(sys.argv[1:])
