"""How the mini codec is trained: reconstruction losses behind the trainer's contract (fields, collate, loss).

Multi-resolution log-magnitude and mel losses (as in Parallel WaveGAN and DAC), a compressed complex-spectrum loss that
keeps the phase of the strong bins, and the quantiser's commitment.  `adversarial.weight > 0` adds multi-resolution
spectral discriminators with least-squares losses and feature matching.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from codecsep.codecs.mini import Config as CodecConfig
from codecsep.codecs.mini import Network
from codecsep.nn.discriminator import DiscriminatorConfig, SpectralDiscriminators, adversarial_losses
from codecsep.signal.stft import mel_filterbank, same_stft
from codecsep.tokens.padding import length_mask, pad_sequences


@dataclass
class LossConfig:
    """Weights of the parts, STFT sizes (hop = size / 4) and mel bands per size."""

    sizes: list[int] = field(default_factory=lambda: [256, 512, 1024])
    mels: list[int] = field(default_factory=lambda: [32, 64, 80])
    magnitude: float = 1.0
    mel: float = 2.0
    complex: float = 4.0
    commitment: float = 0.25
    compression: float = 0.3


@dataclass
class AdversarialConfig:
    """Weight 0 leaves the discriminators out of the network altogether."""

    weight: float = 0.0
    feature_weight: float = 2.0
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)


@dataclass
class Config:
    """Codec, losses, and the jitter (dB, uniform) of the input level in training."""

    codec: CodecConfig = field(default_factory=CodecConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    level_jitter: float = 6.0


class Model(nn.Module):
    """The codec with its losses; reads the field `wav` ([L], float32)."""

    fields = ("wav",)

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.codec = Network(config.codec)
        self.discriminators = SpectralDiscriminators(config.adversarial.discriminator) if self.is_adversarial else None
        for size, mels in zip(config.loss.sizes, config.loss.mels, strict=True):
            bank = mel_filterbank(mels, size, config.codec.sample_rate)
            self.register_buffer(f"bank{size}", bank, persistent=False)

    @property
    def is_adversarial(self) -> bool:
        return self.config.adversarial.weight > 0

    def collate(self, examples: list[dict]) -> dict[str, Tensor]:
        """Examples with `wav` -> {"wav": [B, L], "lengths": [B]}."""
        wav, lengths = pad_sequences([torch.as_tensor(e["wav"]) for e in examples], 0.0)
        return {"wav": wav, "lengths": lengths}

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Weighted sum of the parts and the parts by name."""
        target = self.codec.normalise(batch["wav"], batch["lengths"])
        if self.training:
            jitter = (torch.rand(len(target), 1, device=target.device) * 2 - 1) * self.config.level_jitter
            target = target * 10 ** (jitter / 20)
        estimate, commitment = self.codec(target, batch["lengths"])
        estimate = estimate[:, : target.shape[1]] * length_mask(batch["lengths"], target.shape[1])
        parts = self._spectral(estimate, target) | {"commitment": commitment}
        weights = self.config.loss
        total = sum(getattr(weights, name) * value for name, value in parts.items())
        if self.discriminators is not None:
            added, named = adversarial_losses(self.discriminators, estimate, target)
            total = total + named["discriminator"] + self.config.adversarial.weight * (
                added["generator"] + self.config.adversarial.feature_weight * added["features"]
            )
            parts = parts | added | named
        return total, {name: float(value.detach()) for name, value in parts.items()}

    def _spectral(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Log-magnitude, log-mel and compressed complex distances, averaged over the STFT sizes."""
        sums: dict[str, Tensor] = {}
        for size in self.config.loss.sizes:
            ours, theirs = (same_stft(x, size, size // 4) for x in (estimate, target))
            bank = getattr(self, f"bank{size}")
            for name, value in spectral_distances(ours, theirs, bank, self.config.loss.compression).items():
                sums[name] = sums.get(name, 0.0) + value / len(self.config.loss.sizes)
        return sums


def spectral_distances(ours: Tensor, theirs: Tensor, bank: Tensor, compression: float) -> dict[str, Tensor]:
    """Distances of two complex spectra [B, F, T]: `magnitude` and `mel` are L1 of natural logs (floor 1e-2 and 1e-3,
    about 60 dB under the codec's level), `complex` is L1 of the spectra with |X| replaced by |X|^compression."""
    size_ours, size_theirs = (torch.sqrt(x.real**2 + x.imag**2 + 1e-9) for x in (ours, theirs))
    magnitude = (size_ours.clamp_min(1e-2).log() - size_theirs.clamp_min(1e-2).log()).abs().mean()
    mel_ours, mel_theirs = (torch.matmul(bank, x).clamp_min(1e-3).log() for x in (size_ours, size_theirs))
    power = compression - 1.0
    difference = ours * (size_ours + 1e-4) ** power - theirs * (size_theirs + 1e-4) ** power
    complex_part = torch.sqrt(difference.real**2 + difference.imag**2 + 1e-9).mean()
    return {"magnitude": magnitude, "mel": (mel_ours - mel_theirs).abs().mean(), "complex": complex_part}
