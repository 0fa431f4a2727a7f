"""SEANet of the `encodec` package (Defossez et al. 2022), run with lengths and with memory.

The package pads every convolution anew: on the left by a reflection of the first samples, on the right by one that
fills the last window.  Both depend on where a signal ends, so that neither a padded batch nor a piece of a recording
gives what the whole signal alone gives.  Here every layer is told each row's length, and keeps what it will need
of the past: rows of a batch, and pieces of one recording, have the values of the whole signal alone.

All layers are causal; what follows a row's own steps is anything.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Past = dict[nn.Module, "Tensor | tuple[Tensor, Tensor]"]  # of each layer: the last inputs, or the state of an LSTM


def run(layer: nn.Module, x: Tensor, lengths: Tensor, past: Past) -> tuple[Tensor, Tensor]:
    """x [B, C, T] (overwritten), lengths [B] of its rows -> (output [B, C', T'], lengths [B] of its rows).

    An empty `past` means that x begins the signal.  A piece that is not the last has one length for all rows, a
    multiple of the product of the strides; the first of several has at least as many steps as each layer reflects.
    """
    return KINDS[type(layer).__name__](layer, x, lengths, past)


def sequence(layers: nn.Sequential, x: Tensor, lengths: Tensor, past: Past) -> tuple[Tensor, Tensor]:
    for layer in layers:
        x, lengths = run(layer, x, lengths, past)
    return x, lengths


def elu(layer: nn.ELU, x: Tensor, lengths: Tensor, past: Past) -> tuple[Tensor, Tensor]:
    return F.elu_(x, layer.alpha), lengths


def residual(block: nn.Module, x: Tensor, lengths: Tensor, past: Past) -> tuple[Tensor, Tensor]:
    shortcut, _ = run(block.shortcut, x, lengths, past)  # before the block, which overwrites x
    return shortcut.add_(run(block.block, x, lengths, past)[0]), lengths


def lstm(layer: nn.Module, x: Tensor, lengths: Tensor, past: Past) -> tuple[Tensor, Tensor]:
    x = x.permute(2, 0, 1)
    y, past[layer] = layer.lstm(x, past.get(layer))
    return (y + x if layer.skip else y).permute(1, 2, 0), lengths


def conv(layer: nn.Module, x: Tensor, lengths: Tensor, past: Past) -> tuple[Tensor, Tensor]:
    """A causal convolution: `reach` steps of the past (or their reflection), a right end that fills the last window."""
    inner = layer.conv.conv
    stride = inner.stride[0]
    reach = (inner.kernel_size[0] - 1) * inner.dilation[0] - (stride - 1)
    if reach == 0:
        return inner(x), lengths
    left = past[layer] if layer in past else reflection(x, lengths, reach)
    can_reflect = torch.full_like(lengths, layer in past, dtype=torch.bool) | (lengths > reach)
    padded = torch.cat([left, x, x.new_zeros(*x.shape[:2], stride - 1)], -1)
    past[layer] = padded[..., x.shape[2] : x.shape[2] + reach].clone()
    if stride > 1:
        reflect_end(padded, reach + lengths, stride, can_reflect)
    return inner(padded), -(-lengths // stride)


def reflection(x: Tensor, lengths: Tensor, reach: int) -> Tensor:
    """What stands to the left of a signal's begin: steps reach, .., 2, 1 of it, zeros where it is shorter."""
    head = x[..., 1 : reach + 1]
    head = F.pad(head, (0, reach - head.shape[-1]))
    inside = torch.arange(1, reach + 1, device=x.device) < lengths[:, None]
    return (head * inside[:, None]).flip(-1)


def reflect_end(padded: Tensor, ends: Tensor, stride: int, can_reflect: Tensor) -> None:
    """Write behind the end of each row of [B, C, T], in place, its last steps in reverse: the last window is full.

    A window has 2 * stride steps, of which the last stride are new.  Rows for which `can_reflect` [B] is False (at most
    one window of steps in all) get zeros instead, as in the package.
    """
    steps = torch.arange(stride - 1, device=padded.device)
    target = wide(ends[:, None] + steps, padded)
    source = wide((ends[:, None] - 2 - steps).clamp_min(0), padded)
    values = padded.gather(2, source) * can_reflect[:, None, None]
    wanted = (steps < (-ends % stride)[:, None])[:, None]
    padded.scatter_(2, target, torch.where(wanted, values, padded.gather(2, target)))


def wide(index: Tensor, like: Tensor) -> Tensor:
    """[B, S] -> [B, C, S] for `gather` on a [B, C, T]."""
    return index[:, None].expand(-1, like.shape[1], -1)


def transposed(layer: nn.Module, x: Tensor, lengths: Tensor, past: Past) -> tuple[Tensor, Tensor]:
    """A causal transposed convolution, cut on the right.  Whole signals only: it keeps nothing of the past."""
    inner = layer.convtr.convtr
    stride = inner.stride[0]
    return inner(x)[..., : x.shape[2] * stride], lengths * stride


KINDS = {
    "Sequential": sequence,
    "ELU": elu,
    "SEANetResnetBlock": residual,
    "SLSTM": lstm,
    "SConv1d": conv,
    "SConvTranspose1d": transposed,
}
