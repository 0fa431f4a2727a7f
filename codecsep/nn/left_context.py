"""Causal convolutions that go on where they stopped: the frames that a kernel still needs are kept on its left."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def repeat_first(frames: Tensor, size: int) -> Tensor:
    """What stands before the first chunk [B, T, D] of a signal: its first frame, `size` times [B, size, D]."""
    return frames[:, :1].expand(-1, size, -1)


def zeros_before(frames: Tensor, size: int) -> Tensor:
    """What stands before the first chunk [B, T, D] of a signal: silence [B, size, D]."""
    return frames.new_zeros(len(frames), size, frames.shape[2])


class CausalConv1d(nn.Conv1d):
    """A convolution over frames [B, T, D] that sees no later frame and carries its left context from chunk to chunk.

    The parameters are those of nn.Conv1d, so state dicts of networks that pad by hand load.  `start` says what stands
    before a signal (`repeat_first`, `zeros_before`).  Chunks must be multiples of the stride.
    """

    def __init__(self, width_in: int, width_out: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = True,
                 start=repeat_first):  # fmt: skip
        super().__init__(width_in, width_out, kernel, stride, groups=groups, bias=bias)
        self.start = start

    def forward(self, frames: Tensor, left: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """frames [B, T, D_in], left [B, kernel - 1, D_in] (None: a signal begins) -> ([B, T / stride, D_out], left)."""
        size = self.kernel_size[0] - 1
        before = self.start(frames, size) if left is None else left
        extended = torch.cat([before, frames], 1)
        hidden = super().forward(extended.transpose(1, 2)).transpose(1, 2)
        return hidden, extended[:, extended.shape[1] - size :]
