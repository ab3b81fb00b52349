"""What mining, the regenerator and its decoding are timed beside: Seq2Pat, and plain loops over padded rows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import ours
from benchmarks.ours_regeneration import pattern_pairs, regenerator, trained_regenerator
from benchmarks.peers import Timing, timed_batches
from recbole_raserec.data.patterns import mine_patterns
from recbole_raserec.regeneration.decoding import source_tokens
from recbole_raserec.regeneration.regenerator import Packed, Regenerator
from recbole_raserec.regeneration.trainer import target_tokens

PEER_SEQUENCES = 20  # sequences that are decoded, one at a time


def mining(data_path: Path, name: str, repeats: int) -> Timing:
    """Mining by Seq2Pat. Its patterns must equal ours."""
    from sequential.seq2pat import Seq2Pat

    training = ours.load(data_path, name)[1].build()[0].sequences.training_only()
    lists = [part.tolist() for part in np.split(training.items, training.offsets[1:-1]) if len(part)]
    found: list[list[int]] = []

    def mine() -> None:
        found[:] = Seq2Pat(sequences=lists, max_span=5, n_jobs=os.cpu_count()).get_patterns(min_frequency=2)

    seconds = ours.repeat(mine, repeats)
    patterns = mine_patterns(training)
    mined = np.split(patterns.items, patterns.offsets[1:-1])
    theirs = {(*pattern[:-1], pattern[-1]) for pattern in found}  # the last number is the support
    assert theirs == {(*items.tolist(), support) for items, support in zip(mined, patterns.support.tolist())}
    return seconds, 1.0


class PlainRegenerator(nn.Module):
    """The same network with torch's own layers. Everything is padded; all logits are computed, then masked."""

    def __init__(self, model: Regenerator) -> None:
        super().__init__()
        items, size = model.embedding.weight.shape
        self.sos, self.diversity = model.sos, model.diversity
        self.embedding, self.position = nn.Embedding(items, size, padding_idx=0), nn.Embedding(100, size)
        self.norm, self.dropout = nn.LayerNorm(size), nn.Dropout(0.5)
        settings = {"activation": "gelu", "batch_first": True}
        layer = nn.TransformerEncoderLayer(size, 2, 256, 0.5, **settings)
        self.encoder, self.condition = (nn.TransformerEncoder(layer, 2, enable_nested_tensor=False) for _ in range(2))
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(size, 2, 256, 0.5, **settings), 2)
        spread = self.diversity * size
        self.promoter = nn.Sequential(nn.Linear(size, spread), nn.ReLU(), nn.Linear(spread, spread))
        self.chooser = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, self.diversity))

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.norm(self.embedding(tokens) + self.position.weight[: tokens.size(1)]))

    def loss(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        hidden = self.condition(self.embed(target), src_key_padding_mask=target == 0)
        pooled = (hidden * (target > 0)[..., None]).sum(dim=1) / (target > 0).sum(dim=1, keepdim=True)
        weights = F.gumbel_softmax(self.chooser(pooled), tau=1.0)
        encoded = self.promoter(self.encoder(self.embed(source), src_key_padding_mask=source == 0))
        memory = torch.einsum("pk,plkd->pld", weights, encoded.unflatten(-1, (self.diversity, -1)))
        read, wanted = target[:, :-1], target[:, 1:]
        future = torch.ones(read.size(1), read.size(1), dtype=torch.bool).triu(1)
        hidden = self.decoder(self.embed(read), memory, future, memory_key_padding_mask=source == 0)
        logits = hidden @ self.embedding.weight.T
        allowed = torch.zeros(len(source), logits.size(-1), dtype=torch.bool).scatter_(1, source, True)
        allowed[:, [0, self.sos]] = False
        logits = logits.masked_fill(~allowed[:, None], torch.finfo(logits.dtype).min)
        entropy = -(weights * weights.clamp(min=1e-12).log()).sum(dim=-1).mean()
        return F.cross_entropy(logits[wanted > 0], wanted[wanted > 0]) + entropy


def regenerator_epoch(data_path: Path, name: str, repeats: int) -> Timing:
    """Each pair encodes its source again, padded to the maximum."""
    config, dataset, pairs = pattern_pairs(data_path, name)
    ids = regenerator(config, dataset.item_num)
    model = PlainRegenerator(ids)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98))
    everything = np.random.default_rng(0).permutation(len(pairs.sequence))
    width = ids.max_length + 2

    def step(rows: np.ndarray) -> None:
        source = source_tokens(pairs.sequences, pairs.sequence[rows], ids)
        source = F.pad(source, (0, width - source.size(1)))
        target = target_tokens(pairs.patterns, pairs.pattern[rows], ids)
        optimizer.zero_grad()
        model.loss(source, target).backward()
        optimizer.step()

    torch.autograd.set_detect_anomaly(False)
    model.train()
    return timed_batches(np.array_split(everything, len(everything) // 256), step, 2 * repeats)


def decoding(data_path: Path, name: str, repeats: int) -> Timing:
    """Decode one sequence and one memory at a time. The whole row is read again for every token."""
    config, dataset, pairs = pattern_pairs(data_path, name)
    model = trained_regenerator(config, dataset, pairs)
    some = np.random.default_rng(0).choice(len(pairs.sequences), (repeats, PEER_SEQUENCES), replace=False)

    @torch.no_grad()
    def decode_one(number: int) -> None:
        source = source_tokens(pairs.sequences, np.array([number]), model)
        for memory in range(model.diversity):
            encoded = model.encode(Packed(source))[:, memory]
            row: list[int] = []
            while len(row) < config["decode_max_length"]:
                read = torch.tensor([[model.sos, *row]])
                hidden = model.decode(Packed(read), encoded, source > 0)[0, -1]
                logits = hidden @ model.embedding.weight.T
                banned = {0, model.sos, *row}
                if len(row) < 2:
                    banned |= set(range(len(logits))) - set(source[0].tolist())
                logits[sorted(banned)] = -torch.inf
                token = int(logits.argmax())
                if token == model.eos:
                    break
                row.append(token)

    seconds = []
    for numbers in some:
        seconds += ours.repeat(lambda numbers=numbers: [decode_one(number) for number in numbers], 1)
    return seconds, PEER_SEQUENCES / len(pairs.sequences)


STAGES = {stage.__name__: stage for stage in (mining, regenerator_epoch, decoding)}
