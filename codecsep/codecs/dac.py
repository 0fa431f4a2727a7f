"""DAC (Kumar, Seetharaman, Luebs, Kumar, Kumar 2023): residual quantisation with small normalised codebooks.

Built from the modules of the package `descript-audio-codec` 1.0.0 (code and weights: MIT licence), never by its own
loader, which runs code out of the file.  `convert` takes the releases' weights_16khz.pth, weights_24khz.pth and
weights.pth (44.1 kHz), or the model.safetensors of descript/dac_16khz and its like in the layout of `transformers`.

The three models:  16 kHz, 12 codebooks at 50 Hz;  24 kHz, 32 at 75 Hz;  44.1 kHz, 9 at 86.13 Hz.
The defaults of `Config` are the first; the second is `sample_rate: 24000, num_codebooks: 32`; the third
`sample_rate: 44100, num_codebooks: 9, strides: [2, 4, 8, 8]`.

Lengths: at an odd stride the decoder loses a sample, so that of T frames the 16 and 24 kHz models make 320 T - 8
samples.  `decode` fills up with zeros to the T * hop that `num_samples` says.  Decoded speech of these models leads its
input (by 8 samples at 16 kHz): moved back by that delay, nothing of the filling is left within the T * hop samples.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codecsep.codecs import dac_layers
from codecsep.codecs.base import read_config
from codecsep.codecs.block_codec import BlockCodec
from codecsep.codecs.long import Read, chunks
from codecsep.codecs.upstream import State, check_state, fill, need_package, old_weight_norm, on_meta, read_state
from codecsep.data.ark import CodecInfo
from codecsep.tokens.padding import length_mask
from codecsep.weight_file import read_safetensors


@dataclass
class Config:
    """Sizes of the 16 kHz model.  `strides`: of the encoder, from samples to frames; the decoder's are these reversed.

    `num_codebooks` must be what the weights hold.
    """

    sample_rate: int = 16000
    num_codebooks: int = 12
    codebook_size: int = 1024
    codebook_dim: int = 8
    strides: list[int] = field(default_factory=lambda: [2, 4, 5, 8])
    encoder_width: int = 64
    decoder_width: int = 1536

    @property
    def hop(self) -> int:
        return math.prod(self.strides)

    @property
    def latent_size(self) -> int:
        return self.encoder_width * 2 ** len(self.strides)


class Network(nn.Module):
    """Encoder, quantiser and decoder, named as in the package's DAC."""

    def __init__(self, config: Config):
        super().__init__()
        need_package("dac")
        from dac.model import dac as model
        from dac.nn import quantize

        self.encoder = model.Encoder(config.encoder_width, config.strides, config.latent_size)
        self.decoder = model.Decoder(config.latent_size, config.decoder_width, config.strides[::-1])
        self.quantizer = quantize.ResidualVectorQuantize(
            config.latent_size, config.num_codebooks, config.codebook_size, config.codebook_dim
        )


