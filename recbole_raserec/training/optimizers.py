"""Optimisers (fused if torch can, lazy for the item vectors of a large catalogue) and averaged weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

FUSED = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 4)  # since 2.4 also on CPUs


class DenseAndSparse:
    """Two optimisers that step together. The sparse one updates only the rows that a step used."""

    def __init__(self, dense: torch.optim.Optimizer, sparse: torch.optim.Optimizer) -> None:
        self.parts = {"dense": dense, "sparse": sparse}

    def zero_grad(self) -> None:
        for part in self.parts.values():
            part.zero_grad()

    def step(self) -> None:
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state[name])


def lazy_and_rest(model: nn.Module, allowed: bool) -> tuple[list[Tensor], list[Tensor]]:
    """The weights of embeddings with sparse gradients, and all other weights.

    Unless ``allowed``, sparse gradients are turned off for all embeddings, because weight decay, clipping and most
    optimisers cannot use them.
    """
    sparse = [module for module in model.modules() if isinstance(module, nn.Embedding) and module.sparse]
    if not allowed:
        for module in sparse:
            module.sparse = False
        sparse = []
    lazy = [module.weight for module in sparse]
    return lazy, without(model.parameters(), lazy)


def without(parameters: Iterable[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    """The parameters that are none of ``others``."""
    left_out = set(map(id, others))
    return [parameter for parameter in parameters if id(parameter) not in left_out]


@contextmanager
def averaged(model: nn.Module, average: AveragedModel | None) -> Iterator[None]:
    """Give the model the moving average of its weights for the block, if there is an average."""
    if average is None:
        yield
        return
    own = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average.module.state_dict())
    try:
        yield
    finally:
        model.load_state_dict(own)


def in_order(state: dict[str, Any], before: list[str], now: list[str]) -> dict[str, Any]:
    """An optimiser's state whose weights were named ``before``, for weights that are named ``now``.

    An optimiser numbers its weights. Checkpoints of 0.1.0 have those of the moving averages last. A state in parts
    (:class:`DenseAndSparse`) is returned as it is.
    """
    if before == now or "state" not in state:
        return state
    number = {name: place for place, name in enumerate(before)}
    moved = {place: state["state"][number[name]] for place, name in enumerate(now) if number[name] in state["state"]}
    return {**state, "state": moved}
