"""Hybrid inference (arXiv 2405.17795): every sequence is rewritten greedily once per memory, many at a time.

A step chooses the next item either among the items of the source (restrictive) or among all items (generative).
The blocks of sequences depend only on the data, and the random draws of a sequence only on its number and the seed.
So the rows of a block are the same on every process and machine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from recbole_raserec.data.sequences import Sequences
from recbole_raserec.regeneration.regenerator import Regenerator
from recbole_raserec.regeneration.transformer import Packed, bias_of
from recbole_raserec.runtime.progress import Progress
from recbole_raserec.runtime.ragged import offsets_of, ragged_arange
from recbole_raserec.runtime.ray import map_on_ray

ALWAYS_RESTRICTIVE = 2  # the first tokens of a row come from the source for any gamma
_BLOCKS_A_TASK = 8  # blocks that a Ray worker decodes in one task
_BLOCK = 64  # sequences decoded together; the result depends on it, so it is not a parameter
_LOGITS = 2**22  # floats held at once when all items are scored


@dataclass(frozen=True)
class Decoded:
    """Rows of items that the regenerator wrote.

    Attributes
    ----------
    items, offsets : row ``r`` is ``items[offsets[r]:offsets[r + 1]]``.
    sequence : [R] index of the source sequence. Its K' rows, one per memory, are consecutive.
    """

    items: np.ndarray
    offsets: np.ndarray
    sequence: np.ndarray


def source_tokens(sequences: Sequences, rows: np.ndarray, model: Regenerator) -> Tensor:
    """[B, L] SOS, the last ``max_length`` items of each sequence, EOS, 0 on the right."""
    length = np.minimum(sequences.offsets[rows + 1] - sequences.offsets[rows], model.max_length)
    tokens = np.zeros((len(rows), int(length.max()) + 2), np.int64)
    tokens[:, 0] = model.sos
    row, nth = np.repeat(np.arange(len(rows)), length), ragged_arange(length)
    tokens[row, nth + 1] = sequences.items[np.repeat(sequences.offsets[1:][rows] - length, length) + nth]
    tokens[np.arange(len(rows)), length + 1] = model.eos
    return torch.from_numpy(tokens)


def decoding_blocks(sequences: Sequences) -> list[np.ndarray]:
    """Blocks of sequence numbers; sequences of similar length are in one block."""
    order = np.argsort(sequences.lengths, kind="stable")
    return [order[start : start + _BLOCK] for start in range(0, len(order), _BLOCK)]


BlockDecoder = Callable[[list[np.ndarray]], Iterable[np.ndarray]]  # blocks -> items [B, K', T] of each block, in order


def decode_all(sequences: Sequences, decode_blocks: BlockDecoder, progress: Progress = iter) -> Decoded:
    """Decode every sequence with every memory. The rows are in the order of (sequence, memory).

    Parameters
    ----------
    decode_blocks : decodes the blocks: :func:`local_decoder` in this process, or :func:`ray_decoder` on Ray.
    """
    blocks = decoding_blocks(sequences)
    results = iter(decode_blocks(blocks))
    tokens = [next(results) for _ in progress(blocks)]
    next(results, None)  # lets the decoder clean up
    if not tokens:
        empty = np.zeros(0, np.int64)
        return Decoded(empty, np.zeros(1, np.int64), empty)
    longest = max(block.shape[2] for block in tokens)
    everything = np.concatenate([np.pad(t, ((0, 0), (0, 0), (0, longest - t.shape[2]))) for t in tokens])
    everything = everything[np.argsort(np.concatenate(blocks))]  # [U, K', T]
    rows = everything.reshape(-1, longest)
    offsets = offsets_of((rows > 0).sum(axis=1)).astype(np.int64)
    return Decoded(rows[rows > 0], offsets, np.repeat(np.arange(len(everything)), everything.shape[1]))


def generative_steps(rows: np.ndarray, memories: int, max_tokens: int, gamma: float, seed: int) -> Tensor:
    """[B, K', T] whether a step chooses among all items. The number of a sequence is part of the seed of its draws."""
    if gamma in (0, 1):
        drawn = np.full((len(rows), memories, max_tokens), gamma == 1)
    else:
        drawn = np.stack([np.random.default_rng((seed, row)).random((memories, max_tokens)) < gamma for row in rows])
    drawn[:, :, :ALWAYS_RESTRICTIVE] = False
    return torch.from_numpy(drawn)


@torch.no_grad()
def decode_block(
    model: Regenerator,
    sequences: Sequences,
    rows: np.ndarray,
    gamma: float,
    seed: int,
    max_tokens: int,
    device: torch.device,
) -> np.ndarray:
    """Greedily decoded rows of the sequences ``rows`` [B].

    Parameters
    ----------
    gamma : probability that a step after the first two is generative.
    max_tokens : largest number of items in a row.

    Returns
    -------
    [B, K', T] int32 items, 0 after the last item. A row contains each item at most once.
    """
    model.eval()
    source = source_tokens(sequences, rows, model).to(device)
    generative = generative_steps(rows, model.diversity, max_tokens, gamma, seed).to(device).flatten(0, 1)
    state = _State(model, source, max_tokens)
    written = torch.zeros(len(generative), max_tokens, dtype=torch.long, device=device)
    token = torch.full((len(generative),), model.sos, device=device)
    for step in range(max_tokens):
        hidden = state.read(token, step)
        token = state.choose(hidden, generative[state.alive, step], written[state.alive, :step])
        written[state.alive, step] = token.masked_fill(token == model.eos, 0)
        token = state.drop_finished(token)
        if len(token) == 0:
            break
    return written.view(len(rows), model.diversity, max_tokens).to(torch.int32).cpu().numpy()


def local_decoder(
    model: Regenerator, sequences: Sequences, gamma: float, seed: int, max_tokens: int, device: torch.device
) -> BlockDecoder:
    """A decoder that decodes block after block in this process."""

    def decode_blocks(blocks: list[np.ndarray]) -> Iterable[np.ndarray]:
        for rows in blocks:
            yield decode_block(model, sequences, rows, gamma, seed, max_tokens, device)

    return decode_blocks


def ray_decoder(
    address: str,
    model: Regenerator,
    sequences: Sequences,
    gamma: float,
    seed: int,
    max_tokens: int,
    device: torch.device,
    decode: Callable[..., np.ndarray] = decode_block,
) -> BlockDecoder:
    """Like :func:`local_decoder`, but on the workers of the Ray cluster at ``address``. The rows are exactly the same.

    Whole blocks are sent to the workers. A worker calls ``decode`` for each of its blocks.
    """
    work = partial(_decode_part, settings=(gamma, seed, max_tokens, device), decode=decode)

    def decode_blocks(blocks: list[np.ndarray]) -> Iterable[np.ndarray]:
        parts = [blocks[start : start + _BLOCKS_A_TASK] for start in range(0, len(blocks), _BLOCKS_A_TASK)]
        shared = (copy.deepcopy(model).cpu(), sequences)
        for decoded in map_on_ray(address, work, shared, parts, on_gpu=device.type == "cuda"):
            yield from decoded

    return decode_blocks


def _decode_part(
    shared: tuple[Regenerator, Sequences],
    blocks: list[np.ndarray],
    settings: tuple[float, int, int, torch.device],
    decode: Callable[..., np.ndarray],
) -> list[np.ndarray]:
    model, sequences = shared
    return [decode(model.to(settings[-1]), sequences, rows, *settings) for rows in blocks]


class _State:
    """The stored keys and values of the R rows that are not finished yet."""

    def __init__(self, model: Regenerator, source: Tensor, max_tokens: int) -> None:
        self.model = model
        memories = model.encode(Packed(source)).flatten(0, 1)  # [B K', L, D]
        self.memories = [layer.cross.keys_values(memories) for layer in model.decoder]
        self.source = source.repeat_interleave(model.diversity, dim=0)  # [R, L]
        self.allowed = model.choices(self.source)  # [R, L] source tokens not yet written
        _, heads, _, width = self.memories[0][0].shape
        shape = (len(self.source), heads, max_tokens, width)
        self.past = [(memories.new_zeros(shape), memories.new_zeros(shape)) for _ in model.decoder]
        self.alive = torch.arange(len(memories), device=source.device)  # indices of the unfinished rows

    def read(self, token: Tensor, step: int) -> Tensor:
        """The decoder's output after ``token`` [R] at position ``step``: [R, D]."""
        rows = Packed(token[:, None], start=step)
        hidden = self.model.embed(rows)  # [R, D]
        nothing_hidden = hidden.new_zeros(1, 1, 1)
        memory_bias = bias_of((self.source > 0)[:, None], self.model.heads, hidden)
        for layer, past, memory in zip(self.model.decoder, self.past, self.memories):
            hidden = layer(hidden, rows, nothing_hidden, partial(_keep, past, step), memory, memory_bias)
        return hidden

    def choose(self, hidden: Tensor, generative: Tensor, written: Tensor) -> Tensor:
        """The best token of each row [R]; the items in ``written`` [R, step] must not occur again."""
        token = torch.empty(len(hidden), dtype=torch.long, device=hidden.device)
        narrow, wide = (~generative).nonzero()[:, 0], generative.nonzero()[:, 0]
        vectors = self.model.embedding(self.source[narrow])  # [r, L, D]
        scores = (vectors @ hidden[narrow, :, None])[:, :, 0].masked_fill(~self.allowed[narrow], -torch.inf)
        token[narrow] = self.source[narrow].gather(1, scores.argmax(dim=1, keepdim=True))[:, 0]
        table = self.model.embedding.weight
        for part in wide.split(max(_LOGITS // len(table), 1)):
            scores = hidden[part] @ table.T  # [r, V + 2]
            scores[:, [0, self.model.sos]] = -torch.inf
            scores.scatter_(1, written[part], -torch.inf)
            token[part] = scores.argmax(dim=1)
        self.allowed &= self.source != token[:, None]
        return token

    def drop_finished(self, token: Tensor) -> Tensor:
        """Remove the rows whose ``token`` [R] is EOS. Return the tokens of the other rows."""
        going = (token != self.model.eos).nonzero()[:, 0]
        if len(going) < len(token):
            self.memories = [(k[going], v[going]) for k, v in self.memories]
            self.past = [(k[going], v[going]) for k, v in self.past]
            self.source, self.allowed, self.alive = self.source[going], self.allowed[going], self.alive[going]
        return token[going]


def _keep(past: tuple[Tensor, Tensor], step: int, *new: Tensor) -> tuple[Tensor, Tensor]:
    """Store the keys and values of ``step`` [R, heads, 1, d]; return all up to ``step`` [R, heads, step + 1, d]."""
    for kept, one in zip(past, new):
        kept[:, :, step] = one[:, :, 0]
    return past[0][:, :, : step + 1], past[1][:, :, : step + 1]
