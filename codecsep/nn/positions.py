"""Position embeddings, looked up by explicit position indices so that a model may count as it likes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from codecsep.errors import CodecsepError


class PositionError(CodecsepError):
    """A kind of positions that does not exist, or a position outside a table."""


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding of integer positions [...] -> [..., width] (Vaswani et al. 2017, halves not interleaved).

    Raises PositionError on an odd width.
    """
    if width % 2:
        what = f"sinusoidal positions need an even width, got {width}"
        raise PositionError("E506", what, "", "choose an even width")
    rates = torch.exp(torch.arange(width // 2, device=positions.device) * (-math.log(10000.0) / (width // 2 - 1)))
    angles = positions[..., None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], -1)


class LearnedPositions(nn.Module):
    """A trained table of absolute positions [max_positions, width], as in Whisper's decoder.

    A position outside the table raises PositionError: clamping would be silent.
    """

    def __init__(self, max_positions: int, width: int):
        super().__init__()
        self.table = nn.Embedding(max_positions, width)
        nn.init.normal_(self.table.weight, std=0.01)

    def forward(self, positions: Tensor) -> Tensor:
        if positions.numel() and int(positions.max()) >= self.table.num_embeddings:
            what = f"position {int(positions.max())} is outside the table of {self.table.num_embeddings}"
            fix = "set network.max_positions above the longest sequence and train again (stage 4)"
            raise PositionError("E507", what, "", fix)
        return self.table(positions)


class SinusoidalPositions(nn.Module):
    """Fixed sinusoids with one trained scale; no limit on length."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, positions: Tensor) -> Tensor:
        return self.scale * sinusoids(positions, self.width)
