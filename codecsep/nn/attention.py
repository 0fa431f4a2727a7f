"""Multi-head attention over a memory, in Whisper's wiring: the key projection has no bias."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from codecsep.errors import CodecsepError
from codecsep.nn.kv_cache import KVCache


class AttentionError(CodecsepError):
    """Sizes that attention cannot have."""


class Attention(nn.Module):
    """softmax(q k^T / sqrt(D / H)) v over `num_heads` heads.  Masks are bool, True where a key may be read."""

    def __init__(self, width: int, num_heads: int, dropout: float = 0.0):
        super().__init__()
        if width % num_heads:
            what = f"width {width} is not a multiple of num_heads {num_heads}"
            raise AttentionError("E506", what, "", "change one of them")
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def heads(self, hidden: Tensor) -> Tensor:
        """[B, S, D] -> [B, H, S, D / H]."""
        return hidden.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def project_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, M, D / H] of a memory [B, M, D]; computed once per decoded utterance."""
        return self.heads(self.key(memory)), self.heads(self.value(memory))

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        """queries [B, S, D], keys and values [B, H, M, D / H], mask broadcastable to [B, H, S, M] -> [B, S, D]."""
        mixed = F.scaled_dot_product_attention(
            self.heads(self.query(queries)),
            keys,
            values,
            attn_mask=mask,
            is_causal=causal,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def forward(self, queries: Tensor, memory: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """queries [B, S, D] read memory [B, M, D] -> [B, S, D]."""
        return self.attend(queries, *self.project_memory(memory), mask, causal)

    def step(self, queries: Tensor, cache: KVCache) -> Tensor:
        """One causal self-attention step: queries [B, 1, D], the past in `cache` -> [B, 1, D]."""
        keys, values = cache.append(*self.project_memory(queries))
        return self.attend(queries, keys, values, None, False)


def key_mask(valid: Tensor) -> Tensor:
    """valid [B, M] -> [B, 1, 1, M], the mask that hides padded keys from every query."""
    return valid[:, None, None, :]


def init_weights(module: nn.Module, std: float = 0.02) -> None:
    """Normal weights and zero biases for linear layers and embeddings (GPT-2's habit)."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=std)
