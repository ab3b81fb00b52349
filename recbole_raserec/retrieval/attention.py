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

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, real: Tensor) -> Tensor:
        """[B, D], [B, K, D], [B, K, D] and [B, K], True where there is a memory -> [B, D]."""
        q = self.query(query).unflatten(-1, (self.heads, -1))  # [B, heads, D / heads]
        w_k = self.key.weight.unflatten(0, (self.heads, -1))  # [heads, D / heads, D]
        folded = torch.einsum("bhc,hcd->bhd", q, w_k)  # [B, heads, D]
        logits = folded @ keys.transpose(1, 2) * self.scale  # [B, heads, K]
        lowest = torch.finfo(logits.dtype).min
        weights = F.softmax(logits.masked_fill(~real[:, None], lowest), dim=-1)
        weights = self.weight_dropout(weights)
        mixed = weights @ values  # [B, heads, D]
        w_v = self.value.weight.unflatten(0, (self.heads, -1))
        context = torch.einsum("bhd,hcd->bhc", mixed, w_v)  # [B, heads, D / heads]
        context = context + self.value.bias.unflatten(0, (self.heads, -1)) * weights.sum(-1, keepdim=True)
        return self.output_dropout(self.output(context.flatten(1)))


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

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, real: Tensor) -> Tensor:
        between = self.feed_forward(self.first(query, keys, values, real))
        return self.second(between, keys, values, real)


class RetrievalAugmentation(nn.Module):
    """h~ = alpha h + (1 - alpha) (beta branch(h, H, V) + (1 - beta) branch'(h, V, H)).

    With beta = 1 the second branch does not exist. A query without memories keeps its h.
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

    def forward(self, h: Tensor, sequences: Tensor, targets: Tensor, real: Tensor) -> Tensor:
        """Augment user vectors.

        Parameters
        ----------
        h : [B, D] user vectors of the backbone.
        sequences, targets : [B, K, D] vectors H of the retrieved prefixes, and embeddings V of their targets.
        real : [B, K] True where there is a memory.

        Returns
        -------
        [B, D]
        """
        retrieved = self.sequence_branch(h, sequences, targets, real)
        if self.target_branch is not None:
            swapped = self.target_branch(h, targets, sequences, real)
            retrieved = self.beta * retrieved + (1 - self.beta) * swapped
        augmented = self.alpha * h + (1 - self.alpha) * retrieved
        return torch.where(real.any(dim=1, keepdim=True), augmented, h)
