from __future__ import annotations

from pathlib import Path

import pytest

from recbole_raserec import run


@pytest.fixture
def results(tiny_data: Path) -> list[str]:
    fixed = {"data_path": str(tiny_data), "show_progress": False, "epochs": 2, "finetune_epochs": 2, "resume": True}
    fixed |= {"safeguard": False, "retrieval_strength": 1.0, "popularity_adjustment": 0.0}  # so memories have a part
    files = []
    for number, alpha in enumerate((0.2, 0.8)):
        files.append(f"r{number}.json")
        extra = {"portrait": True, "drift_shares": [0.5]} if number == 0 else {}
        run("RaSeRec", "tiny", config_dict={**fixed, **extra, "alpha": alpha, "result_file": files[-1]})
    return files
