"""SepFormer (Subakan et al. 2021): a dual-path Transformer on a learned basis.

The network is SpeechBrain's (package speechbrain, optional).  Its three parts have the names of SpeechBrain's recipe,
so that a release (encoder.ckpt, masknet.ckpt, decoder.ckpt in a directory) starts a training with

    init:
      - {file: downloads/sepformer-wsj02mix/encoder.ckpt, target: encoder}
      - {file: downloads/sepformer-wsj02mix/masknet.ckpt, target: masknet}
      - {file: downloads/sepformer-wsj02mix/decoder.ckpt, target: decoder}
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor, nn

from codecsep.models.espnet_network import pad_to_frames
from codecsep.models.waveform import WaveformSeparator, needs
from codecsep.signal.stft import same_istft, same_stft


@dataclass
class PathConfig:
    """One of the two Transformers of a block: over the frames of a chunk (intra), over chunks (inter)."""

    num_layers: int = 8
    num_heads: int = 8
    ffn_width: int = 1024
    dropout: float = 0.0


@dataclass
class Config:
    """Defaults: WSJ0-2mix at 8 kHz (25.68 M parameters; the paper's section 3 and SpeechBrain's recipe).

    kernel: of the basis, in samples; its stride is half of it.  chunk: frames.  blocks: dual-path blocks.  basis:
    `learned` as in the paper, or `fourier`, masks on the STFT, which are learnt in fewer steps.
    """

    sample_rate: int = 8000
    num_speakers: int = 2
    width: int = 256
    kernel: int = 16
    chunk: int = 250
    blocks: int = 2
    intra: PathConfig = field(default_factory=PathConfig)
    inter: PathConfig = field(default_factory=PathConfig)
    basis: Literal["learned", "fourier"] = "learned"


class Model(WaveformSeparator):
    """Mixture [L] -> `num_speakers` waveforms [L].  Raises PackageError without speechbrain."""

    def __init__(self, config: Config):
        super().__init__(config)
        features = config.width if config.basis == "learned" else config.kernel // 2 + 1
        self.masknet = dual_path().Dual_Path_Model(
            in_channels=features,
            out_channels=config.width,
            intra_model=path(config.intra, config.width),
            inter_model=path(config.inter, config.width),
            num_layers=config.blocks,
            K=config.chunk,
            num_spks=config.num_speakers,
            skip_around_intra=True,
            linear_layer_after_inter_intra=False,
        )
        if config.basis == "learned":
            self.encoder, self.decoder = learned_basis(config)

    def estimate(self, wav: Tensor) -> Tensor:
        return self._on_learned(wav) if self.config.basis == "learned" else self._on_spectrum(wav)

    def _on_learned(self, wav: Tensor) -> Tensor:
        """Masks on a learned basis: [B, L] -> [B, N, L]."""
        padded = pad_to_frames(wav, self.config.kernel, self.config.kernel // 2)
        basis = self.encoder(padded)
        masked = self.masknet(basis) * basis  # [N, B, width, T]
        waves = [self.decoder(each).reshape(len(wav), -1) for each in masked]
        return torch.stack(waves, 1)[..., : wav.shape[1]]

    def _on_spectrum(self, wav: Tensor) -> Tensor:
        """Masks on the STFT, found in its magnitudes: [B, L] -> [B, N, L]."""
        size, hop = self.config.kernel, self.config.kernel // 2
        spectrum = same_stft(wav, size, hop)
        masked = self.masknet(spectrum.abs()) * spectrum  # [N, B, size // 2 + 1, T]
        valid = torch.ones(len(wav), spectrum.shape[-1], dtype=torch.bool, device=wav.device)
        return torch.stack([same_istft(each, size, hop, valid) for each in masked], 1)[..., : wav.shape[1]]


def learned_basis(config: Config) -> tuple[nn.Module, nn.Module]:
    """SpeechBrain's encoder [B, L] -> [B, width, T] and its decoder."""
    parts, stride = dual_path(), config.kernel // 2
    encoder = parts.Encoder(kernel_size=config.kernel, out_channels=config.width)
    return encoder, parts.Decoder(config.width, 1, kernel_size=config.kernel, stride=stride, bias=False)


def path(config: PathConfig, width: int) -> nn.Module:
    """SpeechBrain's Transformer of one path."""
    return dual_path().SBTransformerBlock(
        num_layers=config.num_layers,
        d_model=width,
        nhead=config.num_heads,
        d_ffn=config.ffn_width,
        dropout=config.dropout,
        use_positional_encoding=True,
        norm_before=True,
    )


def dual_path() -> ModuleType:
    """SpeechBrain's module of dual-path networks.  Raises PackageError."""
    with needs("speechbrain"):
        from speechbrain.lobes.models import dual_path as parts
    forget_old_names()
    return parts


def forget_old_names() -> None:
    """SpeechBrain leaves stand-ins for modules that it has renamed, which import what few have (k2, flair) as soon as
    somebody looks at them; who goes through all modules, as `inspect` and hypothesis do, then fails."""
    for name in [name for name in sys.modules if name.startswith("speechbrain.")]:
        if type(sys.modules[name]).__name__ == "DeprecatedModuleRedirect":
            del sys.modules[name]
