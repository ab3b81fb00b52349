"""Retrieval-augmented user vectors: the cross attention of section 3.3.

h' = CMHA2(FFN(CMHA1(h, H, V)), H, V) and h~ = alpha h + (1 - alpha) h'. The query is h, the keys H are the vectors of
the retrieved prefixes, and the values V are the embeddings of their target items.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_raserec.nn.dropout import Dropout


class CrossAttention(nn.Module):
    """Multi-head attention of one query over K memories, without residual connection and norm.

    H and V are constant in fine-tuning, so their projections are moved to the query's side:
    (h W_q)(H W_k)^T = (h W_q W_k^T) H^T and sum_k a_k (V_k W_v + b_v) = (sum_k a_k V_k) W_v + b_v sum_k a_k.
    This is the same function with K times less arithmetic. The key bias is left out, because it would shift all
    K logits equally.
    """

    def __init__(self, hidden_size: int, heads: int, dropout: float, tau: float) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1.0 / (tau * (hidden_size // heads) ** 0.5)
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size, bias=False)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)
        self.weight_dropout = Dropout(dropout)
        self.output_dropout = Dropout(dropout)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, real: Tensor, trust: Tensor | None = None) -> Tensor:
        """[B, D], [B, K, D], [B, K, D] and [B, K], True where there is a memory -> [B, D]. ``trust`` as below."""
        weights = self.weight_dropout(self.weights(query, keys, real, trust))
        mixed = weights @ values  # [B, heads, D]
        w_v = self.value.weight.unflatten(0, (self.heads, -1))
        context = torch.einsum("bhd,hcd->bhc", mixed, w_v)  # [B, heads, D / heads]
        context = context + self.value.bias.unflatten(0, (self.heads, -1)) * weights.sum(-1, keepdim=True)
        return self.output_dropout(self.output(context.flatten(1)))

    def weights(self, query: Tensor, keys: Tensor, real: Tensor, trust: Tensor | None = None) -> Tensor:
        """[B, heads, K] share of each memory in each head; a row's shares sum to 1.

        ``trust`` [B, K] is how much a memory counts, as if there were so many of it; None is 1 for all.
        """
        q = self.query(query).unflatten(-1, (self.heads, -1))  # [B, heads, D / heads]
        w_k = self.key.weight.unflatten(0, (self.heads, -1))  # [heads, D / heads, D]
        folded = torch.einsum("bhc,hcd->bhd", q, w_k)  # [B, heads, D]
        logits = folded @ keys.transpose(1, 2) * self.scale  # [B, heads, K]
        if trust is not None:
            logits = logits + trust.log()[:, None]
        lowest = torch.finfo(logits.dtype).min
        return F.softmax(logits.masked_fill(~real[:, None], lowest), dim=-1)

    def parts(
        self, query: Tensor, keys: Tensor, values: Tensor, real: Tensor, trust: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What each memory adds to the output without dropout. The output is the sum over K and a constant.

        Returns
        -------
        weights : [B, heads, K] as in :meth:`weights`.
        parts : [B, K, D].
        """
        weights = self.weights(query, keys, real, trust)
        projected = F.linear(values, self.value.weight).unflatten(-1, (self.heads, -1))  # [B, K, heads, D / heads]
        return weights, F.linear((projected * weights.transpose(1, 2)[..., None]).flatten(2), self.output.weight)


