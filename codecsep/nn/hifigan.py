"""The generator of HiFi-GAN (Kong et al. 2020, arXiv 2010.05646, section 2.2 and appendix A.1): mel frames -> samples.

Parameter names are those of the official release; weight norm is folded into plain weights (`folded`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.1  # of the leaky ReLUs; the last one has torch's default, 0.01, as the official code has it


@dataclass
class HifiGanConfig:
    """Sizes of generator V1.  `rates`: how much longer each stage makes its input; their product is the hop.

    `upsample_kernels`: of the transposed convolutions.  `kernels` and `dilations`: of the residual blocks, whose
    outputs are averaged (multi-receptive-field fusion).
    """

    num_mels: int = 80
    width: int = 512
    rates: list[int] = field(default_factory=lambda: [8, 8, 2, 2])
    upsample_kernels: list[int] = field(default_factory=lambda: [16, 16, 4, 4])
    kernels: list[int] = field(default_factory=lambda: [3, 7, 11])
    dilations: list[int] = field(default_factory=lambda: [1, 3, 5])


class ResidualBlock(nn.Module):
    """For each dilation: x + conv(lrelu(dilated conv(lrelu(x))))."""

    def __init__(self, width: int, kernel: int, dilations: list[int]):
        super().__init__()
        self.convs1 = nn.ModuleList(same_conv(width, width, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(same_conv(width, width, kernel) for _ in dilations)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """x [B, width, S], valid [B, 1, S] -> [B, width, S]; what lies beyond a row's end counts as zeros."""
        for first, second in zip(self.convs1, self.convs2, strict=True):
            inner = first(F.leaky_relu(x, SLOPE) * valid)
            x = x + second(F.leaky_relu(inner, SLOPE) * valid)
        return x


class HifiGan(nn.Module):
    """Log-mel frames -> waveform in -1..1, prod(rates) samples for each frame."""

    def __init__(self, config: HifiGanConfig):
        super().__init__()
        self.config = config
        widths = [config.width // 2**stage for stage in range(len(config.rates) + 1)]
        self.conv_pre = same_conv(config.num_mels, widths[0], 7)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(*pair, kernel, rate, padding=(kernel - rate) // 2)
            for *pair, kernel, rate in zip(widths[:-1], widths[1:], config.upsample_kernels, config.rates, strict=True)
        )
        self.resblocks = nn.ModuleList(
            ResidualBlock(width, kernel, config.dilations) for width in widths[1:] for kernel in config.kernels
        )
        self.conv_post = same_conv(widths[-1], 1, 7)

    def forward(self, mel: Tensor, valid: Tensor) -> Tensor:
        """mel [B, T, M], valid frames [B, T] bool -> wav [B, T * hop]; a row is what it is alone.

        Every convolution pads with zeros, so what it reads beyond a row's end is set to zero.
        """
        mask = valid[:, None].to(mel)
        x = self.conv_pre(mel.transpose(1, 2) * mask)
        count = len(self.config.kernels)
        for stage, (up, rate) in enumerate(zip(self.ups, self.config.rates, strict=True)):
            x = up(F.leaky_relu(x, SLOPE) * mask)
            mask = mask.repeat_interleave(rate, 2)
            blocks = self.resblocks[stage * count : (stage + 1) * count]
            x = sum(block(x, mask) for block in blocks) / count
        return torch.tanh(self.conv_post(F.leaky_relu(x) * mask))[:, 0]


def same_conv(channels: int, out: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    """A convolution that keeps the length."""
    return nn.Conv1d(channels, out, kernel, padding=(kernel - 1) * dilation // 2, dilation=dilation)


def official_shapes(network: HifiGan) -> dict[str, tuple[int, ...]]:
    """{name: shape} of the official state dict, each weight as direction and gain (weight norm, axis 0)."""
    shapes = {}
    for name, value in network.state_dict().items():
        if name.endswith(".weight"):
            shapes[f"{name}_g"] = (value.shape[0], *[1] * (value.dim() - 1))
            shapes[f"{name}_v"] = tuple(value.shape)
        else:
            shapes[name] = tuple(value.shape)
    return shapes


def folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight norm -> plain weights: w = g * v / |v|, the norm over all axes but the first."""
    plain = {name: value.float() for name, value in state.items() if not name.endswith((".weight_g", ".weight_v"))}
    for name, direction in state.items():
        if name.endswith(".weight_v"):
            stem, direction = name.removesuffix("_v"), direction.float()
            norm = direction.flatten(1).norm(dim=1).reshape(-1, *[1] * (direction.dim() - 1))
            plain[stem] = state[f"{stem}_g"].float() * direction / norm
    return plain
