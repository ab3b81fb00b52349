from __future__ import annotations

import numpy as np
import torch

from recbole_raserec import run
from recbole_raserec.backbones.cluster import encode_on_ray
from recbole_raserec.backbones.encode import encode_prefixes
from recbole_raserec.runtime.ray import connected


def test_encoding_on_ray_is_encoding_here(tiny, tiny_data, monkeypatch):
    _, dataset, model = tiny
    work = model.backbone, dataset.sequences.train_part(), model.max_seq_length, torch.device("cpu")
    with connected("local"):
        there = encode_on_ray("local", *work, rows_a_task=100)
        np.testing.assert_allclose(there, encode_prefixes(*work), atol=1e-6)

        fixed = {"data_path": str(tiny_data), "show_progress": False, "epochs": 2, "finetune_epochs": 2}
        here = run("RaSeRec", "tiny", config_dict=fixed)
        monkeypatch.setattr("recbole_raserec.training.trainer.encode_prefixes", None)  # not called
        on_ray = run("RaSeRec", "tiny", config_dict={**fixed, "ray_address": "local"})
    assert on_ray["raserec"] == here["raserec"]
