"""Pre-norm Transformer blocks in Whisper's wiring: attention, optional reading of a memory, exact-GELU MLP."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codecsep.nn.attention import Attention, init_weights, key_mask
from codecsep.nn.kv_cache import KVCache


@dataclass
class TransformerConfig:
    """Sizes of a stack; the defaults are Whisper-medium's width with SLM-SS's 16 layers (section 2.2).

    `dropout` acts on the branches; `attention_dropout` on attention weights, which forgoes the fast attention kernels.
    """

    num_layers: int = 16
    width: int = 1024
    num_heads: int = 16
    ffn_width: int = 4096
    dropout: float = 0.0
    attention_dropout: float = 0.0


class EncoderBlock(nn.Module):
    """Self-attention and MLP.  [B, S, D] -> [B, S, D]."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.num_heads, config.attention_dropout)
        self.ffn_norm = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, config.ffn_width)
        self.down = nn.Linear(config.ffn_width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, mask: Tensor | None, causal: bool = False) -> Tensor:
        normed = self.attention_norm(hidden)
        hidden = hidden + self.dropout(self.attention(normed, normed, mask, causal))
        return self.ffn(hidden)

    def ffn(self, hidden: Tensor) -> Tensor:
        return hidden + self.dropout(self.down(F.gelu(self.up(self.ffn_norm(hidden)))))


class DecoderBlock(EncoderBlock):
    """Self-attention, cross-attention to a memory, MLP."""

    def __init__(self, config: TransformerConfig):
        super().__init__(config)
        self.memory_norm = nn.LayerNorm(config.width)
        self.memory_attention = Attention(config.width, config.num_heads, config.attention_dropout)

    def forward(self, hidden: Tensor, mask: Tensor | None, causal: bool, memory: Tensor, memory_mask: Tensor) -> Tensor:
        normed = self.attention_norm(hidden)
        hidden = hidden + self.dropout(self.attention(normed, normed, mask, causal))
        read = self.memory_attention(self.memory_norm(hidden), memory, memory_mask)
        return self.ffn(hidden + self.dropout(read))

    def step(self, hidden: Tensor, cache: KVCache, keys: Tensor, values: Tensor, memory_mask: Tensor) -> Tensor:
        """One position [B, 1, D], the past in `cache`, the memory already projected."""
        hidden = hidden + self.attention.step(self.attention_norm(hidden), cache)
        read = self.memory_attention.attend(self.memory_norm(hidden), keys, values, memory_mask, False)
        return self.ffn(hidden + read)


class Encoder(nn.Module):
    """A stack of `EncoderBlock`s that reports the hidden states after every block."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.blocks = nn.ModuleList(EncoderBlock(config) for _ in range(config.num_layers))
        self.apply(init_weights)

    def forward(self, hidden: Tensor, valid: Tensor) -> list[Tensor]:
        """hidden [B, T, D], valid [B, T] -> num_layers + 1 tensors [B, T, D], the input first."""
        states = [hidden]
        for block in self.blocks:
            states.append(block(states[-1], key_mask(valid)))
        return states


class Decoder(nn.Module):
    """A stack of `DecoderBlock`s and a final layer norm; causal for AR models, not causal for NAR models."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)
        self.apply(init_weights)

    def forward(self, hidden: Tensor, valid: Tensor | None, memory: Tensor, memory_valid: Tensor) -> Tensor:
        """hidden [B, S, D], memory [B, M, D] -> [B, S, D].

        valid [B, S]: every real position reads every real position (NAR).  valid None: position n reads 0..n (AR);
        padding then stands to the right of everything that is read and needs no mask.
        """
        mask = None if valid is None else key_mask(valid)
        for block in self.blocks:
            hidden = block(hidden, mask, valid is None, memory, key_mask(memory_valid))
        return self.norm(hidden)

    def start(self, memory: Tensor, memory_valid: Tensor, capacity: int = 256) -> DecoderState:
        """Project the memory once and make room for the steps to come."""
        projected = [block.memory_attention.project_memory(memory) for block in self.blocks]
        return DecoderState([KVCache(capacity) for _ in self.blocks], projected, key_mask(memory_valid))

    def step(self, hidden: Tensor, state: DecoderState) -> Tensor:
        """One position [B, 1, D] of the causal stack -> [B, 1, D]; advances `state`."""
        for block, cache, (keys, values) in zip(self.blocks, state.caches, state.memories, strict=True):
            hidden = block.step(hidden, cache, keys, values, state.memory_mask)
        return self.norm(hidden)


@dataclass
class DecoderState:
    """What a row carries from step to step: its past keys and values, and its projected memory."""

    caches: list[KVCache]
    memories: list[tuple[Tensor, Tensor]]
    memory_mask: Tensor

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows (int64 [B']), in this order."""
        for cache in self.caches:
            cache.keep(rows)
        self.memories = [(keys[rows], values[rows]) for keys, values in self.memories]
        self.memory_mask = self.memory_mask[rows]


def count_parameters(module: nn.Module) -> int:
    """Number of trainable and frozen parameters (buffers not counted)."""
    return sum(p.numel() for p in module.parameters())


def grid_positions(batch: int, size: int, device: torch.device) -> Tensor:
    """0..size-1 for every row, [B, S]."""
    return torch.arange(size, device=device).expand(batch, size)
