"""RecBole's SASRec, trained on whole windows, with torch's fused attention kernel."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from recbole.model.layers import FeedForward
from torch import nn

from recbole_raserec.backbones.heads import head_of
from recbole_raserec.backbones.layers.attention import CausalAttention
from recbole_raserec.backbones.layers.average import FORMS, AttentionBesideAverage
from recbole_raserec.backbones.stack import Block, Stack

if TYPE_CHECKING:  # RecBole's Config imports for a second what a trained model does not need
    from recbole_raserec.config.config import Config


class SASRec(Stack):
    """Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, in RecBole's form.

    The weights (a RecBole state_dict loads), the function and the loss over the same pairs are those of RecBole.
    Only the order of the arithmetic differs. Two parameters change the parts of the model. With ``average_weight``
    above 0 each layer is :class:`AttentionBesideAverage`. With ``score_tau`` above 0 the head is :class:`Cosine`.
    """

    def __init__(self, config: Config, dataset: Any) -> None:
        width = config["hidden_size"]
        super().__init__(
            config,
            dataset,
            nn.Embedding(dataset.item_num, width, padding_idx=0),
            nn.Embedding(config["MAX_ITEM_LIST_LENGTH"], width),
            attention_blocks(config),
            head_of(config, dataset.item_num),
        )
        add_averages(self.layers, config)  # last, so that a seed gives attention the same weights with it and without


def attention_blocks(config: Config) -> list[Block]:
    """``n_layers`` equal blocks of attention. RecBole also copies one block, so the same random numbers are drawn."""
    width, dropout, eps = config["hidden_size"], config["hidden_dropout_prob"], config["layer_norm_eps"]
    attention = CausalAttention(config["n_heads"], width, dropout, config["attn_dropout_prob"], eps)
    feed_forward = FeedForward(width, config["inner_size"], dropout, config["hidden_act"], eps)
    if config["hidden_act"] == "gelu":  # RecBole computes the same function in five operations
        feed_forward.intermediate_act_fn = F.gelu
    block = Block(attention, feed_forward)
    return [copy.deepcopy(block) for _ in range(config["n_layers"])]


def add_averages(blocks: Iterable[Block], config: Config) -> None:
    """Put a mixing layer beside the attention of each block, where there is an ``average_weight``."""
    sizes = config["hidden_size"], config["average_window"], config["hidden_dropout_prob"], config["layer_norm_eps"]
    for block in blocks if config["average_weight"] else ():
        block.layer = AttentionBesideAverage(
            block.layer, FORMS[config["average_form"]](*sizes), config["average_weight"]
        )
