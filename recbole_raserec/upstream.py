"""Answers to faults of RecBole 1.2.1 that cannot be met by subclassing."""

from __future__ import annotations

import logging
import warnings
from contextlib import AbstractContextManager

import torch
from recbole.config import Config


def quieten() -> None:
    """Hide what RecBole's own lines provoke and its users can do nothing about.

    pandas 2 warns of RecBole's chained ``fillna(inplace=True)`` and torch of its ``torch.cuda.amp``;
    a log file on a disk that fills up must not print a traceback for every line.
    """
    warnings.filterwarnings("ignore", category=FutureWarning, module="recbole")
    logging.raiseExceptions = False


def restore_numpy_names() -> None:
    """Give back ``np.float`` and the like: RecBole's metrics use them, and only its Config restores them."""
    Config.compatibility_settings(None)


def without_anomaly_mode() -> AbstractContextManager[None]:
    """Train at full speed: ``recbole.model.sequential_recommender.sine`` turns autograd's anomaly mode on.

    It does so for the whole process when RecBole's sequential models are imported, whichever is used,
    and every operation of every backward pass is then checked for NaN and traced.
    """
    return torch.autograd.set_detect_anomaly(False)  # type: ignore[return-value]