class DacCodec(BlockCodec):
    """The published network behind the contract of `codecs/base.py`."""

    block_seconds = 4.0

    def __init__(self, network: Network, config: Config, info: CodecInfo):
        super().__init__(info)
        self.network, self.config = network, config
        self.latent_size = config.latent_size
        first, last = dac_layers.receptive_field(network.encoder)
        self.context = max(-(first // info.hop), last // info.hop)

    def together(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """Rows are filled up with zeros to whole frames, as in the package."""
        wav = F.pad(wav, (0, -wav.shape[1] % self.info.hop))
        wav, whole = wav * length_mask(lengths, wav.shape[1]), -(-lengths // self.info.hop) * self.info.hop
        return dac_layers.run(self.network.encoder.block, wav[:, None], whole)[0].transpose(1, 2)

    def blocks(self, read: Read, num_samples: int) -> Iterator[Tensor]:
        """The latents [1, t, D] of a signal; `context` frames around each block are computed and dropped."""
        hop = self.info.hop
        for begin, start, stop, end in chunks(self.num_frames(num_samples), self.block, self.context):
            wav = read(begin * hop, min(end * hop, num_samples)).to(self.device)
            latents = self.together(wav[None], torch.tensor([len(wav)], device=self.device))
            yield latents[:, start - begin : stop - begin]

    def synthesise(self, latents: Tensor, frame_lengths: Tensor) -> Tensor:
        """latents [B, T, D], frame_lengths [B] -> wav [B, T * hop], the last samples zero at odd strides."""
        inner = (latents * length_mask(frame_lengths, latents.shape[1])[..., None]).transpose(1, 2).contiguous()
        wav, _ = dac_layers.run(self.network.decoder.model, inner, frame_lengths)
        return F.pad(wav[:, 0], (0, self.num_samples(latents.shape[1]) - wav.shape[2]))

    def nearest(self, latents: Tensor) -> Tensor:
        residual, codes = latents.transpose(1, 2), []
        for level in self.network.quantizer.quantizers:
            inner = level.in_proj(residual)
            chosen, indices = level.decode_latents(inner)
            # the package's straight-through estimator, in its rounding: inner + (chosen - inner)
            residual = residual - level.out_proj(inner + (chosen - inner))
            codes.append(indices)
        return torch.stack(codes, 1)

    @torch.inference_mode()
    def embed(self, codes: Tensor) -> Tensor:
        """codes [B, k, T] with 1 <= k <= K levels -> latents [B, T, D]: the sum of their projected entries."""
        return self.network.quantizer.from_codes(codes)[0].transpose(1, 2)


def build(config_path: Path, weights: Path, info: CodecInfo) -> DacCodec:
    """The codec from its config and from what `convert` made. Raises CodecError when they do not fit."""
    config = read_config(config_path, Config)
    return DacCodec(fill(on_meta(lambda: Network(config)), read_safetensors(weights), weights), config, info)


def describe(config: Config) -> CodecInfo:
    """Rates and sizes; the fingerprint and the delay are not known yet."""
    rate = config.sample_rate / config.hop
    return CodecInfo("dac", "0", config.sample_rate, rate, config.hop, config.num_codebooks, config.codebook_size)


def convert(weights: Path, config: Config) -> State:
    """The published weights, checked name by name.

    Raises WeightFileError for a file that holds more than weights, CodecError for one of another network.
    """
    state = from_transformers(old_weight_norm(read_state(weights)), len(config.strides))
    check_state(state, on_meta(lambda: Network(config)), weights)
    return {name: tensor.contiguous() for name, tensor in state.items()}


def from_transformers(state: State, num_blocks: int) -> State:
    """Names of transformers' DacModel -> those of the package; others are left as they are."""
    ends = {"conv1": 0, "snake1": num_blocks + 1, "conv2": num_blocks + 2}
    return {transformers_name(name, ends): tensor for name, tensor in state.items()}


def transformers_name(name: str, ends: dict[str, int]) -> str:
    """One name; `ends`: the places of the layers before and after the blocks."""
    part, _, rest = name.partition(".")
    outer = {"encoder": "encoder.block", "decoder": "decoder.model"}.get(part)
    if match := re.match(r"(conv1|snake1|conv2)\.(\w+)$", rest):
        return f"{outer}.{ends[match[1]]}.{match[2]}" if outer else name
    match = re.match(r"block\.(\d+)\.(?:res_unit(\d)\.)?(conv1|conv2|conv_t1|snake1|snake2)\.(\w+)$", rest)
    if not match or not outer:
        return name
    block, unit, layer, kind = match.groups()
    if unit:
        inner = {"snake1": 0, "conv1": 1, "snake2": 2, "conv2": 3}[layer]
        place = f"{int(unit) - 1 + 2 * (part == 'decoder')}.block.{inner}"
    else:
        place = {"encoder": {"snake1": "3", "conv1": "4"}, "decoder": {"snake1": "0", "conv_t1": "1"}}[part][layer]
    return f"{outer}.{int(block) + 1}.block.{place}.{kind}"
