"""Conformer (Gulati et al. 2020): half an MLP, attention, convolution over time, half an MLP, norm.

As SpeechBrain has it, the convolution is followed by layer norm and not batch norm, and padding is zeroed before it: so
that a row does not depend on the others, nor on how far it was filled up.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from codecsep.nn.attention import Attention, init_weights, key_mask


@dataclass
class ConformerConfig:
    """Sizes of a stack; the defaults are those of DASB's separation recipe (`kernel`: frames, odd)."""

    num_layers: int = 6
    width: int = 256
    num_heads: int = 4
    ffn_width: int = 2048
    kernel: int = 31
    dropout: float = 0.1


class FeedForward(nn.Module):
    """Pre-norm MLP.  [B, T, D] -> [B, T, D], without the residual."""

    def __init__(self, config: ConformerConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, config.ffn_width)
        self.down = nn.Linear(config.ffn_width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.dropout(self.down(self.dropout(F.gelu(self.up(self.norm(hidden))))))


class Convolution(nn.Module):
    """Gate, depthwise convolution over time, layer norm, GELU.  [B, T, D], valid [B, T] -> [B, T, D]."""

    def __init__(self, config: ConformerConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.gate = nn.Linear(config.width, 2 * config.width)
        self.depthwise = nn.Conv1d(config.width, config.width, config.kernel, padding="same", groups=config.width)
        self.after = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        gated = F.glu(self.gate(self.norm(hidden)), -1) * valid[..., None]
        mixed = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        return self.dropout(self.out(F.gelu(self.after(mixed))))


class ConformerBlock(nn.Module):
    """[B, T, D], valid [B, T] -> [B, T, D]."""

    def __init__(self, config: ConformerConfig):
        super().__init__()
        self.before, self.behind = FeedForward(config), FeedForward(config)
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.num_heads)
        self.convolution = Convolution(config)
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        hidden = hidden + 0.5 * self.before(hidden)
        normed = self.attention_norm(hidden)
        hidden = hidden + self.dropout(self.attention(normed, normed, key_mask(valid)))
        hidden = hidden + self.convolution(hidden, valid)
        return self.norm(hidden + 0.5 * self.behind(hidden))


class Conformer(nn.Module):
    """A stack of blocks; every frame reads all valid frames."""

    def __init__(self, config: ConformerConfig):
        super().__init__()
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(config.num_layers))
        self.apply(init_weights)

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        """hidden [B, T, D], valid [B, T] -> [B, T, D]."""
        for block in self.blocks:
            hidden = block(hidden, valid)
        return hidden