class FeedForward(nn.Module):
    """LayerNorm(x + dropout(Linear(GELU(Linear(x)))))."""

    def __init__(self, hidden_size: int, inner_size: int, dropout: float, eps: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(hidden_size, inner_size), nn.Linear(inner_size, hidden_size)
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(hidden_size, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.dropout(self.outer(F.gelu(self.inner(x)))))


class Branch(nn.Module):
    """CMHA2(FFN(CMHA1(query, keys, values)), keys, values)."""

    def __init__(self, hidden_size: int, heads: int, inner: int, dropout: float, tau: float, eps: float) -> None:
        super().__init__()
        self.first = CrossAttention(hidden_size, heads, dropout, tau)
        self.feed_forward = FeedForward(hidden_size, inner, dropout, eps)
        self.second = CrossAttention(hidden_size, heads, dropout, tau)

    def forward(self, query: Tensor, *memories: Tensor | None) -> Tensor:
        """``memories`` are keys, values, real and trust of :meth:`CrossAttention.forward`."""
        return self.second(self._between(query, *memories), *memories)

    def _between(self, query: Tensor, *memories: Tensor | None) -> Tensor:
        return self.feed_forward(self.first(query, *memories))

    def parts(self, query: Tensor, *memories: Tensor | None) -> tuple[Tensor, Tensor]:
        """As :meth:`CrossAttention.parts`, of the second attention, whose output is the branch's."""
        return self.second.parts(self._between(query, *memories), *memories)


class RetrievalAugmentation(nn.Module):
    """h~ = alpha h + (1 - alpha) (beta branch(h, H, V) + (1 - beta) branch'(h, V, H)).

    With beta = 1 the second branch does not exist. A query without memories keeps its h. Memories that count less than
    one memory together move h so much less.
    """

    def __init__(
        self,
        hidden_size: int,
        heads: int = 2,
        inner_size: int = 256,
        dropout: float = 0.5,
        tau: float = 1.0,
        alpha: float = 0.5,
        beta: float = 1.0,
        initializer_range: float = 0.02,
        layer_norm_eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.initializer_range = alpha, beta, initializer_range
        sizes = (hidden_size, heads, inner_size, dropout, tau, layer_norm_eps)
        self.sequence_branch = Branch(*sizes)
        self.target_branch = Branch(*sizes) if beta < 1 else None
        self.apply(self._init_weights)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=self.initializer_range)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(
        self, h: Tensor, sequences: Tensor, targets: Tensor, real: Tensor, trust: Tensor | None = None
    ) -> Tensor:
        """Augment user vectors.

        Parameters
        ----------
        h : [B, D] user vectors of the backbone.
        sequences, targets : [B, K, D] vectors H of the retrieved prefixes, and embeddings V of their targets.
        real : [B, K] True where there is a memory.
        trust : [B, K] how much each memory counts, over 0 and at most 1; None is 1 for all.

        Returns
        -------
        [B, D]
        """
        retrieved = self.sequence_branch(h, sequences, targets, real, trust)
        if self.target_branch is not None:
            swapped = self.target_branch(h, targets, sequences, real, trust)
            retrieved = self.beta * retrieved + (1 - self.beta) * swapped
        augmented = self.alpha * h + (1 - self.alpha) * retrieved
        if trust is not None:
            augmented = torch.lerp(h, augmented, together(trust, real))
        return torch.where(real.any(dim=1, keepdim=True), augmented, h)

    def parts(
        self, h: Tensor, sequences: Tensor, targets: Tensor, real: Tensor, trust: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What each memory adds to h~, without dropout: h~ is :meth:`own` h, the parts, and a constant.

        This decomposition is exact. The attention's weights depend on all memories; given them, h~ is linear in the
        memories' values.

        Parameters
        ----------
        h, sequences, targets, real, trust : as in :meth:`forward`.

        Returns
        -------
        shares : [B, K] attention of each memory, the mean over heads and branches; they sum to 1 for each row.
        parts : [B, K, D].
        """
        weights, parts = self.sequence_branch.parts(h, sequences, targets, real, trust)
        shares = weights.mean(dim=1)
        if self.target_branch is not None:
            others, swapped = self.target_branch.parts(h, targets, sequences, real, trust)
            shares = self.beta * shares + (1 - self.beta) * others.mean(dim=1)
            parts = self.beta * parts + (1 - self.beta) * swapped
        moved = (1 - self.alpha) * parts * real[..., None]
        return shares * real, moved if trust is None else moved * together(trust, real)[..., None]

    def own(self, real: Tensor, trust: Tensor | None) -> Tensor | float:
        """[B, 1], or a number for all: the factor of h in h~, where there is a memory."""
        return self.alpha if trust is None else 1 - (1 - self.alpha) * together(trust, real)


def together(trust: Tensor, real: Tensor) -> Tensor:
    """[B, 1] how much the memories of each row, [B, K] both, count together, but not more than one memory."""
    return (trust * real).sum(dim=1, keepdim=True).clamp(max=1)
