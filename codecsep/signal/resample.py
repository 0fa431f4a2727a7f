"""Resampling in torch, with a gradient, of rows that have their own lengths."""

from __future__ import annotations

import torch
from torch import Tensor

from codecsep.torch_audio import import_torchaudio


def resample(wav: Tensor, lengths: Tensor, rate: int, new_rate: int) -> tuple[Tensor, Tensor]:
    """wav [B, L] at `rate`, zero after `lengths` [B] samples -> (the same at `new_rate`, zero after its own lengths
    ceil(lengths * new_rate / rate); those lengths).

    Band-limited interpolation of torchaudio (a Hann window of 6 zero crossings); nothing is done, and torchaudio not
    needed, where the rates are equal.  Raises PackageError where it is needed and missing.
    """
    if rate == new_rate:
        return wav, lengths
    functional = import_torchaudio().functional
    new_lengths = -(-lengths * new_rate // rate)
    made = functional.resample(wav, rate, new_rate)
    valid = torch.arange(made.shape[1], device=made.device) < new_lengths[:, None]
    return made * valid, new_lengths
