"""This package's own backbones: items + layers + head. If all layers are causal, they train on whole windows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recbole_raserec.backbones.blocks import Blocks, blocks_of, divide, last_positions, pairs_of
from recbole_raserec.backbones.protocol import Head, PackedPairs, Shapes, Weigh
from recbole_raserec.data.sequences import Prefixes
from recbole_raserec.nn.dropout import use_fast_dropout
from recbole_raserec.nn.softmax import catalogue_cross_entropy, negatives_for

if TYPE_CHECKING:  # RecBole's Config imports for a second what a trained model does not need
    from recbole_raserec.config.config import Config

# Most tokens of windows of 64 items whose intermediate results a training step holds at once. With the default sizes
# 2^14 tokens take about .4 GiB. No step on the Amazon data sets has as many.
_TOKENS = {"cpu": 2**14, "cuda": 2**18}

# Our names of weights, as patterns, and the names in RecBole's SASRec. All other names are the same in both.
_ATTENTION = r"layers\.(\d+)\.layer\.(?:attention\.)?(query|key|value|dense|LayerNorm)\."
_RECBOLE_NAMES = (
    (r"norm\.", "LayerNorm."),
    (r"layers\.(\d+)\.layer\.average\.", r"averages.\1."),
    (_ATTENTION, r"trm_encoder.layer.\1.multi_head_attention.\2."),
    (r"layers\.(\d+)\.feed_forward\.", r"trm_encoder.layer.\1.feed_forward."),
)


class Block(nn.Module):
    """A layer that mixes positions, then RecBole's feed-forward layer or another that works position by position."""

    def __init__(self, layer: nn.Module, feed_forward: nn.Module) -> None:
        super().__init__()
        self.layer, self.feed_forward = layer, feed_forward

    def forward(self, tokens: Tensor, asking: Tensor, shapes: Shapes, selected: Tensor | None = None) -> Tensor:
        """Shapes as in :class:`~recbole_raserec.backbones.protocol.Layer`."""
        return self.feed_forward(self.layer(tokens, asking, shapes, selected))


