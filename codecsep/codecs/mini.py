"""The project's own small codec: 16 kHz, 50 frames a second, 8 residual codebooks of 512 (3.6 kbit/s).

No package registry ships weights of a neural codec, so the mini recipes bring one of their own, trained from scratch by
`egs/prompts2mix/codec`.  The design is spectral in and out (after Vocos, Siuzdak 2023), because a network at frame rate
costs an order of magnitude less on a CPU than a convolutional codec that works on samples:

    wav -> level -> STFT (compressed real and imaginary, log magnitude) -> ConvNeXt -> RVQ -> ConvNeXt (50 Hz)
        -> two frames for one -> ConvNeXt (100 Hz) -> magnitude and phase -> inverse STFT -> wav

The level of the input is normalised inside, so that a source has the same codes at any gain; `decode` returns speech at
the codec's own level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from codecsep.codecs.base import REPAIR, CodecError, read_config
from codecsep.codecs.latent_codec import QuantizerCodec
from codecsep.codecs.long import Read, encode_in_chunks
from codecsep.data.ark import CodecInfo
from codecsep.nn.convnext import ConvNeXtStack
from codecsep.nn.quantize import QuantizeConfig, ResidualQuantizer
from codecsep.signal.stft import num_frames, same_istft, same_stft
from codecsep.tokens.padding import length_mask
from codecsep.weight_file import read_safetensors

LEVEL_HOPS = 3000  # whose energies are computed at once: a minute at the sizes below


@dataclass
class Config:
    """Sizes of the mini codec.  `level`: root mean square to which active speech is normalised."""

    sample_rate: int = 16000
    hop: int = 320
    analysis_size: int = 640
    synthesis_size: int = 640
    width: int = 256
    expansion: int = 3
    kernel: int = 7
    encoder_blocks: int = 3
    decoder_blocks: int = 4
    synthesis_blocks: int = 3
    compression: float = 0.3
    level: float = 0.06
    quantizer: QuantizeConfig = field(default_factory=QuantizeConfig)


def active_level(wav: Tensor, lengths: Tensor, hop: int = 320, floor: float = 1e-3) -> Tensor:
    """Root mean square over the active hops (energy above `floor` of the loudest hop).  [B, L], [B] -> [B].

    Gating makes the level of a prompt independent of the silence around it; at least 1e-5, so silence stays silent.
    """
    return level_of(hop_energies(wav * length_mask(lengths, wav.shape[1]), hop), floor)


def hop_energies(wav: Tensor, hop: int) -> Tensor:
    """Mean square of each hop, the last one filled up with zeros.  [B, L] -> [B, ceil(L / hop)]."""
    size = num_frames(wav.shape[1], hop)
    padded = nn.functional.pad(wav, (0, size * hop - wav.shape[1]))
    return (padded.reshape(len(wav), size, hop) ** 2).mean(-1)


def level_of(energy: Tensor, floor: float = 1e-3) -> Tensor:
    """The active level of signals with these energies of hops.  [B, T] -> [B]."""
    active = (energy > floor * energy.amax(1, keepdim=True)).to(energy)
    return ((energy * active).sum(1) / active.sum(1).clamp_min(1)).sqrt().clamp_min(1e-5)


class Analyser(nn.Module):
    """The encoder half: level, spectrum, ConvNeXt blocks, latents."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        width, bins = config.width, config.analysis_size // 2 + 1
        self.analysis = nn.Linear(3 * bins, width)
        self.encoder = ConvNeXtStack(config.encoder_blocks, width, config.kernel, config.expansion)
        self.to_latent = nn.Linear(width, config.quantizer.width)

    def normalise(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """Bring active speech to the codec's level and zero what lies beyond each row's length.  [B, L] -> [B, L]."""
        gain = self.gain(active_level(wav, lengths, self.config.hop))
        return wav * gain[:, None] * length_mask(lengths, wav.shape[1])

    def gain(self, level: Tensor) -> Tensor:
        """What brings signals of this active level to the codec's.  [B] -> [B]."""
        return (self.config.level / level).clamp_max(1e3)

    def forward(self, wav: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised wav [B, L], valid frames [B, T] -> (hidden [B, T, width], latents [B, T, quantizer.width]).

        Latents have unit variance: otherwise the commitment loss shrinks them to nothing within a hundred steps.
        """
        spectrum = same_stft(wav, self.config.analysis_size, self.config.hop).transpose(1, 2)
        size = spectrum.abs().clamp_min(1e-5)
        compressed = torch.view_as_real(spectrum * size ** (self.config.compression - 1)).flatten(2)
        features = torch.cat([compressed, size.clamp_min(1e-3).log()], -1)
        hidden = self.encoder(self.analysis(features), valid[..., None].to(wav))
        latents = self.to_latent(hidden)
        return hidden, nn.functional.layer_norm(latents, latents.shape[-1:])


class Network(Analyser):
    """Encoder, residual quantiser and decoder of the mini codec."""

    def __init__(self, config: Config):
        super().__init__(config)
        width = config.width
        self.quantizer = ResidualQuantizer(config.quantizer)
        self.from_latent = nn.Linear(config.quantizer.width, width)
        self.decoder = ConvNeXtStack(config.decoder_blocks, width, config.kernel, config.expansion)
        self.split = nn.Linear(width, 2 * width)
        self.synthesis = ConvNeXtStack(config.synthesis_blocks, width, config.kernel, config.expansion)
        self.head = nn.Linear(width, config.synthesis_size + 2)

    def latents(self, wav: Tensor, valid: Tensor) -> Tensor:
        """Normalised wav [B, L], valid frames [B, T] -> continuous latents [B, T, quantizer.width]."""
        return super().forward(wav, valid)[1]

    def synthesise(self, latents: Tensor, valid: Tensor) -> Tensor:
        """Quantised latents [B, T, quantizer.width], valid [B, T] -> wav [B, T * hop]."""
        mask = valid.to(latents)
        hidden = self.split(self.decoder(self.from_latent(latents), mask[..., None]))
        hidden, mask = hidden.reshape(len(hidden), -1, self.config.width), mask.repeat_interleave(2, 1)
        hidden = self.synthesis(hidden, mask[..., None])
        log_size, phase = self.head(hidden).transpose(1, 2).chunk(2, 1)
        spectrum = torch.polar(log_size.clamp_max(6.0).exp(), phase)
        return same_istft(spectrum, self.config.synthesis_size, self.config.hop // 2, mask)

    def forward(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Training pass: normalised wav [B, L] -> (reconstruction [B, T * hop], commitment loss)."""
        valid = length_mask(-(-lengths // self.config.hop), num_frames(wav.shape[1], self.config.hop))
        quantised, commitment = self.quantizer(self.latents(wav, valid), valid)
        return self.synthesise(quantised, valid), commitment


class MiniCodec(QuantizerCodec):
    """The trained network behind the contract of `codecs/base.py`: 8 x 512 at 50 Hz, or what its config says."""

    def __init__(self, network: Network, info: CodecInfo):
        super().__init__(info)
        self.network = network
        self.latent_size = network.config.quantizer.width
        self.context = context_of(network.config)

    @torch.inference_mode()
    def latents(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L] float32 at 16 kHz, lengths [B] samples -> (latents [B, T, D], frame_lengths [B])."""
        frame_lengths = -(-lengths // self.network.config.hop)
        valid = length_mask(frame_lengths, num_frames(wav.shape[1], self.network.config.hop))
        return self.network.latents(self.network.normalise(wav, lengths), valid), frame_lengths

    def encode_chunks(self, read: Read, num_samples: int, context: int) -> Tensor:
        """codes [K, T]; the level is that of the whole signal, so it is gone through twice."""
        device, hop = next(self.parameters()).device, self.network.config.hop
        size = hop * LEVEL_HOPS
        pieces = (read(start, min(start + size, num_samples)) for start in range(0, num_samples, size))
        energies = [hop_energies(piece[None].to(device), hop) for piece in pieces]
        gain = self.network.gain(level_of(torch.cat(energies, 1)))

        def encode(wav: Tensor) -> Tensor:
            valid = torch.ones(1, num_frames(wav.shape[1], hop), dtype=torch.bool, device=device)
            return self.quantize(self.network.latents(wav.to(device) * gain, valid))

        return encode_in_chunks(encode, read, num_samples, self.info, context)

    def synthesise(self, latents: Tensor, frame_lengths: Tensor) -> Tensor:
        """latents [B, T, D], frame_lengths [B] -> wav [B, T * hop]."""
        return self.network.synthesise(latents, length_mask(frame_lengths, latents.shape[1]))


def context_of(config: Config) -> int:
    """On how many frames to either side a code depends: half a kernel for each block, and what the window of the
    spectrum reaches beyond its hop."""
    beyond = (config.analysis_size - config.hop) / 2 / config.hop
    return config.encoder_blocks * (config.kernel // 2) + math.ceil(beyond)


def build(config_path: Path, weights: Path, info: CodecInfo) -> MiniCodec:
    """The mini codec from its config and weights (stored as float16, computed in float32), keys strict."""
    network = Network(read_config(config_path, Config))
    state = {name: tensor.float() for name, tensor in read_safetensors(weights).items()}
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:  # shapes: config.yaml was edited, or is another codec's
        raise CodecError("E350", f"does not fit config.yaml: {str(error)[:300]}", weights, REPAIR) from error
    missing = [name for name in missing if name not in training_state(network)]
    if missing or unexpected:
        what = f"tensors missing: {missing[:3]}, unexpected: {unexpected[:3]}"
        raise CodecError("E350", what, weights, REPAIR)
    return MiniCodec(network, info)


def training_state(network: Network) -> set[str]:
    """Names of buffers that only training needs (moving counts of the codebooks); they are not exported."""
    return {name for name in network.state_dict() if name.rsplit(".", 1)[-1] in ("counts", "sums", "started")}
