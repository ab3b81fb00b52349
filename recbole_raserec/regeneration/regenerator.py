"""The regenerator (arXiv 2405.17795): a Transformer that reads a sequence and writes a pattern that it contains.

One sequence allows many patterns. Its encoding is therefore spread to K' memories; in training a
condition encoder, which sees the pattern, says which mixture of them the decoder reads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_raserec.backbones.dropout import Dropout

EXTRA_TOKENS = 2  # SOS and EOS, numbered after the items


class Attention(nn.Module):
    """Multi-head attention whose keys and values can be kept."""

    def __init__(self, hidden_size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(hidden_size, hidden_size) for _ in range(4))
        self.dropout = Dropout(dropout)

    def split(self, x: Tensor) -> Tensor:
        """[B, L, D] -> [B, heads, L, D / heads]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of what is attended to: [B, L, D] -> twice [B, heads, L, D / heads]."""
        return self.split(self.key(x)), self.split(self.value(x))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> Tensor:
        """[B, T, D], keys and values [B, heads, L, D / heads], visible [B or 1, T or 1, L] -> [B, T, D]."""
        q = self.split(self.query(x))
        logits = (q * q.size(-1) ** -0.5) @ keys.transpose(-1, -2)  # [B, heads, T, L]
        weights = logits.masked_fill(~visible[:, None], torch.finfo(logits.dtype).min).softmax(dim=-1)
        return self.output((self.dropout(weights) @ values).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Post-norm Transformer layer; with ``cross`` it also attends to a memory."""

    def __init__(self, hidden_size: int, heads: int, inner_size: int, dropout: float, cross: bool = False) -> None:
        super().__init__()
        self.attention = Attention(hidden_size, heads, dropout)
        self.cross = Attention(hidden_size, heads, dropout) if cross else None
        self.feed_forward = nn.Sequential(
            nn.Linear(hidden_size, inner_size), nn.GELU(), Dropout(dropout), nn.Linear(inner_size, hidden_size)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_size) for _ in range(3 if cross else 2))
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        visible: Tensor,
        past: tuple[Tensor, Tensor] | None = None,
        memory: tuple[Tensor, Tensor] | None = None,
        memory_visible: Tensor | None = None,
    ) -> Tensor:
        """[B, T, D] -> [B, T, D].

        Parameters
        ----------
        visible : [B or 1, T or 1, L] positions each position may attend to.
        past : kept keys and values of all L positions, x's own included; by default those of x.
        memory : keys and values of the memory; ``memory_visible`` [B, 1, L'] where it is real.
        """
        keys, values = past or self.attention.keys_values(x)
        x = self.norms[0](x + self.dropout(self.attention(x, keys, values, visible)))
        if self.cross is not None:
            assert memory is not None and memory_visible is not None
            x = self.norms[1](x + self.dropout(self.cross(x, *memory, memory_visible)))
        return self.norms[-1](x + self.dropout(self.feed_forward(x)))


class Regenerator(nn.Module):
    """Encoder, diversity promoter, condition encoder and decoder over one table of item vectors.

    Parameters
    ----------
    item_vectors : [V, D] those of a trained backbone, row 0 padding; they are trained on.
    max_length : most items of a source.
    max_target : most items of a pattern or of a decoded row.
    diversity : K', memories a source is spread to.
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

    def embed(self, tokens: Tensor, start: int = 0) -> Tensor:
        """[B, L] tokens that stand from position ``start`` on -> [B, L, D]."""
        positions = torch.arange(start, start + tokens.size(1), device=tokens.device)
        return self.dropout(self.norm(self.embedding(tokens) + self.position(positions)))

    def encode(self, source: Tensor) -> Tensor:
        """[S, L] (SOS items EOS, 0 on the right) -> K' memories [S, L, K', D]."""
        hidden, real = self.embed(source), (source > 0)[:, None]
        for layer in self.encoder:
            hidden = layer(hidden, real)
        return self.promoter(hidden).unflatten(-1, (self.diversity, -1))

    def mixture(self, target: Tensor, temperature: float) -> Tensor:
        """[P, T] (SOS pattern EOS, 0 on the right) -> weights of the memories [P, K'], a Gumbel softmax."""
        hidden, real = self.embed(target), target > 0
        for layer in self.condition:
            hidden = layer(hidden, real[:, None])
        pooled = (hidden * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True)
        return F.gumbel_softmax(self.chooser(pooled), tau=temperature)

    def decode(self, target: Tensor, memory: Tensor, memory_real: Tensor) -> Tensor:
        """[P, T] tokens read so far, [P, L, D] and where it is real [P, L] -> [P, T, D]."""
        length = target.size(1)
        causal = torch.ones(1, length, length, dtype=torch.bool, device=target.device).tril()
        hidden = self.embed(target)
        for layer in self.decoder:
            hidden = layer(hidden, causal, None, layer.cross.keys_values(memory), memory_real[:, None])
        return hidden

    def loss(self, source: Tensor, of: Tensor, target: Tensor, temperature: float, entropy_weight: float) -> Tensor:
        """Mean restricted cross entropy of the target tokens + ``entropy_weight`` times the mixture's mean entropy.

        Parameters
        ----------
        source : [S, L] distinct sources, encoded once each.
        of : [P] row of each target's source.
        target : [P, T] SOS pattern EOS; every token of it but SOS is among its source's.
        """
        weights = self.mixture(target, temperature)  # [P, K']
        memories = self.encode(source).index_select(0, of)  # [P, L, K', D]
        memory = torch.einsum("pk,plkd->pld", weights, memories)
        read, wanted = target[:, :-1], target[:, 1:]
        hidden = self.decode(read, memory, source[of] > 0)
        return self.restricted_loss(hidden, source[of], wanted) + entropy_weight * _entropy(weights)

    def restricted_loss(self, hidden: Tensor, source: Tensor, wanted: Tensor) -> Tensor:
        """Mean cross entropy over the source's tokens only: [P, T, D], [P, L], [P, T] (0 = none) -> scalar."""
        choices = self.choices(source)
        logits = hidden @ self.embedding(source).transpose(1, 2)  # [P, T, L]
        logits = logits.masked_fill(~choices[:, None], torch.finfo(logits.dtype).min)
        place = ((source[:, None] == wanted[..., None]) & choices[:, None]).int().argmax(dim=-1)  # [P, T]
        real = wanted > 0
        return F.cross_entropy(logits[real], place[real])

    def choices(self, source: Tensor) -> Tensor:
        """[.., L] where the restricted softmax may look: each token of the source once, SOS and padding never."""
        same = source[..., None] == source[..., None, :]
        repeated = same.tril(-1).any(dim=-1)
        return (source > 0) & (source != self.sos) & ~repeated


def _entropy(weights: Tensor) -> Tensor:
    """Mean over the rows of - sum w log w: [P, K'] -> scalar."""
    return -(weights * weights.clamp(min=1e-12).log()).sum(dim=-1).mean()
