"""Retrieval-augmented sequential recommendation (RaSeRec) for RecBole.

Each name below is imported on its first use. So ``recbole-raserec --help`` does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from recbole_raserec.config.config import Config
    from recbole_raserec.data.convert import convert
    from recbole_raserec.data.dataset import SequenceDataset
    from recbole_raserec.errors import ConfigError, DataError
    from recbole_raserec.model import RaSeRec
    from recbole_raserec.pipeline import run
    from recbole_raserec.recommender import Recommender
    from recbole_raserec.regeneration.command import regenerate
    from recbole_raserec.runtime.stock import run_recbole

_HOME = {
    "Config": "config.config",
    "ConfigError": "errors",
    "DataError": "errors",
    "RaSeRec": "model",
    "Recommender": "recommender",
    "SequenceDataset": "data.dataset",
    "convert": "data.convert",
    "regenerate": "regeneration.command",
    "run": "pipeline",
    "run_recbole": "runtime.stock",
}

__all__ = [
    "Config",
    "ConfigError",
    "DataError",
    "RaSeRec",
    "Recommender",
    "SequenceDataset",
    "convert",
    "regenerate",
    "run",
    "run_recbole",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
