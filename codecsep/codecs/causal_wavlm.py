"""The lower layers of WavLM (Chen et al. 2021, arXiv 2110.13900), made causal as FocalCodec-Stream has them.

All convolutions see earlier samples only; attention sees all frames of its own chunk and those of earlier chunks, up to
`window` frames in all.  The waveform is not normalised, and no layer norm follows the last layer.  Names of parameters
are those of lucadellalib/focalcodec, whose weights load.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from codecsep.nn.left_context import CausalConv1d
from codecsep.nn.pointwise import FeedForward

Past = tuple[Tensor, Tensor]


@dataclass
class WavLMConfig:
    """Sizes of the encoder.  `chunk`: frames that see each other; `window`: frames that a frame sees, its chunk's own
    included; `buckets`, `max_distance`: of the relative position bias."""

    conv_width: int = 512
    kernels: list[int] = field(default_factory=lambda: [10, 3, 3, 3, 3, 2, 2])
    strides: list[int] = field(default_factory=lambda: [5, 2, 2, 2, 2, 2, 2])
    layers: int = 6
    width: int = 1024
    ffn_width: int = 4096
    heads: int = 16
    buckets: int = 320
    max_distance: int = 800
    position_kernel: int = 128
    position_groups: int = 16
    window: int = 512
    chunk: int = 4

    def hop(self) -> int:
        """Samples for each frame."""
        return math.prod(self.strides)


@dataclass
class WavLMState:
    """What the encoder needs of the past: left contexts [B, kernel - 1, D] of its convolutions, the last of them the
    position embedding's, and keys and values [B, H, P, D / H] of at most window - chunk frames for each layer."""

    left: list[Tensor]
    past: list[Past]


class ConvBlock(nn.Module):
    """Causal convolution with stride, layer norm, GELU."""

    def __init__(self, width_in: int, width: int, kernel: int, stride: int):
        super().__init__()
        self.conv = CausalConv1d(width_in, width, kernel, stride, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, frames: Tensor, left: Tensor | None = None) -> tuple[Tensor, Tensor]:
        frames, left = self.conv(frames, left)
        return nn.functional.gelu(self.norm(frames)), left


