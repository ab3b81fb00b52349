"""What a backbone is: what training, encoding and RaSeRec may ask of it, and no more.

A backbone is items + layers + head (:mod:`recbole_raserec.backbones.stack`), or a stock RecBole model behind
:mod:`recbole_raserec.backbones.adapter`. One test runs over all of them (tests/backbones/test_contract.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_raserec.data.sequences import Prefixes

Shapes = list[tuple[int, int, int]]  # (B, L, P) of each block: B windows of L items, their last P positions asked for


class Layer(Protocol):
    """Mixes the positions of each window; residual and norm are its own.

    Attributes
    ----------
    causal : whether a position's output depends on it and those before it alone.
    """

    causal: bool

    def __call__(self, tokens: Tensor, asking: Tensor, shapes: Shapes, selected: Tensor | None = None) -> Tensor:
        """Output of the positions that ask.

        Parameters
        ----------
        tokens : [T, D] all positions of all blocks, T = sum B L.
        asking : [A, D] the last P positions of each window, A = sum B P.
        shapes : (B, L, P) of each block. Windows are padded on the right, and only if the layer is causal.
        selected : [N] which of the A are needed; None for all.

        Returns
        -------
        [A, D], or [N, D] of the selected.
        """


class Head(Protocol):
    """How hidden vectors become user vectors, and the item table item vectors; scores are their inner products."""

    def users(self, hidden: Tensor) -> Tensor:
        """[N, D] -> [N, D]"""

    def items(self, table: Tensor) -> Tensor:
        """[V, D] -> [V, D]"""


class PackedPairs(NamedTuple):
    """N pairs of a packed batch; weights and flags only of a regenerated data set."""

    hidden: Tensor  # [N, D] user vector of each prefix
    targets: Tensor  # [N]
    weights: Tensor | None = None  # [N]
    generated: Tensor | None = None  # [N] bool


class Module(Protocol):
    """What is used of torch's nn.Module, which every backbone is as well."""

    def __call__(self, *inputs: Any) -> Tensor: ...

    def eval(self) -> Any: ...

    def cpu(self) -> Any: ...

    def requires_grad_(self, requires_grad: bool = True) -> Any: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> Any: ...


class Backbone(Module, Protocol):
    """A sequential model that is pre-trained and then frozen under the retrieval module.

    Attributes
    ----------
    causal : whether it is a :class:`CausalBackbone`; the others are trained and encoded prefix by prefix.
    trims : whether its output does not depend on how much padding follows a history.
    max_seq_length : most items of a history that it reads.
    item_vectors : [V, D], row 0 padding; a score is the inner product of a user vector and one of them, ...
    item_bias : ... plus the item's bias [V], or None.
    """

    causal: bool
    trims: bool
    max_seq_length: int

    @property
    def item_vectors(self) -> Tensor: ...

    @property
    def item_bias(self) -> Tensor | None: ...

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, users: Tensor | None = None) -> Tensor:
        """[B, L] histories, oldest first and 0 on the right, their lengths [B], whose they are [B] -> [B, D]."""

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean loss of samples, one a prefix."""

    def transform(self, dataset: Any, interaction: Interaction) -> Interaction:
        """What a batch of samples must go through before :meth:`calculate_loss`, for example masking."""


class CausalBackbone(Backbone, Protocol):
    """A backbone whose output at a position is the user vector of the prefix that ends there.

    It reads a window once for all prefixes in it.
    """

    negatives: int  # items that the softmax is estimated from; 0 for all

    def use_training(self, prefixes: Prefixes) -> None:
        """Called once before training with all rows that are trained on."""

    def encode_window(self, item_seq: Tensor, last: int | None = None) -> Tensor:
        """[B, L] -> [B, P, D] user vectors after each of the last P = ``last`` items, by default all."""

    def packed_pairs(self, batch: list[Interaction]) -> PackedPairs:
        """The pairs that carry a loss in the blocks of a packed batch."""

    def packed_loss(self, batch: list[Interaction], budget: int) -> Tensor:
        """Loss of every pair of a packed batch, summed and divided by ``budget``."""
