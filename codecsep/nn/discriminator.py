"""Multi-resolution spectral discriminators with least-squares losses and feature matching.

After the multi-resolution discriminators of UnivNet (Jang et al. 2021) and EnCodec (Défossez et al. 2022); losses as in
LSGAN (Mao et al. 2017).  Generator and discriminator learn in one backward pass: the generator's branch sees frozen
discriminator weights, the discriminator's branch sees a detached estimate.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from codecsep.signal.stft import same_stft


@dataclass
class DiscriminatorConfig:
    """One discriminator per STFT size (hop = size / 4)."""

    sizes: list[int] = field(default_factory=lambda: [256, 512, 1024])
    channels: int = 16
    layers: int = 3


class SpectralDiscriminator(nn.Module):
    """2-D convolutions over the complex spectrum of one resolution."""

    def __init__(self, size: int, config: DiscriminatorConfig):
        super().__init__()
        self.size = size
        widths = [2] + [config.channels] * (config.layers + 1)
        strides = [1] + [2] * config.layers
        self.convs = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(nn.Conv2d(a, b, (5, 3), (s, 1), (2, 1)))
            for a, b, s in zip(widths, widths[1:], strides, strict=False)
        )
        self.last = nn.utils.parametrizations.weight_norm(nn.Conv2d(config.channels, 1, 3, 1, 1))

    def forward(self, wav: Tensor) -> list[Tensor]:
        """wav [B, L] -> feature maps of each layer, the decision map last."""
        hidden = torch.view_as_real(same_stft(wav, self.size, self.size // 4)).permute(0, 3, 1, 2)
        maps = []
        for conv in self.convs:
            hidden = nn.functional.leaky_relu(conv(hidden), 0.1)
            maps.append(hidden)
        return [*maps, self.last(hidden)]


class SpectralDiscriminators(nn.ModuleList):
    """One `SpectralDiscriminator` per resolution."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__(SpectralDiscriminator(size, config) for size in config.sizes)


def adversarial_losses(
    discriminators: nn.ModuleList, estimate: Tensor, target: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """({"generator", "features"} that train the codec, {"discriminator"} that trains the discriminators)."""
    discriminators.requires_grad_(False)
    pairs = [(d(estimate), d(target)) for d in discriminators]
    generator = sum(((1 - ours[-1]) ** 2).mean() for ours, _ in pairs) / len(pairs)
    features = sum(feature_distance(ours[:-1], theirs[:-1]) for ours, theirs in pairs) / len(pairs)
    discriminators.requires_grad_(True)
    judged = [(d(estimate.detach())[-1], d(target)[-1]) for d in discriminators]
    critic = sum((fake**2).mean() + ((1 - real) ** 2).mean() for fake, real in judged) / len(pairs)
    return {"generator": generator, "features": features}, {"discriminator": critic}


def feature_distance(ours: list[Tensor], theirs: list[Tensor]) -> Tensor:
    """L1 distance of feature maps relative to the size of the target's."""
    return sum((a - b).abs().mean() / b.abs().mean().clamp_min(1e-4) for a, b in zip(ours, theirs, strict=True))
