"""Sequential models that can be pre-trained and then frozen under the retrieval module.

A backbone is a RecBole sequential model with ``forward(item_seq, item_seq_len) -> [B, D]``, an
``item_embedding`` that scores items by inner product, and, when it is causal, ``encode_window`` and
``packed_loss`` for training on whole windows.
"""

from __future__ import annotations

from typing import Any

from recbole_raserec.backbones.duorec import DuoRec
from recbole_raserec.backbones.sasrec import SASRec

BACKBONES = {"SASRec": SASRec, "DuoRec": DuoRec}


def build_backbone(config: Any, dataset: Any) -> SASRec:
    """The backbone named by ``config["backbone"]``."""
    return BACKBONES[config["backbone"]](config, dataset)
