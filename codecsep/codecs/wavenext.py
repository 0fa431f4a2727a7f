"""Causal WaveNeXt (Okamoto et al. 2023): ConvNeXt blocks at frame rate, and a linear layer that writes the waveform.

Names of parameters are those of lucadellalib/focalcodec, whose weights load.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codecsep.nn.left_context import CausalConv1d, zeros_before


@dataclass
class WaveNeXtConfig:
    """Sizes of the decoder.  `hop`: samples that each frame writes."""

    layers: int = 8
    width: int = 1024
    ffn_width: int = 2048
    kernel: int = 7
    hop: int = 480


class ConvNeXtBlock(nn.Module):
    """Causal depthwise convolution, layer norm and feed-forward network, scaled, on a residual path."""

    def __init__(self, config: WaveNeXtConfig):
        super().__init__()
        width = config.width
        self.gamma = nn.Parameter(torch.full((width,), 1 / config.layers))
        self.dwconv = CausalConv1d(width, width, config.kernel, groups=width, start=zeros_before)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, config.ffn_width)
        self.pwconv2 = nn.Linear(config.ffn_width, width)

    def forward(self, frames: Tensor, left: Tensor | None = None) -> tuple[Tensor, Tensor]:
        hidden, left = self.dwconv(frames, left)
        hidden = self.pwconv2(nn.functional.gelu(self.pwconv1(self.norm(hidden))))
        return frames + self.gamma * hidden, left


class Backbone(nn.Module):
    """Features [B, T, width_in] -> [B, T, width]."""

    def __init__(self, width_in: int, config: WaveNeXtConfig):
        super().__init__()
        self.embedding = CausalConv1d(width_in, config.width, config.kernel, start=zeros_before)
        self.input_norm = nn.LayerNorm(config.width, eps=1e-6)
        self.layers = nn.ModuleList(ConvNeXtBlock(config) for _ in range(config.layers))
        self.output_norm = nn.LayerNorm(config.width, eps=1e-6)

    def forward(self, frames: Tensor, left: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        frames, last = self.embedding(frames, left[0] if left else None)
        frames, kept = self.input_norm(frames), [last]
        for index, layer in enumerate(self.layers):
            frames, last = layer(frames, left[index + 1] if left else None)
            kept.append(last)
        return self.output_norm(frames), kept


class Head(nn.Module):
    """Frames [B, T, width] -> samples [B, T * hop] in -1 .. 1: no overlap, every frame writes its own."""

    def __init__(self, config: WaveNeXtConfig):
        super().__init__()
        self.proj = nn.Linear(config.width, config.hop)

    def forward(self, frames: Tensor) -> Tensor:
        return self.proj(frames).flatten(1).clamp(-1, 1)


class WaveNeXt(nn.Module):
    """Features [B, T, width_in] -> waveform [B, T * hop], and the left contexts to go on from."""

    def __init__(self, width_in: int, config: WaveNeXtConfig):
        super().__init__()
        self.backbone = Backbone(width_in, config)
        self.head = Head(config)

    def forward(self, features: Tensor, left: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        frames, left = self.backbone(features, left)
        return self.head(frames), left
