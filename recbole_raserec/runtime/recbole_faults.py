"""Workarounds for faults of RecBole 1.2.1 that a subclass cannot fix."""

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
    """Hide warnings that RecBole's code causes and that users cannot avoid.

    pandas 2 warns about RecBole's chained ``fillna(inplace=True)``, and torch about its ``torch.cuda.amp``.
    A log file on a full disk must not print a traceback for every line. tensorboardX, which Ray Tune uses to
    write scalars, reports for every metric of RecBole that it replaces ``@`` by ``_``.
    """
    warnings.filterwarnings("ignore", category=FutureWarning, module="recbole")
    logging.raiseExceptions = False
    logging.getLogger("tensorboardX").setLevel(logging.WARNING)


def restore_numpy_names() -> None:
    """Restore ``np.float`` and similar names. RecBole's metrics use them, and only its Config restores them."""
    Config.compatibility_settings(None)


def without_anomaly_mode() -> AbstractContextManager[None]:
    """Turn off autograd's anomaly mode, so training runs at full speed.

    ``recbole.model.sequential_recommender.sine`` turns the mode on for the whole process. This happens when
    RecBole's sequential models are imported, whichever model is used. In this mode torch traces every operation
    of every backward pass and checks it for NaN.
    """
    return torch.autograd.set_detect_anomaly(False)  # type: ignore[return-value]


def init_logger(config: Config) -> None:
    """Create the folders of the log, then call RecBole's ``init_logger``.

    RecBole's ``ensure_dir`` first checks and then creates a folder, so two runs that start together can fail.
    """
    for folder in (config["checkpoint_dir"], Path("log") / config["model"]):
        Path(folder).mkdir(parents=True, exist_ok=True)
    recbole.utils.init_logger(config)


@contextmanager
def trusting_checkpoints() -> Iterator[None]:
    """Let RecBole read its own checkpoints. They hold a pickled Config, which ``torch.load`` refuses since torch 2.6.

    Use it only for files that this process has just written.
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
    """RecBole's own ``run_recbole`` on a current torch, for data sets that ``recbole-raserec regenerate`` wrote.

    The yaml file in the data set's folder says how the data set is split. It is read before ``config_file_list``.
    The other parameters, the result and the use of the command line are those of RecBole.
    """
    from recbole.quick_start import run_recbole as stock_run_recbole  # imported here, because it imports ray: 400 MiB

    settings = dict(config_dict or {})
    own = Path(settings.get("data_path", "dataset")) / str(dataset) / f"{dataset}.yaml"
    files = [str(own)] if own.is_file() else []
    restore_numpy_names()
    with trusting_checkpoints():
        return stock_run_recbole(model, dataset, [*files, *(config_file_list or [])], settings, saved)
