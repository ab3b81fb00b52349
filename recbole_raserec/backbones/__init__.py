"""Backbones: sequential models that are pre-trained and then frozen under the retrieval module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recbole_raserec.backbones.adapter import Adapter
from recbole_raserec.backbones.duorec import DuoRec
from recbole_raserec.backbones.hstu import HSTU
from recbole_raserec.backbones.protocol import Backbone
from recbole_raserec.backbones.sasrec import SASRec

if TYPE_CHECKING:  # RecBole's Config imports for a second what a trained model does not need
    from recbole_raserec.config.config import Config

OURS = {"SASRec": SASRec, "DuoRec": DuoRec, "HSTU": HSTU}


def build_backbone(config: Config, dataset: Any) -> Backbone:
    """The backbone named by ``config["backbone"]``."""
    return OURS.get(config["backbone"], Adapter)(config, dataset)
