from __future__ import annotations

import numpy as np
import pytest

from recbole_raserec import run
from recbole_raserec.runtime.ray import connected
from recbole_raserec.training import queries
from recbole_raserec.training.queries import encode_part


@pytest.mark.slow  # decoding on Ray is its faster sister
def test_encoding_on_ray_is_encoding_here(tiny, tiny_data, monkeypatch):
    _, dataset, model = tiny
    part = dataset.sequences.train_part()
    with connected("local"):
        there = encode_part(model, part, ray_address="local", rows_a_task=100)
        np.testing.assert_allclose(there, encode_part(model, part), atol=1e-6)

        fixed = {"data_path": str(tiny_data), "show_progress": False, "epochs": 2, "finetune_epochs": 2}
        here = run("RaSeRec", "tiny", config_dict=fixed)
        monkeypatch.setattr(queries, "_ROWS_A_TASK", 100)
        on_ray = run("RaSeRec", "tiny", config_dict={**fixed, "ray_address": "local"})
    assert on_ray["raserec"] == here["raserec"]


def test_no_rows_are_encoded_anywhere(tiny):
    _, dataset, model = tiny
    nothing = dataset.sequences.train_part().take(np.zeros(0, int))
    assert encode_part(model, nothing, ray_address="local").shape == (0, 16)
