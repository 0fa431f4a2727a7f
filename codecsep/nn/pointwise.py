"""Small networks that treat each frame by itself: feed-forward, Snake, and a tanh in place of a norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DynamicTanh(nn.Module):
    """tanh(alpha x) with one learned alpha, in place of layer norm (Zhu et al. 2025, arXiv 2503.10622)."""

    def __init__(self, alpha: float = 0.5):
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), alpha))

    def forward(self, frames: Tensor) -> Tensor:
        return (self.alpha * frames).tanh()


class Snake(nn.Module):
    """x + sin^2(alpha x) / alpha with one alpha for each channel (Ziyin et al. 2020).  [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(width, 1))

    def forward(self, frames: Tensor) -> Tensor:
        alpha = self.alpha[:, 0]
        return frames + (alpha * frames).sin().square() / (alpha + 1e-9)


class FeedForward(nn.Module):
    """Linear, exact GELU, linear.  [.., D] -> [.., D]."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.in_proj = nn.Linear(width, hidden)
        self.out_proj = nn.Linear(hidden, width)

    def forward(self, frames: Tensor) -> Tensor:
        return self.out_proj(nn.functional.gelu(self.in_proj(frames)))
