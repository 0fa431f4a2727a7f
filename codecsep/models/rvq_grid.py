"""RVQ-Grid (Interspeech 2026; a demo page, no code): separation behind the codec's quantiser, where Codecformer loses.

The code vectors of a mixture, level by level, are a grid of K levels x T frames.  A network reads it along both axes
and gives one mask per speaker and level; the masked levels are summed and decoded:

    codes -> vectors [K, T, D] -> 1x1 2-D conv D -> C -> L blocks of (BiLSTM along levels, BiLSTM along time)
        -> 1x1 2-D conv C -> D per speaker -> activation = masks;   estimate = sum over levels of mask * vector

Published: the order of the parts, the sizes (defaults: DAC at 16 kHz; EnCodec: 32 levels, D 128, L 16, C 128, ELU) and
the number of parameters.  Ours: kernels of 1x1, LSTMs of C units in each direction, a layer norm before and a linear
layer 2C -> C after each of them, residual around both.  With these the counts come out as published: 58.3 M for DAC,
9.6 M for EnCodec.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from codecsep.codecs.base import Codec
from codecsep.models.base import ModelError
from codecsep.models.latent_separator import LatentConfig, LatentSeparator
from codecsep.nn.snake import Kind, make_activation


@dataclass
class Config(LatentConfig):
    """num_codebooks: levels of the codec that make the grid, the lowest ones."""

    num_codebooks: int = 12
    width: int = 512
    num_blocks: int = 6
    activation: Kind = "snake"


class AxisLSTM(nn.Module):
    """x + linear(BiLSTM(norm(x))) along the second axis of [B, S, C]."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, S, C], valid steps of each row [B] (None: all) -> [B, S, C]; the way back starts at a row's own end."""
        normed = self.norm(x)
        if lengths is None:
            return x + self.linear(self.lstm(normed)[0])
        packed = pack_padded_sequence(normed, lengths.cpu(), batch_first=True, enforce_sorted=False)
        read, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        return x + self.linear(read)


class DualAxisBlock(nn.Module):
    """Along the levels of each frame, then along the frames of each level.  [B, K, T, C] -> [B, K, T, C]."""

    def __init__(self, width: int):
        super().__init__()
        self.levels, self.frames = AxisLSTM(width), AxisLSTM(width)

    def forward(self, x: Tensor, frame_lengths: Tensor) -> Tensor:
        batch, levels, frames, _ = x.shape
        x = self.levels(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (batch, frames)).transpose(1, 2)
        x = self.frames(x.flatten(0, 1), frame_lengths.repeat_interleave(levels))
        return x.unflatten(0, (batch, levels))


class GridNetwork(nn.Module):
    """Code vectors [B, K, T, D], frame_lengths [B] -> masks [B, N, K, T, D]."""

    def __init__(self, config: Config):
        super().__init__()
        self.num_speakers = config.num_speakers
        self.enter = nn.Conv2d(config.latent_size, config.width, 1)
        self.blocks = nn.ModuleList(DualAxisBlock(config.width) for _ in range(config.num_blocks))
        self.leave = nn.Conv2d(config.width, config.latent_size * config.num_speakers, 1)
        self.activation = make_activation(config.activation, config.latent_size)

    def forward(self, vectors: Tensor, frame_lengths: Tensor) -> Tensor:
        hidden = self.enter(vectors.movedim(-1, 1)).movedim(1, -1)
        for block in self.blocks:
            hidden = block(hidden, frame_lengths)
        speakers = self.leave(hidden.movedim(-1, 1)).unflatten(1, (self.num_speakers, -1)).flatten(0, 1)
        masks = self.activation(speakers)
        return masks.unflatten(0, (-1, self.num_speakers)).movedim(2, -1)


class Model(LatentSeparator):
    """Mixture [L] -> latents of `num_speakers` speakers, made of the mixture's code vectors."""

    config: Config

    def __init__(self, config: Config):
        super().__init__(config)
        self.separator = GridNetwork(config)

    def use_codec(self, codec: Codec) -> None:
        """Raises ModelError for a codec of fewer levels than the grid has, and what `LatentSeparator` refuses."""
        if codec.info.num_codebooks < self.config.num_codebooks:
            what = f"{codec.info.name} has {codec.info.num_codebooks} levels, the grid {self.config.num_codebooks}"
            raise ModelError("E508", what, "--codec", "set network.num_codebooks to the codec's")
        super().use_codec(codec)

    def estimate(self, latents: Tensor, frame_lengths: Tensor) -> Tensor:
        """z [B, T, D] of mixtures, frame_lengths [B] -> for each speaker the sum of the masked levels [B, N, T, D]."""
        vectors = self.vectors(latents)
        return (self.separator(vectors, frame_lengths) * vectors[:, None]).sum(2)

    def vectors(self, latents: Tensor) -> Tensor:
        """z [B, T, D] -> what each level of the quantiser adds [B, K, T, D], no gradient."""
        codes = self.codes(latents)
        sums = [self.embedded(codes[:, : level + 1]) for level in range(self.config.num_codebooks)]
        return torch.stack([sums[0], *(more - less for less, more in pairwise(sums))], 1)
