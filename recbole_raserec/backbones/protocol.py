"""The interface of a backbone: everything that training, encoding and RaSeRec may use of it.

A backbone is items + layers + head (:mod:`recbole_raserec.backbones.stack`), or a stock RecBole model behind
:mod:`recbole_raserec.backbones.adapter`. One test runs for all backbones (tests/backbones/test_contract.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_raserec.data.sequences import Prefixes

Shapes = list[tuple[int, int, int]]  # (B, L, P) of each block: B windows of L items, of which the last P are needed


class Layer(Protocol):
    """Mixes the positions of each window. The layer includes its residual connection and its norm.

    Attributes
    ----------
    causal : whether the output at a position depends only on this position and the positions before it.
    """

    causal: bool

    def __call__(self, tokens: Tensor, asking: Tensor, shapes: Shapes, selected: Tensor | None = None) -> Tensor:
        """Output of the positions whose output is needed.

        Parameters
        ----------
        tokens : [T, D] all positions of all blocks, T = sum B L.
        asking : [A, D] the last P positions of each window, A = sum B P.
        shapes : (B, L, P) of each block. Windows are padded only if the layer is causal, and then on the right.
        selected : [N] indices into the A positions whose output is needed; None means all.

        Returns
        -------
        [A, D], or [N, D] for the selected positions.
        """


class Head(Protocol):
    """Maps hidden vectors to user vectors, and the item table to item vectors. Scores are their inner products."""

    def users(self, hidden: Tensor) -> Tensor:
        """[N, D] -> [N, D]"""

    def items(self, table: Tensor) -> Tensor:
        """[V, D] -> [V, D]"""


class PackedPairs(NamedTuple):
    """N pairs of a packed batch. Only a regenerated data set has weights and flags."""

    hidden: Tensor  # [N, D] user vector of each prefix
    targets: Tensor  # [N]
    weights: Tensor | None = None  # [N]
    generated: Tensor | None = None  # [N] bool


Weigh = Callable[[PackedPairs], Tensor]  # N pairs -> their weights [N]


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
    causal : whether it is a :class:`CausalBackbone`. Other backbones are trained and encoded prefix by prefix.
    trims : True if the amount of padding after a history does not change the output.
    max_seq_length : largest number of items of a history that it reads.
    item_vectors : [V, D]; row 0 is padding. A score is the inner product of a user vector and an item vector ...
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
        """[B, L] histories (oldest item first, 0 on the right), lengths [B], user ids [B] -> user vectors [B, D]."""

    def encode_padded(self, item_seq: Tensor, item_seq_len: Tensor, users: Tensor | None = None) -> Tensor:
        """Like forward for L = ``max_seq_length``, but no value of the inputs decides what is computed."""

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean loss of samples; each prefix is one sample."""

    def transform(self, dataset: Any, interaction: Interaction) -> Interaction:
        """Change a batch of samples for :meth:`calculate_loss`, for example mask items."""


class CausalBackbone(Backbone, Protocol):
    """A backbone whose output at a position is the user vector of the prefix that ends there.

    It reads a window once for all prefixes in it.
    """

    negatives: int  # number of sampled items for the softmax; 0 means all items

    def use_training(self, prefixes: Prefixes) -> None:
        """Called once before training, with all training pairs."""

    def encode_window(self, item_seq: Tensor, last: int | None = None) -> Tensor:
        """[B, L] -> [B, P, D] user vectors after each of the last P = ``last`` items; the default is all L."""

    def packed_pairs(self, batch: list[Interaction]) -> PackedPairs:
        """The pairs that have a loss in the blocks of a packed batch."""

    def packed_loss(self, batch: list[Interaction], budget: int, weigh: Weigh | None = None) -> Tensor:
        """The summed loss of all pairs of a packed batch, divided by ``budget``.

        ``weigh`` gives the weights of the pairs' cross entropies; by default they are the pairs' own.
        """
