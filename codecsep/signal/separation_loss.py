"""The waveform loss of separators: negative SI-SDR under the best permutation (Le Roux 2019, Kolbaek 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from codecsep.signal.permute import pit_loss
from codecsep.signal.si_sdr import si_sdr

SILENT_POWER = 1e-10  # mean square below which a reference says nothing about its estimate


def pair_si_sdr(estimates: Tensor, references: Tensor, lengths: Tensor) -> Tensor:
    """SI-SDR in dB of every pair: estimates [B, N, L], references [B, M, L], lengths [B] samples -> [B, M, N].

    0 for a silent reference or estimate, without a gradient: nothing can be said of it.
    """
    pairs = (estimates.shape[0], references.shape[1], *estimates.shape[1:])
    left = estimates[:, None].expand(pairs)
    right = references[:, :, None].expand(pairs)
    sizes = lengths[:, None, None].expand(pairs[:-1])
    audible = (power(left, sizes) > SILENT_POWER**2) & (power(right, sizes) > SILENT_POWER)
    noise = torch.linspace(-1.0, 1.0, pairs[-1], device=left.device, dtype=left.dtype)  # keeps the gradient finite
    left, right = (torch.where(audible[..., None], x, noise) for x in (left, right))
    return torch.where(audible, si_sdr(left, right, sizes), torch.zeros((), dtype=left.dtype, device=left.device))


def power(wave: Tensor, lengths: Tensor) -> Tensor:
    """Mean square of [..., L] over the first `lengths` [...] samples, without a gradient."""
    valid = torch.arange(wave.shape[-1], device=wave.device) < lengths[..., None]
    return (wave.detach() * valid).square().sum(-1) / lengths.clamp_min(1)


def pit_si_sdr(
    estimates: Tensor, references: Tensor, lengths: Tensor, threshold: float = -30.0
) -> tuple[Tensor, Tensor]:
    """Mean negative SI-SDR of a batch under the best permutation of each mixture -> (scalar, losses [B]).

    estimates, references [B, N, L], lengths [B].  Mixtures whose loss is already at or below `threshold` (dB) do not
    count, as in SpeechBrain's recipes; where that leaves none, all of them do.
    """
    losses, _ = pit_loss(-pair_si_sdr(estimates, references, lengths))
    kept = losses.detach() > threshold
    kept = kept if bool(kept.any()) else torch.ones_like(kept)
    return (losses * kept).sum() / kept.sum(), losses
