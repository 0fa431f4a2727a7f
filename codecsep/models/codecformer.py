"""Codecformer (Yip, Zhao, Ma, Chng; Interspeech 2024, arXiv 2406.12434): masks on the latents of a frozen codec.

The separator sees what the codec's quantiser would be given, and multiplies it with one mask per speaker:

    z -> 1x1 conv D -> 256 -> 16 Transformer layers -> 1x1 conv 256 -> D -> weight-normed 1x1 conv D -> D per speaker
        -> Snake(1x1 conv) * sigmoid(1x1 conv) -> Snake = masks;   estimate of a speaker = mask * z

The masks are unbounded and may be negative: there is no sigmoid at the end.  The activation has to be that of the
codec's encoder (Snake for DAC, ELU for EnCodec).  With `loss: latent` this is Codecformer-EL (Yip et al., 2411.17998).

Beyond the paper, off by default: `renormalise` brings each frame of an estimate to mean 0 and variance 1, for codecs
whose latents are layer-normalised (mini), so that the decoder is given what it was trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from codecsep.models.latent_separator import LatentConfig, LatentSeparator
from codecsep.nn.snake import Kind, make_activation
from codecsep.tokens.padding import length_mask


@dataclass
class Config(LatentConfig):
    """The defaults are the authors' separator for DAC at 16 kHz: 17.36 M parameters.

    quantize: where the codec's quantiser acts on latents, before the separator, after the masks, both or nowhere; the
    gradient passes it unchanged.
    """

    width: int = 256
    num_layers: int = 16
    num_heads: int = 8
    ffn_width: int = 1024
    dropout: float = 0.1
    activation: Kind = "snake"
    quantize: Literal["none", "before", "after", "both"] = "none"
    renormalise: bool = False


class Transformer(nn.Module):
    """Pre-norm layers with ReLU, sinusoidal positions added once, a norm at the end (SpeechBrain's encoder)."""

    def __init__(self, config: Config):
        super().__init__()
        sizes = {"dim_feedforward": config.ffn_width, "dropout": config.dropout, "layer_norm_eps": 1e-6}
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(config.width, config.num_heads, batch_first=True, norm_first=True, **sizes)
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.width, eps=1e-6)

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        """hidden [B, T, W], valid [B, T] -> [B, T, W]."""
        hidden = hidden + positions(hidden.shape[1], hidden.shape[2], hidden.device).to(hidden)
        padded = None if bool(valid.all()) else ~valid
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=padded)
        return self.norm(hidden)


def positions(size: int, width: int, device: torch.device) -> Tensor:
    """Sinusoids [size, width], sine and cosine of one rate side by side (Vaswani et al. 2017)."""
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10000.0) / width))
    angles = torch.arange(size, device=device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


class MaskNetwork(nn.Module):
    """Latents [B, T, D], valid [B, T] -> masks [B, N, T, D]."""

    def __init__(self, config: Config):
        super().__init__()
        size, speakers = config.latent_size, config.num_speakers
        self.num_speakers = speakers
        self.down = nn.Conv1d(size, config.width, 1, bias=False)
        self.transformer = Transformer(config)
        self.up = nn.Conv1d(config.width, size, 1, bias=False)
        self.split = weight_norm(nn.Conv1d(size, size * speakers, 1, bias=False))
        self.output = nn.Sequential(nn.Conv1d(size, size, 1), make_activation(config.activation, size))
        self.gate = nn.Sequential(nn.Conv1d(size, size, 1), nn.Sigmoid())
        self.activation = make_activation(config.activation, size)

    def forward(self, latents: Tensor, valid: Tensor) -> Tensor:
        hidden = self.transformer(self.down(latents.mT).mT, valid)
        speakers = self.split(self.up(hidden.mT)).unflatten(1, (self.num_speakers, -1)).flatten(0, 1)
        masks = self.activation(self.output(speakers) * self.gate(speakers))
        return masks.unflatten(0, (-1, self.num_speakers)).mT


class Model(LatentSeparator):
    """Mixture [L] -> latents of `num_speakers` speakers."""

    config: Config

    def __init__(self, config: Config):
        super().__init__(config)
        self.separator = MaskNetwork(config)

    def estimate(self, latents: Tensor, frame_lengths: Tensor) -> Tensor:
        """z [B, T, D], frame_lengths [B] -> mask * z for each speaker [B, N, T, D]."""
        if self.config.quantize in ("before", "both"):
            latents = self.embedded(self.codes(latents))
        masks = self.separator(latents, length_mask(frame_lengths, latents.shape[1]))
        estimates = masks * latents[:, None]
        if self.config.renormalise:
            estimates = F.layer_norm(estimates, estimates.shape[-1:])
        if self.config.quantize in ("after", "both"):
            chosen = self.embedded(self.codes(estimates.detach().flatten(0, 1)))
            estimates = estimates + (chosen.view_as(estimates) - estimates).detach()
        return estimates
