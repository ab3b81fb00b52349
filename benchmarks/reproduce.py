"""Train what the tables hold, one result file a run: ``python benchmarks/reproduce.py``.

  --runs=ablation     which: see RUNS
  --seeds=2020,2021,2022
  --data_path=dataset where ``recbole-raserec convert`` wrote the data sets
  --output=FOLDER     benchmarks/results

A run whose file is there is skipped; one that was stopped goes on from its last epoch; what two runs have in
common (generated rows, a trained backbone) is made once. Each is a process of its own, and its command is printed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks import read_options  # noqa: E402

# name of the file without its seed: words of `recbole-raserec run`
DATA = {"amazon-beauty": "amazon-beauty", "amazon-toys-games": "amazon-toys", "amazon-sports-outdoors": "amazon-sports"}
HEADLINE = {
    f"{short}-{backbone.lower()}": f"--dataset={data} --backbone={backbone}"
    for backbone in ("SASRec", "DuoRec")
    for data, short in DATA.items()
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
RUNS = {"headline": HEADLINE, "ablation": ABLATION, "all": {**HEADLINE, **ABLATION}}


def main(argv: list[str]) -> None:
    defaults = {"runs": "all", "seeds": "2020,2021,2022", "data_path": "dataset", "output": str(HERE / "results")}
    options = read_options(argv, defaults)
    if options["runs"] not in RUNS:
        sys.exit(f"error: --runs={options['runs']}: use one of {', '.join(RUNS)}")
    for seed in options["seeds"].split(","):
        for name, words in RUNS[options["runs"]].items():
            path = Path(options["output"]) / f"{name}-{seed}.json"
            if not path.is_file():
                _run(f"{words} --seed={seed} --data_path={options['data_path']} --result_file={path}")


def _run(words: str) -> None:
    command = ["run", "--model=RaSeRec", *words.split(), "--resume=True", "--show_progress=False"]
    print("recbole-raserec", *command, flush=True)
    done = subprocess.run([sys.executable, str(HERE.parent / "run_recbole_raserec.py"), *command], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main(sys.argv[1:])
