"""Layers of the `descript-audio-codec` package (Kumar et al. 2023), run with lengths.

Its convolutions look to both sides and pad with zeros.  A row of a padded batch has the values of that row alone when
every layer sees zeros behind the row's end, in place of what biases and padding have made there.  The snake activation,
x + sin(a x)^2 / a, is computed in place: the same operations as the package's, a third of its passes over memory.
Where a gradient passes it cannot be.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from codecsep.tokens.padding import length_mask

Interval = tuple[int, int]


def run(layer: nn.Module, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """x [B, C, T] (overwritten), zero behind each row's length [B] -> (output [B, C', T'], likewise; lengths [B])."""
    return KINDS[type(layer).__name__](layer, x, lengths)


def nested(layer: nn.Module, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    for part in parts(layer):
        x, lengths = run(part, x, lengths)
    return x, lengths


def parts(layer: nn.Module) -> nn.Module:
    """The layers inside a block, in order."""
    return layer if isinstance(layer, nn.Sequential) else layer.block


def residual(unit: nn.Module, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """x + block(x); the block's first snake is not in place, for x is still needed."""
    first, *others = unit.block
    hidden = snake_into(first, x, torch.empty_like(x))
    for part in others:
        hidden, _ = run(part, hidden, lengths)
    return x.add_(hidden), lengths


def snake(layer: nn.Module, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    return snake_into(layer, x, x), lengths


def snake_into(layer: nn.Module, x: Tensor, out: Tensor) -> Tensor:
    """x + sin(alpha x)^2 / alpha -> `out`, which may be x; a new tensor where a gradient passes."""
    if torch.is_grad_enabled() and x.requires_grad:
        wave = torch.mul(x, layer.alpha).sin()
        return x + wave * wave * (layer.alpha + 1e-9).reciprocal()
    wave = torch.mul(x, layer.alpha).sin_()
    return torch.add(x, wave.mul_(wave).mul_((layer.alpha + 1e-9).reciprocal()), out=out)


def conv(layer: nn.Conv1d | nn.ConvTranspose1d, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    y, lengths = layer(x), output_length(layer, lengths)
    if len(y) > 1:
        y.mul_(length_mask(lengths, y.shape[2])[:, None])
    return y, lengths


def tanh(layer: nn.Tanh, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    return x.tanh_(), lengths


KINDS = {
    "Sequential": nested,
    "EncoderBlock": nested,
    "DecoderBlock": nested,
    "ResidualUnit": residual,
    "Snake1d": snake,
    "Conv1d": conv,
    "ConvTranspose1d": conv,
    "Tanh": tanh,
}


def output_length(layer: nn.Conv1d | nn.ConvTranspose1d, length: Tensor) -> Tensor:
    """Steps that a convolution makes of so many (of whole windows only)."""
    window = layer.dilation[0] * (layer.kernel_size[0] - 1) + 1
    stride, padding = layer.stride[0], layer.padding[0]
    if isinstance(layer, nn.ConvTranspose1d):
        return (length - 1) * stride - 2 * padding + window
    return (length + 2 * padding - window) // stride + 1


def convolutions(layer: nn.Module) -> list[nn.Module]:
    """All convolutions of an encoder or decoder in the order in which a signal passes them."""
    return [module for module in layer.modules() if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d))]


def receptive_field(encoder: nn.Module) -> Interval:
    """(first, last) sample, counted from the begin of a frame, on which that frame of an encoder depends."""
    first = last = 0
    for layer in reversed(convolutions(encoder)):
        window = layer.dilation[0] * (layer.kernel_size[0] - 1)
        first = first * layer.stride[0] - layer.padding[0]
        last = last * layer.stride[0] - layer.padding[0] + window
    return first, last
