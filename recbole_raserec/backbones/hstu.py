"""HSTU: a stack of pointwise attention, trained on whole windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from recbole_raserec.backbones.heads import head_of
from recbole_raserec.backbones.layers.pointwise import PointwiseAttention
from recbole_raserec.backbones.stack import Block, Stack
from recbole_raserec.errors import ConfigError

if TYPE_CHECKING:  # RecBole's Config imports for a second what a trained model does not need
    from recbole_raserec.config.config import Config


class HSTU(Stack):
    """Zhai et al., "Actions Speak Louder than Words", ICML 2024 (arXiv 2402.17152), without time.

    It differs from the authors' code in two things: LayerNorm(item + position) replaces the scaled sum, as in our
    other backbones, and the softmax reads all items instead of a sample.

    Raises
    ------
    ConfigError : ``average_weight`` is above 0. There is no attention block beside which the average could stand.
    """

    def __init__(self, config: Config, dataset: Any) -> None:
        if config["average_weight"]:
            problem = "HSTU has no layer beside which an average can stand"
            raise ConfigError("average_weight", config["average_weight"], problem, "give --average_weight=0")
        width, longest = config["hidden_size"], config["MAX_ITEM_LIST_LENGTH"]
        dropout = config["hidden_dropout_prob"], config["attn_dropout_prob"], config["layer_norm_eps"]
        layers = [PointwiseAttention(config["n_heads"], width, longest, *dropout) for _ in range(config["n_layers"])]
        super().__init__(
            config,
            dataset,
            nn.Embedding(dataset.item_num, width, padding_idx=0),
            nn.Embedding(longest, width),
            [Block(layer, nn.Identity()) for layer in layers],  # the gate replaces the feed-forward layer
            head_of(config, dataset.item_num),
        )
