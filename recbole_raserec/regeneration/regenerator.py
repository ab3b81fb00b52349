"""The regenerator (arXiv 2405.17795): a Transformer that reads a sequence and writes a pattern of it.

One sequence contains many patterns. So its encoding is mapped to K' memories. In training, a condition encoder reads
the pattern and decides which mixture of the memories the decoder reads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_raserec.nn.dropout import Dropout
from recbole_raserec.regeneration.transformer import Layer, Packed, bias_of

EXTRA_TOKENS = 2  # SOS and EOS, numbered after the items


class Regenerator(nn.Module):
    """Encoder, diversity promoter, condition encoder and decoder over one table of item vectors.

    Parameters
    ----------
    item_vectors : [V, D] item vectors of a trained backbone, row 0 is padding. Training continues from them.
    max_length : largest number of items in a source.
    max_target : largest number of items in a pattern or in a decoded row.
    diversity : K', number of memories of a source.
    """

    def __init__(
        self,
        item_vectors: Tensor,
        max_length: int,
        max_target: int,
        diversity: int = 5,
        heads: int = 2,
        layers: int = 2,
        inner_size: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        items, size = item_vectors.shape
        self.sos, self.eos, self.diversity, self.max_length = items, items + 1, diversity, max_length
        self.heads = heads
        self.embedding = nn.Embedding(items + EXTRA_TOKENS, size, padding_idx=0)
        self.position = nn.Embedding(max(max_length, max_target) + EXTRA_TOKENS, size)
        self.norm, self.dropout = nn.LayerNorm(size), Dropout(dropout)
        sizes = (size, heads, inner_size, dropout)
        self.encoder = nn.ModuleList(Layer(*sizes) for _ in range(layers))
        self.condition = nn.ModuleList(Layer(*sizes) for _ in range(layers))
        self.decoder = nn.ModuleList(Layer(*sizes, cross=True) for _ in range(layers))
        spread = diversity * size
        self.promoter = nn.Sequential(nn.Linear(size, spread), nn.ReLU(), nn.Linear(spread, spread))
        self.chooser = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, diversity))
        nn.init.normal_(self.position.weight, std=0.02)
        with torch.no_grad():
            nn.init.normal_(self.embedding.weight, std=0.02)
            self.embedding.weight[:items] = item_vectors
            self.embedding.weight[0] = 0

    def embed(self, rows: Packed, vectors: Tensor | None = None) -> Tensor:
        """The input [N, D] of the encoders and the decoder; ``vectors`` [N, D] are token vectors already looked up."""
        vectors = self.embedding(rows.tokens) if vectors is None else vectors
        return self.dropout(self.norm(vectors + self.position(rows.position)))

    def encode(self, source: Packed, vectors: Tensor | None = None) -> Tensor:
        """S rows (SOS items EOS) -> K' memories of each row [S, K', L, D]."""
        hidden = self.embed(source, vectors)
        bias = bias_of(source.real[:, None], self.heads, hidden)
        for layer in self.encoder:
            hidden = layer(hidden, source, bias)
        return source.pad_each(self.promoter(hidden).unflatten(-1, (self.diversity, -1)))

    def mixture(self, target: Packed, temperature: float, vectors: Tensor | None = None) -> Tensor:
        """P rows (SOS pattern EOS) -> coefficients of the memories [P, K'], a Gumbel softmax."""
        hidden, real = self.embed(target, vectors), target.real
        bias = bias_of(real[:, None], self.heads, hidden)
        for layer in self.condition:
            hidden = layer(hidden, target, bias)
        pooled = (target.pad(hidden) * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True)
        return F.gumbel_softmax(self.chooser(pooled), tau=temperature)

    def decode(self, read: Packed, memory: Tensor, memory_real: Tensor, vectors: Tensor | None = None) -> Tensor:
        """P rows that are read, their memory [P, L, D] and its real positions [P, L] -> [P, T, D]."""
        length = read.real.size(1)
        hidden = self.embed(read, vectors)
        causal = torch.ones(length, length, dtype=torch.bool, device=memory.device).tril()
        bias = bias_of(causal.expand(len(memory), -1, -1), self.heads, hidden)
        memory_bias = bias_of(memory_real[:, None], self.heads, hidden)
        for layer in self.decoder:
            hidden = layer(hidden, read, bias, None, layer.cross.keys_values(memory), memory_bias)
        return read.pad(hidden)

    def loss(self, source: Tensor, of: Tensor, target: Tensor, temperature: float, entropy_weight: float) -> Tensor:
        """Mean restricted cross entropy of the target tokens + ``entropy_weight`` times the mixture's mean entropy.

        Parameters
        ----------
        source : [S, L] distinct sources; each is encoded once.
        of : [P] row of each target's source, ascending.
        target : [P, T] SOS pattern EOS. The source contains every token of it except SOS.
        """
        read, following = target[:, :-1], target[:, 1:]
        sources, targets, reads = Packed(source), Packed(target), Packed(read, following > 0)
        tokens = [each.tokens for each in (sources, targets, reads)]
        vectors = self.embedding(torch.cat(tokens)).split([len(each) for each in tokens])  # one lookup, one gradient
        weights = self.mixture(targets, temperature, vectors[1])  # [P, K']
        memory = _mixed(self.encode(sources, vectors[0]), weights, of)
        hidden = self.decode(reads, memory, sources.real[of], vectors[2])
        choices = F.embedding(of, sources.pad(vectors[0]).flatten(1)).unflatten(1, (source.size(1), -1))
        return self.restricted_loss(hidden, choices, source[of], following) + entropy_weight * _entropy(weights)

    def restricted_loss(self, hidden: Tensor, vectors: Tensor, source: Tensor, following: Tensor) -> Tensor:
        """Mean cross entropy with a softmax over the source's tokens only.

        Parameters
        ----------
        hidden : [P, T, D] outputs of the decoder.
        vectors, source : [P, L, D] and [P, L], the source's tokens.
        following : [P, T] the next token, 0 where there is none.
        """
        choices = self.choices(source)
        rows = Packed(following)
        logits = rows.pick((hidden @ vectors.transpose(1, 2)).masked_fill(~choices[:, None], -torch.inf))  # [N, L]
        place = ((source[:, None] == following[..., None]) & choices[:, None]).int().argmax(dim=-1)  # [P, T]
        return F.cross_entropy(logits, place[rows.real])

    def choices(self, source: Tensor) -> Tensor:
        """[.., L] positions of the restricted softmax: each token of the source once, without SOS and padding."""
        same = source[..., None] == source[..., None, :]
        repeated = same.tril(-1).any(dim=-1)
        return (source > 0) & (source != self.sos) & ~repeated


def _mixed(memories: Tensor, weights: Tensor, of: Tensor) -> Tensor:
    """Each pair's mixture of its source's memories: [S, K', L, D], [P, K'], ascending rows [P] -> [P, L, D].

    All pairs of a source are mixed together, because it takes longer to copy the K' memories to each pair.
    """
    sources, diversity, length, size = memories.shape
    first = torch.searchsorted(of, torch.arange(sources, device=of.device))
    nth = torch.arange(len(of), device=of.device) - first[of]
    most = int(nth.max()) + 1
    mix = weights.new_zeros(sources, most, diversity).index_put((of, nth), weights)
    mixed = torch.bmm(mix, memories.flatten(2))  # [S, most, L D]
    return F.embedding(of * most + nth, mixed.flatten(0, 1)).view(-1, length, size)


def _entropy(weights: Tensor) -> Tensor:
    """Mean over the rows of - sum w log w: [P, K'] -> scalar."""
    return -(weights * weights.clamp(min=1e-12).log()).sum(dim=-1).mean()
