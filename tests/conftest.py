"""Small data sets, a configuration to run on one, and a trained model and its recommender of the other."""

from __future__ import annotations

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the tests compare with tensors on the CPU; torch reads it when it is imported

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from recbole_raserec import Config, RaSeRec, Recommender, SequenceDataset, convert, run

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# The paper's form: memories always have their full part in the scores. The defaults have a safeguard.
EXACT = {
    "safeguard": False,
    "retrieval_strength": 1.0,
    "popularity_adjustment": 0.0,
}
SMALL_MODEL = {**EXACT, "hidden_size": 16, "inner_size": 32, "MAX_ITEM_LIST_LENGTH": 8, "cross_inner_size": 32}


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


FIXED = {
    **SMALL_MODEL,
    "show_progress": False,
    "epochs": 4,
    "finetune_epochs": 8,
    "top_k": 5,
    "finetune_learning_rate": 0.02,
    "learning_rate": 0.01,
}
MIXTURE = {"mixture_weight": 0.3, "mixture_top_k": 9}


@dataclass
class Trained:
    """A trained model of random walks over 60 items, and what a run said of it."""

    path: Path
    result: Any
    sequences: dict[str, list[str]]  # user -> items, in order of time


def walks(users: int = 80, items: int = 60) -> dict[str, list[str]]:
    rng = np.random.default_rng(3)
    found = {}
    for user in range(users):
        steps = np.where(rng.random(rng.integers(3, 30)) < 0.7, 1, rng.integers(0, items, 1))
        found[f"u{user}"] = [f"i{n}" for n in (rng.integers(items) + steps.cumsum()) % items]
    return found


def write_walks(folder: Path, sequences: dict[str, list[str]]) -> None:
    lines = [
        f"{user},{item},{1000 * number + n}"  # a second a step; each walk begins after the one before
        for number, (user, items) in enumerate(sequences.items())
        for n, item in enumerate(items)
    ]
    source = folder / "walks.csv"
    source.write_text("user,item,timestamp\n" + "\n".join(lines) + "\n")
    titles = folder / "titles.csv"
    titles.write_text("item,title\n" + "\n".join(f"i{n},Item number {n}" for n in range(60)) + "\n")
    convert(source, "csv", "walks", folder / "dataset", show_progress=False, items=titles, title="title")


@pytest.fixture(scope="session", params=["attention", "mixture"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder, here = tmp_path_factory.mktemp(f"walks-{request.param}"), Path.cwd()
    sequences = walks()
    os.chdir(folder)  # RecBole writes log/ here
    try:
        write_walks(folder, sequences)
        more = MIXTURE if request.param == "mixture" else {"mixture_weight": 0.0}
        result = run("RaSeRec", "walks", config_dict={**FIXED, **more, "data_path": str(folder / "dataset")})
    finally:
        os.chdir(here)
    assert result is not None
    yield Trained(folder / str(result.model_file), result, sequences)


@pytest.fixture
def recommender(trained: Trained, tmp_path: Path) -> Iterator[Recommender]:
    found = Recommender.load(trained.path, store=tmp_path / "walks.memory")
    yield found
    found.memory.close()


@pytest.fixture
def histories() -> list[list[str]]:
    """1,000 random histories, some of them empty and some longer than the model reads."""
    rng = np.random.default_rng(5)
    return [[f"i{n}" for n in rng.integers(0, 60, rng.integers(0, 14))] for _ in range(1000)]
