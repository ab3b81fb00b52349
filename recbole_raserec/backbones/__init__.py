"""Sequential models that can be pre-trained and then frozen under the retrieval module.

A backbone has ``item_vectors`` [V, D], an ``item_bias`` [V] or None, and
``forward(item_seq, item_seq_len, users) -> [B, D]``. A causal one of ours also has ``encode_window`` and
``packed_loss``, and trains on whole windows; any other RecBole sequential model is wrapped and trains
on a sample for each prefix.
"""

from __future__ import annotations

from typing import Any

from recbole_raserec.backbones.adapter import Adapter
from recbole_raserec.backbones.duorec import DuoRec
from recbole_raserec.backbones.sasrec import SASRec

PACKED = {"SASRec": SASRec, "DuoRec": DuoRec}


def build_backbone(config: Any, dataset: Any) -> SASRec | Adapter:
    """The backbone named by ``config["backbone"]``."""
    return PACKED.get(config["backbone"], Adapter)(config, dataset)
