"""Answers to faults of RecBole 1.2.1 that cannot be met by subclassing."""

from __future__ import annotations

import logging
import warnings


def quieten() -> None:
    """Hide what RecBole's own lines provoke and its users can do nothing about.

    pandas 2 warns of RecBole's chained ``fillna(inplace=True)`` and torch of its ``torch.cuda.amp``;
    a log file on a disk that fills up must not print a traceback for every line.
    """
    warnings.filterwarnings("ignore", category=FutureWarning, module="recbole")
    logging.raiseExceptions = False
