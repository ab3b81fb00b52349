"""Workarounds for faults of RecBole 1.2.1. What a subclass can override is called from there."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import recbole.data.dataset.dataset as recbole_dataset
import recbole.utils
import torch
from recbole.config import Config
from recbole.utils import FeatureType


def quieten() -> None:
    """Hide warnings that RecBole's own lines cause and that its users cannot act on.

    pandas warns of RecBole's chained ``fillna(inplace=True)`` and of ``inplace`` itself, numpy of old names, torch of
    ``torch.cuda.amp`` and of arrays that are not writable. tensorboardX, by which Ray Tune writes scalars, says of
    every metric of RecBole's that its ``@`` becomes ``_``. A log file on a full disk would print a traceback a line.
    """
    warnings.filterwarnings("ignore", module=r"recbole\.")
    logging.raiseExceptions = False
    logging.getLogger("tensorboardX").setLevel(logging.WARNING)


# Names that numpy 2.0 removed and RecBole's Config.compatibility_settings reads (config/configurator.py, line 625)
_NUMPY_NAMES = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}


def restore_numpy_names() -> None:
    """Give back names that numpy removed and RecBole uses.

    ``np.float`` and the like (removed in numpy 1.24) stand in evaluator/metrics.py and model/layers.py. RecBole's
    Config gives them back itself, from names that numpy 2.0 removed.
    """
    for name, value in _NUMPY_NAMES.items():
        if not hasattr(np, name):
            setattr(np, name, value)
    Config.compatibility_settings(None)


def fill_nan(dataset: Any) -> None:
    """Fill missing values of token and float features in a data set that is being loaded, as RecBole means to.

    RecBole calls ``feat[field].fillna(inplace=True)`` (data/dataset/dataset.py, lines 648 and 650). From pandas 3 on
    that changes a copy, so NaN would survive.
    """
    for name in dataset.feat_name_list:
        feat = getattr(dataset, name)
        for field in feat:
            kind = dataset.field2type[field]
            if kind == FeatureType.TOKEN:
                feat[field] = feat[field].fillna(value=0)
            elif kind == FeatureType.FLOAT:
                feat[field] = feat[field].fillna(value=feat[field].mean())


def remove_duplication(dataset: Any) -> None:
    """Keep the first or last interaction of each user with an item (``rm_dup_inter``), as RecBole means to.

    RecBole sorts all interactions by time with an unstable sort (data/dataset/dataset.py, line 853). So those of the
    same time change their order, and other items become the last ones of a user.
    """
    feat, keep = dataset.inter_feat, dataset.config["rm_dup_inter"]
    if keep is not None:
        feat.sort_values(by=dataset.time_field, kind="stable", inplace=True)
        feat.drop_duplicates(subset=[dataset.uid_field, dataset.iid_field], keep=keep, inplace=True)


class _PandasThatFillsSequences:
    """pandas, whose ``read_csv`` gives an empty text for a missing sequence; RecBole's line 501 means to do that."""

    def __getattr__(self, name: str) -> Any:
        return getattr(pd, name)

    def read_csv(self, *args: Any, **kwargs: Any) -> pd.DataFrame:
        frame = pd.read_csv(*args, **kwargs)
        for column in frame.columns:
            if str(column).endswith("_seq"):
                frame[column] = frame[column].fillna("")
        return frame


@contextmanager
def pandas_that_recbole_knows() -> Iterator[None]:
    """Inside the block RecBole's data sets read and number sequences as with pandas 2, for fields such as token_seq.

    From pandas 3 on ``df[field].fillna(value="", inplace=True)`` changes a copy (data/dataset/dataset.py, line 501).
    ``feat[field].agg(len)`` is now the length of the column, not of each of its lists (lines 712, 792, 809 and 1217,
    and sequential_dataset.py, line 165).
    """
    aggregate = pd.Series.agg

    def of_each(column: pd.Series, func: Any = None, *args: Any, **kwargs: Any) -> Any:
        return column.map(len) if func is len else aggregate(column, func, *args, **kwargs)

    recbole_dataset.pd, pd.Series.agg = _PandasThatFillsSequences(), of_each
    try:
        yield
    finally:
        recbole_dataset.pd, pd.Series.agg = pd, aggregate


@contextmanager
def repaired_datasets() -> Iterator[None]:
    """Inside the block RecBole's own data sets load: :func:`fill_nan`, :func:`pandas_that_recbole_knows`."""
    stock = recbole_dataset.Dataset._fill_nan

    def fill(dataset: Any) -> None:
        fill_nan(dataset)
        stock(dataset)

    recbole_dataset.Dataset._fill_nan = fill
    try:
        with pandas_that_recbole_knows():
            yield
    finally:
        recbole_dataset.Dataset._fill_nan = stock


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
