"""What mixture encoders share that put a Transformer over frames of their own making (fbank, mini_encoder)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from codecsep.nn.positions import sinusoids
from codecsep.nn.transformer import grid_positions


class FrameEncoder(nn.Module):
    """A subclass sets `config` (with a part `transformer`) and `transformer` (`nn.transformer.Encoder`)."""

    @property
    def width(self) -> int:
        return self.config.transformer.width

    @property
    def num_states(self) -> int:
        """Number of hidden states: the Transformer's input and every layer's output."""
        return self.config.transformer.num_layers + 1

    def states(self, frames: Tensor, valid: Tensor) -> Tensor:
        """frames [B, T, width], valid [B, T] -> [num_states, B, T, width].  Positions count from 1, as SOT times do."""
        places = grid_positions(*valid.shape, frames.device) + 1
        return torch.stack(self.transformer(frames + sinusoids(places, self.width).to(frames), valid))
