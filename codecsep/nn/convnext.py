"""ConvNeXt blocks over time (Liu et al. 2022, one-dimensional as in Vocos, Siuzdak 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a position-wise MLP, on a residual path.

    Input and output [B, T, D].  `valid` [B, T, 1] (1 = real frame) is applied before the convolution, so that a padded
    row sees the zeros it would see at its end when it is alone.
    """

    def __init__(self, width: int, kernel: int = 7, expansion: int = 3, scale: float = 0.3):
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
        hidden = self.depthwise((frames * valid).transpose(1, 2)).transpose(1, 2)
        hidden = self.down(nn.functional.gelu(self.up(self.norm(hidden))))
        return frames + self.scale * hidden


class ConvNeXtStack(nn.Module):
    """`num_blocks` blocks in a row, then layer norm.  [B, T, D] -> [B, T, D]."""

    def __init__(self, num_blocks: int, width: int, kernel: int = 7, expansion: int = 3):
        super().__init__()
        scale = min(0.3, 1.0 / max(num_blocks, 1))
        self.blocks = nn.ModuleList(ConvNeXtBlock(width, kernel, expansion, scale) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(width)

    def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
        for block in self.blocks:
            frames = block(frames, valid)
        return self.norm(frames)
