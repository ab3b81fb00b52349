"""What the tests of the search share."""

from __future__ import annotations

import faiss
import pytest
import torch


@pytest.fixture
def three_threads():
    """Torch and FAISS have three threads."""
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(3)
    faiss.omp_set_num_threads(3)
    yield
    torch.set_num_threads(before[0])
    faiss.omp_set_num_threads(before[1])
