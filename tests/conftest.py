"""A small data set with long, short and repeated histories, and a configuration to run on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from recbole_raserec import Config, RaSeRec, SequenceDataset, convert

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

SMALL_MODEL = {"hidden_size": 16, "inner_size": 32, "MAX_ITEM_LIST_LENGTH": 8, "cross_inner_size": 32}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder for the test, because RecBole writes log/ and log_tensorboard/ into it."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    return tmp_path


@pytest.fixture
def tiny_data(own_folder: Path) -> Path:
    """``dataset/tiny``: 40 users with 1 to 30 of 25 items. Item i + 1 often follows item i, and items repeat."""
    rng = np.random.default_rng(0)
    lines = []
    for user in range(1, 41):
        length = int(rng.integers(4, 31)) if user > 3 else user
        steps = np.where(rng.random(length) < 0.7, 1, rng.integers(0, 25, length))
        lines.append(" ".join(map(str, [user, *(steps.cumsum() % 25 + 1)])))
    source = own_folder / "tiny.txt"
    source.write_text("\n".join(lines) + "\n")
    convert(source, "sequences", "tiny", own_folder / "dataset", show_progress=False)
    return own_folder / "dataset"


@pytest.fixture
def make_config(tiny_data: Path) -> Callable[..., Config]:
    """A configuration on the small data, with overrides."""

    def make(**overrides: Any) -> Config:
        fixed = {"data_path": str(tiny_data), "show_progress": False, "epochs": 2, "finetune_epochs": 2, "top_k": 5}
        return Config("RaSeRec", "tiny", config_dict={**fixed, **SMALL_MODEL, **overrides})

    return make


@pytest.fixture
def tiny(make_config: Callable[..., Config]) -> tuple[Config, SequenceDataset, RaSeRec]:
    """Configuration, built data set and untrained model."""
    config = make_config()
    dataset = SequenceDataset(config)
    dataset.build()
    torch.manual_seed(1)
    return config, dataset, RaSeRec(config, dataset)
