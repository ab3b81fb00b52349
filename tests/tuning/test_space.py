from __future__ import annotations

import math
from pathlib import Path

import pytest

from recbole_raserec.config.config import properties_folder
from recbole_raserec.errors import ConfigError
from recbole_raserec.tuning.space import Dimension, read_space


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_yaml_and_recbole_files_say_the_same(own_folder):
    ours = written(
        own_folder,
        "space.yaml",
        "alpha: {uniform: [0.1, 0.9]}\ntop_k: {choice: [5, 10]}\nfinetune_epochs: {quniform: [2, 6, 2]}\n",
    )
    theirs = written(
        own_folder,
        "hyper.test",
        "# RecBole's\nalpha uniform 0.1,0.9\ntop_k choice [5, 10]\n\nfinetune_epochs quniform 2,6,2\n",
    )
    assert read_space(ours) == read_space(theirs)
    assert read_space(ours)[0] == Dimension("alpha", "uniform", (0.1, 0.9))


def test_recboles_loguniform_is_in_logarithms(own_folder):
    (dimension,) = read_space(written(own_folder, "hyper.test", "learning_rate loguniform -8,0"))
    assert dimension.values == (math.exp(-8), 1)


def test_the_end_of_randint_is_never_drawn():
    assert Dimension("cross_heads", "randint", (1, 3)).examples == (1, 2)


def test_our_own_space_can_be_read():
    assert [d.name for d in read_space(properties_folder() / "search" / "RaSeRec.yaml")] == [
        "alpha",
        "top_k",
        "attn_tau",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("alpha: 0.5", "not a way to draw values"),
        ("alpha: {unifrom: [0, 1]}", "did you mean 'uniform'"),
        ("alpha: {uniform: [0.9, 0.1]}", "low must be below high"),
        ("alpha: {uniform: [0.9]}", "uniform takes 2 numbers"),
        ("attn_tau: {loguniform: [0, 1]}", "needs positive numbers"),
        ("top_k: {choice: 5}", "not a list of values"),
        ("top_k: {quniform: [1, 5, 0]}", "the step must be positive"),
        ("alpha: {quniform: [0.1, 0.9, 0.25]}", "multiples of the step 0.25"),
        ("", "names no parameter"),
        ("alpha: [", "params_file"),
    ],
)
def test_a_space_that_says_nothing_is_refused(text, says, own_folder):
    with pytest.raises(ConfigError, match=says):
        read_space(written(own_folder, "space.yaml", text))


def test_a_grid_needs_choices():
    with pytest.raises(ConfigError, match="a grid needs choices"):
        Dimension("alpha", "uniform", (0.1, 0.9)).domain(grid=True)


@pytest.mark.parametrize("values", [(5, 9, 1), (5.0, 9.0, 1.0), (4, 10, 2), (0.5, 2.0, 0.5)])
def test_a_quniform_draws_its_steps_and_both_ends(values, own_folder):
    (dimension,) = read_space(written(own_folder, "space.yaml", f"top_k: {{quniform: {list(values)}}}"))
    drawn = {dimension.domain(grid=False).sample() for _ in range(300)}
    low, high, step = values
    assert drawn == {low + n * step for n in range(round((high - low) / step) + 1)}
