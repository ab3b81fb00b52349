"""Answers to faults of RecBole 1.2.1 that cannot be met by subclassing."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import recbole.utils
import torch
from recbole.config import Config


def quieten() -> None:
    """Hide what RecBole's own lines provoke and its users can do nothing about.

    pandas 2 warns of RecBole's chained ``fillna(inplace=True)`` and torch of its ``torch.cuda.amp``;
    a log file on a disk that fills up must not print a traceback for every line; and tensorboardX, by which
    Ray Tune writes scalars, says of every metric of RecBole's that its ``@`` becomes ``_``.
    """
    warnings.filterwarnings("ignore", category=FutureWarning, module="recbole")
    logging.raiseExceptions = False
    logging.getLogger("tensorboardX").setLevel(logging.WARNING)


def restore_numpy_names() -> None:
    """Give back ``np.float`` and the like: RecBole's metrics use them, and only its Config restores them."""
    Config.compatibility_settings(None)


def without_anomaly_mode() -> AbstractContextManager[None]:
    """Train at full speed: ``recbole.model.sequential_recommender.sine`` turns autograd's anomaly mode on.

    It does so for the whole process when RecBole's sequential models are imported, whichever is used,
    and every operation of every backward pass is then checked for NaN and traced.
    """
    return torch.autograd.set_detect_anomaly(False)  # type: ignore[return-value]


def init_logger(config: Config) -> None:
    """RecBole's, after making its folders: its ``ensure_dir`` looks and then makes, so two runs begun at once race."""
    for folder in (config["checkpoint_dir"], Path("log") / config["model"]):
        Path(folder).mkdir(parents=True, exist_ok=True)
    recbole.utils.init_logger(config)


@contextmanager
def trusting_checkpoints() -> Iterator[None]:
    """Let RecBole read its own checkpoints, which hold a pickled Config: from torch 2.6 on ``torch.load`` refuses it.

    For files that this process itself has just written.
    """
    load = torch.load
    torch.load = partial(load, weights_only=False)
    try:
        yield
    finally:
        torch.load = load


def run_recbole(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
) -> dict[str, Any]:
    """Stock RecBole's ``run_recbole`` on today's torch, for data sets that ``recbole-raserec regenerate`` wrote.

    The yaml in the data set's folder, which says how it is split, is put before ``config_file_list``.
    The other parameters, the result and RecBole's reading of the command line are RecBole's.
    """
    from recbole.quick_start import run_recbole as stock_run_recbole  # here: it imports ray, 400 MiB

    settings = dict(config_dict or {})
    own = Path(settings.get("data_path", "dataset")) / str(dataset) / f"{dataset}.yaml"
    files = [str(own)] if own.is_file() else []
    restore_numpy_names()
    with trusting_checkpoints():
        return stock_run_recbole(model, dataset, [*files, *(config_file_list or [])], settings, saved)
