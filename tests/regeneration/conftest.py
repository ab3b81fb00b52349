"""A short regeneration of the small data."""

from __future__ import annotations

import pytest

SHORT = {
    "regenerator_epochs": 2, "regenerator_embedding_epochs": 1, "regenerator_inner_size": 32, "decode_max_length": 6,
    "epochs": 2, "finetune_epochs": 2, "top_k": 5, "show_progress": False, "hidden_size": 16, "inner_size": 32,
    "MAX_ITEM_LIST_LENGTH": 8, "cross_inner_size": 32,
}  # fmt: skip


@pytest.fixture
def short(tiny_data):
    return {**SHORT, "data_path": str(tiny_data)}