class FeatureExtractor(nn.Module):
    """Samples [B, L, 1] -> frames [B, L / hop, conv_width]."""

    def __init__(self, config: WavLMConfig):
        super().__init__()
        widths = [1] + [config.conv_width] * (len(config.kernels) - 1)
        shapes = zip(widths, config.kernels, config.strides, strict=True)
        self.layers = nn.ModuleList(ConvBlock(width, config.conv_width, k, s) for width, k, s in shapes)

    def forward(self, frames: Tensor, left: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        kept = []
        for index, layer in enumerate(self.layers):
            frames, last = layer(frames, left[index] if left else None)
            kept.append(last)
        return frames, kept


class PositionalEmbedding(nn.Module):
    """A grouped causal convolution, whose output is added to the frames as their position."""

    def __init__(self, config: WavLMConfig):
        super().__init__()
        width, kernel = config.width, config.position_kernel
        self.conv = CausalConv1d(width, width, kernel, groups=config.position_groups)

    def forward(self, frames: Tensor, left: Tensor | None = None) -> tuple[Tensor, Tensor]:
        positions, left = self.conv(frames, left)
        return frames + nn.functional.gelu(positions), left


class Attention(nn.Module):
    """Self-attention whose position bias is scaled by gates that each query gives (WavLM, section III)."""

    def __init__(self, config: WavLMConfig):
        super().__init__()
        self.heads = config.heads
        self.qkv_proj = nn.Linear(config.width, 3 * config.width)
        self.out_proj = nn.Linear(config.width, config.width)
        self.gru_rel_pos_linear = nn.Linear(config.width // config.heads, 8)
        self.gru_rel_pos_const = nn.Parameter(torch.ones(1, config.heads, 1, 1))

    def split(self, frames: Tensor) -> Tensor:
        """[B, T, H * d] -> [B, H, T, d]."""
        return frames.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def gate(self, frames: Tensor) -> Tensor:
        """By what each query multiplies the position bias: [B, T, D] -> [B, H, T, 1]."""
        gates = self.gru_rel_pos_linear(self.split(frames)).unflatten(-1, (2, 4)).sum(-1).sigmoid()
        reset, update = gates.chunk(2, -1)
        return reset * (update * self.gru_rel_pos_const - 1) + 2

    def forward(self, frames: Tensor, bias: Tensor, mask: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """frames [B, T, D], bias [H, T, P + T], mask [T, P + T] (0 or -inf), past keys and values of P frames."""
        query, keys, values = (self.split(part) for part in self.qkv_proj(frames).chunk(3, 2))
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        scores = self.gate(frames) * bias + mask
        mixed = nn.functional.scaled_dot_product_attention(query, keys, values, scores)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), (keys, values)


class Layer(nn.Module):
    """Attention and feed-forward network, each behind its layer norm on a residual path."""

    def __init__(self, config: WavLMConfig):
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config.width, config.ffn_width)

    def forward(self, frames: Tensor, bias: Tensor, mask: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        mixed, past = self.attention(self.attention_norm(frames), bias, mask, past)
        frames = frames + mixed
        return frames + self.feed_forward(self.feed_forward_norm(frames)), past


class Transformer(nn.Module):
    """Frames [B, T, D] after up to window - chunk frames of the past -> frames [B, T, D]."""

    def __init__(self, config: WavLMConfig):
        super().__init__()
        self.config = config
        self.positional_embedding = PositionalEmbedding(config)
        start = torch.empty(config.buckets, config.heads).uniform_(-1, 1)  # normal_ on "meta" imports half of torch
        self.relative_embedding = nn.Embedding.from_pretrained(start, freeze=False)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def bias(self, size: int, past: int) -> Tensor:
        """Position bias [H, T, P + T] of the last T of P + T frames: of distances, so the same after any eviction."""
        device = self.relative_embedding.weight.device
        query, key = torch.arange(past, past + size, device=device), torch.arange(past + size, device=device)
        buckets = relative_bucket(key - query[:, None], self.config.buckets, self.config.max_distance)
        return self.relative_embedding(buckets).permute(2, 0, 1)

    def forward(
        self, frames: Tensor, left: Tensor | None, past: list[Past] | None
    ) -> tuple[Tensor, Tensor, list[Past]]:
        """Frames [B, T, D], T a multiple of the chunk unless the signal ends with them."""
        size, kept, room = frames.shape[1], [], self.config.window - self.config.chunk
        length = past[0][0].shape[2] if past else 0
        mask = chunk_mask(size, length, self.config.chunk, self.config.window, frames.device)
        bias = self.bias(size, length)
        frames, left = self.positional_embedding(frames, left)
        for index, layer in enumerate(self.layers):
            frames, (keys, values) = layer(frames, bias, mask, past[index] if past else None)
            kept.append((keys[:, :, -room:], values[:, :, -room:]))
        return frames, left, kept


class CausalWavLM(nn.Module):
    """Waveform [B, L] at 16 kHz -> features [B, L / hop, width], and the state to go on from."""

    def __init__(self, config: WavLMConfig):
        super().__init__()
        self.feature_extractor = FeatureExtractor(config)
        self.norm = nn.LayerNorm(config.conv_width)
        self.feature_proj = nn.Linear(config.conv_width, config.width)
        self.encoder = Transformer(config)

    def forward(self, wav: Tensor, state: WavLMState | None = None) -> tuple[Tensor, WavLMState]:
        left, past = (state.left, state.past) if state else (None, None)
        frames, kept = self.feature_extractor(wav[..., None], left)
        frames = self.feature_proj(self.norm(frames))
        frames, last, past = self.encoder(frames, left[-1] if left else None, past)
        return frames, WavLMState([*kept, last], past)


def relative_bucket(distance: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """Bucket of key minus query position (Raffel et al. 2020, both directions).  int64 [..] -> int64 [..].

    The lower half of the buckets is for keys at or before the query, the upper for later ones.  In each half the nearer
    half has a bucket for every distance, the rest grow by equal steps of the logarithm up to max_distance.
    """
    half, exact = num_buckets // 2, num_buckets // 4
    size = distance.abs()
    far = (size.clamp_min(1).float() / exact).log() / math.log(max_distance / exact) * (half - exact) + exact
    return (distance > 0) * half + torch.where(size < exact, size, far.long().clamp_max(half - 1))


def chunk_mask(size: int, past: int, chunk: int, window: int, device: torch.device) -> Tensor:
    """[T, P + T]: 0 where a query may look, -inf elsewhere: from `window` before its chunk's end up to that end."""
    query, key = torch.arange(past, past + size, device=device), torch.arange(past + size, device=device)
    end = (query // chunk + 1)[:, None] * chunk
    is_seen = (key < end) & (key >= end - window)
    return torch.zeros(size, past + size, device=device).masked_fill(~is_seen, -math.inf)
