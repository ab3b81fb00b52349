"""Blocks of windows that are encoded together, and their parts where together they would take too much memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_raserec.backbones.protocol import PackedPairs, Shapes
from recbole_raserec.data.batches import GENERATED, TARGET_SEQ, WEIGHT

_LENGTH = 64  # longer windows count more, because a token of theirs has more attention weights


class Blocks(NamedTuple):
    """Windows [B, L] of each block, its number P of last positions, and which of all these A are needed [N]."""

    windows: list[Tensor]
    lasts: list[int]
    selected: Tensor


def blocks_of(batch: list[Interaction], item_seq_field: str) -> Blocks:
    """The blocks of a packed batch; the positions with a target are needed."""
    targets = torch.cat([block[TARGET_SEQ].flatten() for block in batch])  # [A], 0 where there is no pair
    lasts = [block[TARGET_SEQ].size(1) for block in batch]
    return Blocks([block[item_seq_field] for block in batch], lasts, targets.nonzero()[:, 0])


def pairs_of(batch: list[Interaction], blocks: Blocks, hidden: Tensor) -> PackedPairs:
    """``hidden`` [N, D] with the target, weight and flag of each pair from the batch."""

    def column(name: str) -> Tensor:
        return torch.cat([block[name].flatten() for block in batch])[blocks.selected].to(hidden.device)

    extra = [column(name) for name in (WEIGHT, GENERATED) if name in batch[0]]
    return PackedPairs(hidden, column(TARGET_SEQ), *extra)


def last_positions(tokens: Tensor, shapes: Shapes) -> Tensor:
    """[T, D] -> [A, D] the last P positions of each window."""
    if all(length == last for _, length, last in shapes):
        return tokens
    parts = tokens.split([rows * length for rows, length, _ in shapes])
    of_block = zip(parts, shapes)
    return torch.cat([part.view(rows, length, -1)[:, -last:].flatten(0, 1) for part, (rows, length, last) in of_block])


def divide(blocks: Blocks, most: int) -> tuple[list[Blocks], Tensor]:
    """Parts of at most ``most`` tokens each; a longer window is a part of its own.

    Returns
    -------
    parts : blocks of consecutive windows, with ``selected`` in ascending order. Parts without one are left out.
    place : [N] where the vector of each of ``blocks.selected`` is in the concatenated vectors of the parts.
    """
    cuts = _cuts(blocks, most)
    asked = [sum(len(window) * last for window, last in zip(windows, lasts)) for windows, lasts in cuts]
    ascending, order = blocks.selected.sort()
    ends = torch.tensor(asked).cumsum(dim=0)
    counts = torch.searchsorted(ascending, ends).diff(prepend=torch.zeros(1, dtype=torch.int64))
    starts = (ends - torch.tensor(asked)).tolist()
    rows = [of_part - start for of_part, start in zip(ascending.split(counts.tolist()), starts)]
    parts = [Blocks(*cut, of_part) for cut, of_part in zip(cuts, rows) if len(of_part)]
    return parts, order.argsort()


def _cuts(blocks: Blocks, most: int) -> list[tuple[list[Tensor], list[int]]]:
    """The windows and lasts of each part, in the order of ``blocks``."""
    cuts: list[tuple[list[Tensor], list[int]]] = [([], [])]
    room = most
    for window, last in zip(blocks.windows, blocks.lasts):
        cost = window.size(1) * max(window.size(1), _LENGTH) // _LENGTH
        rest = window
        while len(rest):
            fitting = room // cost
            if fitting < 1 and cuts[-1][0]:
                cuts.append(([], []))
                room = most
                continue
            taken, rest = rest[: max(fitting, 1)], rest[max(fitting, 1) :]
            cuts[-1][0].append(taken)
            cuts[-1][1].append(last)
            room -= cost * len(taken)
    return cuts
