"""Causal focal modulation networks (Yang et al. 2022, arXiv 2203.11926): both ends of FocalCodec-Stream's bottleneck.

Every frame is multiplied by a summary of what came before it: depthwise convolutions of growing kernel, each fed by
the one before, weighted by gates that the frame itself gives.  FocalCodec-Stream (arXiv 2509.16195) makes them causal,
takes a last kernel of `window` frames where others average over the whole signal, and a scaled tanh where others
normalise.  Names of parameters are those of lucadellalib/focalcodec, whose weights load.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codecsep.nn.left_context import CausalConv1d
from codecsep.nn.pointwise import DynamicTanh, FeedForward, Snake

Left = list[Tensor]


@dataclass
class FocalConfig:
    """Sizes of both stacks.  `width`: of their frames; `layers`: blocks of each; `focal_window`, `focal_factor`: kernel
    of the first level, and by how much it grows from level to level; `window`: kernel of the last level."""

    width: int = 1024
    layers: int = 3
    focal_window: int = 14
    focal_factor: int = 4
    focal_levels: int = 2
    window: int = 512
    ffn_factor: int = 4

    def kernels(self) -> list[int]:
        """Kernel sizes of all levels, the global one last."""
        return [self.focal_window + level * self.focal_factor for level in range(self.focal_levels)] + [self.window]


class FocalModulation(nn.Module):
    """query * projection(sum over levels of gate * context).  [B, T, D] -> [B, T, D]."""

    def __init__(self, config: FocalConfig):
        super().__init__()
        width, kernels = config.width, config.kernels()
        self.in_proj = nn.Linear(width, 2 * width + len(kernels))
        self.layers = nn.ModuleList(
            nn.Sequential(CausalConv1d(width, width, kernel, groups=width)) for kernel in kernels
        )
        self.context_proj = nn.Conv1d(width, width, 1)
        self.out_proj = nn.Linear(width, width)

    def forward(self, frames: Tensor, left: Left | None = None) -> tuple[Tensor, Left]:
        """left: of each level's convolution, [B, kernel - 1, D] each."""
        width = frames.shape[2]
        query, context, gates = self.in_proj(frames).split([width, width, len(self.layers)], 2)
        total, kept = torch.zeros_like(context), []
        for level, (convolution,) in enumerate(self.layers):
            context, last = convolution(context, left[level] if left else None)
            context = nn.functional.gelu(context)
            total = total + context * gates[..., level : level + 1]
            kept.append(last)
        modulator = self.context_proj(total.transpose(1, 2)).transpose(1, 2)
        return self.out_proj(query * modulator), kept


class FocalBlock(nn.Module):
    """Focal modulation and a feed-forward network, each on a residual path behind a scaled tanh."""

    def __init__(self, config: FocalConfig):
        super().__init__()
        self.modulation_norm = DynamicTanh()
        self.modulation = FocalModulation(config)
        self.feed_forward_norm = DynamicTanh()
        self.feed_forward = FeedForward(config.width, config.ffn_factor * config.width)

    def forward(self, frames: Tensor, left: Left | None = None) -> tuple[Tensor, Left]:
        modulated, left = self.modulation(self.modulation_norm(frames), left)
        frames = frames + modulated
        return frames + self.feed_forward(self.feed_forward_norm(frames)), left


class DownScale(nn.Module):
    """A linear map (a convolution of kernel 1 at this frame rate), then Snake."""

    def __init__(self, width_in: int, width_out: int):
        super().__init__()
        self.downscale = nn.Conv1d(width_in, width_out, 1)
        self.activation = Snake(width_out)

    def forward(self, frames: Tensor) -> Tensor:
        return self.activation(self.downscale(frames.transpose(1, 2)).transpose(1, 2))


class UpScale(nn.Module):
    """Snake, then a linear map (a transposed convolution of kernel 1 at this frame rate)."""

    def __init__(self, width_in: int, width_out: int):
        super().__init__()
        self.activation = Snake(width_in)
        self.upscale = nn.ConvTranspose1d(width_in, width_out, 1)

    def forward(self, frames: Tensor) -> Tensor:
        return self.upscale(self.activation(frames).transpose(1, 2)).transpose(1, 2)


class Down(nn.Module):
    """One layer of the compressor."""

    def __init__(self, width_in: int, config: FocalConfig):
        super().__init__()
        self.downscale = DownScale(width_in, config.width)
        self.focal_block = FocalBlock(config)

    def forward(self, frames: Tensor, left: Left | None = None) -> tuple[Tensor, Left]:
        return self.focal_block(self.downscale(frames), left)


class Up(nn.Module):
    """One layer of the decompressor."""

    def __init__(self, width_out: int, config: FocalConfig):
        super().__init__()
        self.focal_block = FocalBlock(config)
        self.upscale = UpScale(config.width, width_out)

    def forward(self, frames: Tensor, left: Left | None = None) -> tuple[Tensor, Left]:
        frames, left = self.focal_block(frames, left)
        return self.upscale(frames), left


class Compressor(nn.Module):
    """Features [B, T, width_in] -> latents [B, T, num_bits], not normalised."""

    def __init__(self, width_in: int, num_bits: int, config: FocalConfig):
        super().__init__()
        widths = [width_in] + [config.width] * (config.layers - 1)
        self.layers = nn.ModuleList(Down(width, config) for width in widths)
        self.out_proj = nn.Linear(config.width, num_bits)

    def forward(self, frames: Tensor, left: list[Left] | None = None) -> tuple[Tensor, list[Left]]:
        frames, left = through(self.layers, frames, left)
        return self.out_proj(frames), left


class Refiner(FeedForward):
    """What the frames of one chunk, seen together, add to each other: causal only from chunk to chunk."""

    def __init__(self, chunk: int, width: int):
        super().__init__(chunk * width, chunk * width)
        self.chunk = chunk

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]; a last chunk that is not full sees zeros in its missing frames."""
        size = frames.shape[1]
        padded = nn.functional.pad(frames, (0, 0, 0, -size % self.chunk))
        chunks = padded.reshape(len(frames), -1, self.chunk * frames.shape[2])
        return frames + super().forward(chunks).reshape(padded.shape)[:, :size]


class Decompressor(nn.Module):
    """Latents [B, T, num_bits] -> features [B, T, width_out]."""

    def __init__(self, num_bits: int, width_out: int, chunk: int, config: FocalConfig):
        super().__init__()
        widths = [config.width] * (config.layers - 1) + [width_out]
        self.in_proj = nn.Linear(num_bits, config.width)
        self.layers = nn.ModuleList(Up(width, config) for width in widths)
        self.refiner = Refiner(chunk, width_out)

    def forward(self, latents: Tensor, valid: Tensor, left: list[Left] | None = None) -> tuple[Tensor, list[Left]]:
        """valid [B, T]: frames beyond a row's end (False) do not reach the others of its last chunk."""
        frames, left = through(self.layers, self.in_proj(latents), left)
        return self.refiner(frames.masked_fill(~valid[..., None], 0)), left


def through(layers: nn.ModuleList, frames: Tensor, left: list[Left] | None) -> tuple[Tensor, list[Left]]:
    """Layer after layer, each with its own left context (None: a signal begins)."""
    kept = []
    for index, layer in enumerate(layers):
        frames, last = layer(frames, left[index] if left else None)
        kept.append(last)
    return frames, kept
