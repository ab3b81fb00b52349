"""Search parameters of fine-tuning and run the best: ``python examples/tune.py``. One backbone serves all trials."""

from pathlib import Path

from recbole_raserec import run
from recbole_raserec.tuning.search import tune

FEW = {"epochs": 2, "finetune_epochs": 2, "window_stride": 50, "show_progress": False}

if __name__ == "__main__":
    Path("space.yaml").write_text("alpha: {choice: [0.3, 0.5, 0.7]}\n")
    trials = tune("space.yaml", "tune", search="grid", num_samples=1, dataset="ml-100k", config_dict=FEW)
    print("best:", trials[0])
    run(config_file_list=["tune/best.yaml"])