class Stack(SequentialRecommender):
    """Item and position embeddings, blocks of layers, and a head.

    Weights are initialised as in RecBole's SASRec. A state_dict has RecBole's names, so it can load the weights of
    RecBole's SASRec.

    Parameters
    ----------
    item_embedding, position_embedding : [V, D] and [longest history, D].
    blocks : the blocks from the bottom to the top.
    """

    trims = True
    item_bias = None

    def __init__(
        self,
        config: Config,
        dataset: Any,
        item_embedding: nn.Embedding,
        position_embedding: nn.Embedding,
        blocks: list[Block],
        head: Head,
    ) -> None:
        super().__init__(config, dataset)
        self.item_embedding, self.position_embedding = item_embedding, position_embedding
        self.layers = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(item_embedding.embedding_dim, eps=config["layer_norm_eps"])
        dropout = config["embedding_dropout_prob"]
        self.dropout = nn.Dropout(config["hidden_dropout_prob"] if dropout is None else dropout)
        self.head, self._deviation = head, config["initializer_range"]
        self.negatives = negatives_for(config["softmax_negatives"], self.n_items)
        self.item_embedding.sparse = self.negatives > 0  # a step uses few rows of a large catalogue
        self.apply(self._init_weights)
        use_fast_dropout(self)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(mean=0.0, std=self._deviation)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.data.zero_()

    @property
    def causal(self) -> bool:
        """Whether all layers are causal."""
        return all(block.layer.causal for block in self.layers)

    @property
    def item_vectors(self) -> Tensor:
        """[V, D]"""
        return self.head.items(self.item_embedding.weight)

    # -- user vectors --------------------------------------------------------------------------------

    def encode(self, windows: list[Tensor], lasts: list[int], selected: Tensor | None = None) -> Tensor:
        """Encode blocks of windows [B, L] together: the user vectors of their last P positions, concatenated [A, D].

        Most of the work is position by position, so the blocks are computed together. ``selected`` [N] gives the
        needed rows of the A; None means all. A training step of more tokens than ``_TOKENS`` computes them in parts.
        """
        if self.training and torch.is_grad_enabled():  # otherwise nothing is kept, and the caller divides the rows
            return self._encode_in_parts(windows, lasts, selected)
        return self._encode_together(windows, lasts, selected)

    def _encode_in_parts(self, windows: list[Tensor], lasts: list[int], selected: Tensor | None) -> Tensor:
        """Of a part only the inputs are kept; for its gradients it is computed again, with the same dropout."""
        device = self.item_embedding.weight.device
        asked = sum(len(rows) * last for rows, last in zip(windows, lasts))
        blocks = Blocks(windows, lasts, torch.arange(asked) if selected is None else selected)
        parts, place = divide(blocks, _TOKENS.get(device.type, _TOKENS["cpu"]))
        if len(parts) <= 1:
            return self._encode_together(windows, lasts, selected)
        # checkpoint restores the random state of the devices that it finds its arguments on
        here = [([window.to(device) for window in part.windows], *part[1:]) for part in parts]
        vectors = [checkpoint(self._encode_together, *part, use_reentrant=False) for part in here]
        return torch.cat(vectors)[place.to(device)]

    def _encode_together(self, windows: list[Tensor], lasts: list[int], selected: Tensor | None) -> Tensor:
        device = self.item_embedding.weight.device
        shapes = [(*window.shape, last) for window, last in zip(windows, lasts)]
        whole = [(rows, length, length) for rows, length, _ in shapes]
        positions = torch.cat([torch.arange(length, device=device).repeat(rows) for rows, length, _ in shapes])
        items = torch.cat([window.flatten() for window in windows]).to(device)  # [T], T = sum B L
        tokens = self.dropout(self.norm(self.item_embedding(items) + self.position_embedding(positions)))
        *lower, top = self.layers
        for block in lower:
            tokens = block(tokens, tokens, whole)
        asking = last_positions(tokens, shapes)  # the top layer skips the others
        selected = None if selected is None else selected.to(device)
        return self.head.users(top(tokens, asking, shapes, selected))

    def encode_window(self, item_seq: Tensor, last: int | None = None) -> Tensor:
        """User vector after each of the last ``last`` = P items; the default is all items.

        Parameters
        ----------
        item_seq : [B, L] item ids, oldest first, 0 on the right; L may be less than the maximum.

        Returns
        -------
        [B, P, D], P = L by default. Entries at padding have no meaning.
        """
        asked = last or item_seq.size(1)
        return self.encode([item_seq], [asked]).view(item_seq.size(0), asked, -1)  # len() would fix B in an export

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, users: Tensor | None = None) -> Tensor:
        """[B, L] histories and their lengths [B] -> user vectors [B, D]; ``users`` is not used."""
        shortest, longest = int(item_seq_len.min()), int(item_seq_len.max())
        item_seq = item_seq[:, :longest]
        if shortest == longest:
            return self.encode_window(item_seq, last=1)[:, 0]
        return (self.encode_padded if self.causal else self._encode_unpadded)(item_seq, item_seq_len)

    def encode_padded(self, item_seq: Tensor, item_seq_len: Tensor, users: Tensor | None = None) -> Tensor:
        """Like forward, but no value of the inputs decides what is computed. All layers must be causal."""
        return self.gather_indexes(self.encode_window(item_seq), item_seq_len - 1)

    def _encode_unpadded(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """[B, L], [B] -> [B, D]. Histories of equal length form a block, so no layer sees padding."""
        rows = [(item_seq_len == length).nonzero()[:, 0] for length in item_seq_len.unique()]
        windows = [item_seq[of_length, : int(item_seq_len[of_length[0]])] for of_length in rows]
        vectors = self.encode(windows, [1] * len(windows))
        return vectors[torch.cat(rows).argsort()]

    # -- RecBole's interface -------------------------------------------------------------------------

    def transform(self, dataset: Any, interaction: Interaction) -> Interaction:
        """Samples need no change."""
        return interaction

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean cross entropy of the samples [B]. Over all items and with inner products it equals RecBole's loss."""
        hidden = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        targets = interaction[self.POS_ITEM_ID]
        return catalogue_cross_entropy(hidden, self.item_vectors, targets, self.negatives) / len(targets)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """[B, V] scores of all items."""
        return self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]) @ self.item_vectors.T

    def predict(self, interaction: Interaction) -> Tensor:
        """[B] scores of the interaction's own items."""
        vectors = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return (vectors * self.item_vectors[interaction[self.ITEM_ID]]).sum(dim=1)

    # -- training on whole windows -------------------------------------------------------------------

    def use_training(self, prefixes: Prefixes) -> None:
        """The loss of a stack needs only the pairs of the batch."""

    def packed_pairs(self, batch: list[Interaction]) -> PackedPairs:
        """The (prefix, target) pairs that have a loss in the blocks of a packed batch.

        The batch stays on the CPU, where the loader made it. The pairs are found there, so nothing waits for a GPU.
        """
        blocks = blocks_of(batch, self.ITEM_SEQ)
        return pairs_of(batch, blocks, self.encode(*blocks))

    def packed_loss(self, batch: list[Interaction], budget: int, weigh: Weigh | None = None) -> Tensor:
        """The weighted sum of the cross entropies of all pairs of a packed batch, divided by ``budget``."""
        return self.pairs_loss(self.packed_pairs(batch), weigh) / budget

    def pairs_loss(self, pairs: PackedPairs, weigh: Weigh | None = None) -> Tensor:
        """Weighted sum of the pairs' cross entropies. ``weigh`` replaces the weights that the pairs have."""
        each = pairs.weights if weigh is None else weigh(pairs)
        return catalogue_cross_entropy(pairs.hidden, self.item_vectors, pairs.targets, self.negatives, each)

    # -- names of weights ----------------------------------------------------------------------------

    def state_dict(self, *args: Any, prefix: str = "", **kwargs: Any) -> dict[str, Any]:
        """torch's state_dict with RecBole's names."""
        state = super().state_dict(*args, prefix=prefix, **kwargs)
        for name in [name for name in state if name.startswith(prefix)]:
            state[prefix + recbole_name(name[len(prefix) :])] = state.pop(name)
        return state

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Give ``state_dict`` our names. torch calls this before the inner modules read it."""
        for name in list(super().state_dict()):
            theirs = prefix + recbole_name(name)
            if theirs in state_dict:
                state_dict[prefix + name] = state_dict.pop(theirs)
        super()._load_from_state_dict(state_dict, prefix, *args)


def recbole_name(name: str) -> str:
    """The name in RecBole's SASRec of the weight that a stack calls ``name``."""
    for ours, theirs in _RECBOLE_NAMES:
        if re.match(ours, name):
            return re.sub(ours, theirs, name, count=1)
    return name
