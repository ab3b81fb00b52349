"""Train what the tables hold, one result file a run: ``python benchmarks/reproduce.py``.

  --runs=all          which, with commas between them: headline, ablation, sensitivity, or names of runs
  --seeds=2020,2021,2022
  --data_path=dataset where ``recbole-raserec convert`` wrote the data sets
  --output=FOLDER     benchmarks/results
  --jobs=1            runs side by side (of different seeds), each on its share of the cores; two single-threaded
                      ones do nearly twice the work of one with two threads

A run whose file is there is skipped; one that was stopped goes on from its last epoch; what two runs have in
common (generated rows, a trained backbone) is made once. Each is a process of its own, and its command is printed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks import read_options  # noqa: E402

# name of the file without its seed: words of `recbole-raserec run`
DATA = {"amazon-beauty": "amazon-beauty", "amazon-toys-games": "amazon-toys", "amazon-sports-outdoors": "amazon-sports"}
HEADLINE = {
    f"{short}-{backbone.lower()}{'-full' if preset else ''}": f"--dataset={data} --backbone={backbone}{preset}"
    for backbone in ("SASRec", "DuoRec")
    for data, short in DATA.items()
    for preset in ("", " --preset=full")
}
DR4SR = "--dataset=amazon-beauty --regenerate=DR4SR"
ABLATION = {
    "amazon-beauty-sasrec-dr4sr-both": f"{DR4SR} --memory=pairs,patterns",
    "amazon-beauty-sasrec-patterns": f"{DR4SR} --regenerate_parts=original,patterns",
    "amazon-beauty-sasrec-decoded": f"{DR4SR} --regenerate_parts=original,decoded",
    "amazon-beauty-sasrec-dr4sr": DR4SR,
    "amazon-beauty-sasrec-dr4sr-mined": f"{DR4SR} --memory=patterns",
    "amazon-beauty-sasrec-original-both": "--dataset=amazon-beauty --memory=pairs,patterns",
}
# The headline paper's Figure 2, at its rate of fine-tuning and on either side of its alpha .5 and top_k 20
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
ALL = {**HEADLINE, **ABLATION, **SENSITIVITY}
GROUPS = {"headline": HEADLINE, "ablation": ABLATION, "sensitivity": SENSITIVITY, "all": ALL}


def main(argv: list[str]) -> None:
    defaults = {"runs": "all", "seeds": "2020,2021,2022", "data_path": "dataset", "output": str(HERE / "results")}
    options = read_options(argv, {**defaults, "jobs": "1"})
    chosen: dict[str, None] = {}
    for word in options["runs"].split(","):
        if word not in {*GROUPS, *ALL}:
            sys.exit(f"error: --runs={word}: use some of {', '.join([*GROUPS, *ALL])}")
        chosen.update(dict.fromkeys(GROUPS.get(word, [word])))
    if not options["jobs"].isdigit() or options["jobs"] == "0":
        sys.exit(f"error: --jobs={options['jobs']}: a whole number from 1 on")
    seeds = {seed: Lock() for seed in options["seeds"].split(",")}  # runs of a seed share rows and backbones
    runs = [(name, seed) for name in chosen for seed in seeds]
    with ThreadPoolExecutor(int(options["jobs"])) as pool:
        codes = list(pool.map(lambda run: _run_once(*run, seeds[run[1]], options), runs))
    sys.exit(1 if any(codes) else 0)


def _run_once(name: str, seed: str, alone: Lock, options: dict[str, str]) -> int:
    """Exit code of a run; 0 where its file is there."""
    path = Path(options["output"]) / f"{name}-{seed}.json"
    with alone:
        if path.is_file():
            return 0
        return _run(f"{ALL[name]} --seed={seed} --data_path={options['data_path']} --result_file={path}", options)


def _run(words: str, options: dict[str, str]) -> int:
    command = ["run", "--model=RaSeRec", *words.split(), "--resume=True", "--show_progress=False"]
    threads = max(1, (os.cpu_count() or 1) // int(options["jobs"]))
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    print(f"OMP_NUM_THREADS={environment['OMP_NUM_THREADS']} recbole-raserec", *command, flush=True)
    program = [sys.executable, str(HERE.parent / "run_recbole_raserec.py"), *command]
    return subprocess.run(program, env=environment, check=False).returncode


if __name__ == "__main__":
    main(sys.argv[1:])
