"""Activations that fit a codec's: Snake for DAC, ELU for EnCodec."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["snake", "elu"]


class Snake(nn.Module):
    """x + sin^2(alpha x) / alpha with one trained alpha per channel (Ziyin et al. 2020), as in DAC: alpha starts at 1,
    and 1e-9 is added to it where it divides.

    alpha is one-dimensional, so that the optimiser decays it no more than a bias (`train/optim.py`).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, ...] -> the same shape."""
        alpha = self.alpha.view(-1, *[1] * (x.dim() - 2))
        return x + (alpha * x).sin().square() / (alpha + 1e-9)


def make_activation(kind: Kind, channels: int) -> nn.Module:
    """The activation called `kind` for [B, channels, ...]."""
    return Snake(channels) if kind == "snake" else nn.ELU()
