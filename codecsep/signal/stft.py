"""Short-time spectra with frame counts that follow from the hop alone.

`frames(L) = ceil(L / hop)`: the signal is padded with zeros to a whole number of hops and by (n_fft - hop) / 2 on both
sides, so that frame t is centred on the t-th hop.  Zeros (not reflection) are used because a row that was padded with
zeros in a batch then has exactly the spectrum it has alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def num_frames(num_samples: int, hop: int) -> int:
    """Frames of a signal of `num_samples` samples."""
    return -(-num_samples // hop)


def same_stft(wav: Tensor, n_fft: int, hop: int) -> Tensor:
    """wav [B, L] -> complex spectrum [B, n_fft // 2 + 1, ceil(L / hop)], Hann window."""
    total = num_frames(wav.shape[-1], hop) * hop
    side = (n_fft - hop) // 2
    padded = F.pad(wav, (side, total - wav.shape[-1] + n_fft - hop - side))
    return torch.stft(padded, n_fft, hop, window=hann(n_fft, wav), center=False, return_complex=True)


def same_istft(spectrum: Tensor, n_fft: int, hop: int, valid: Tensor) -> Tensor:
    """Inverse of `same_stft`: complex [B, n_fft // 2 + 1, T], valid frames [B, T] -> wav [B, T * hop].

    Overlap-add over the valid frames, divided by the windows that they bring: a row's end does not depend on padding.
    """
    window = hann(n_fft, spectrum.real)
    frames = torch.fft.irfft(spectrum, n_fft, dim=1) * window[:, None] * valid[:, None]
    weights = (window**2)[None, :, None] * valid[:, None]
    side, total = (n_fft - hop) // 2, frames.shape[-1] * hop
    wav, norm = (_overlap_add(x, hop)[:, side : side + total] for x in (frames, weights))
    return wav / norm.clamp_min(1e-4)


def hann(n_fft: int, like: Tensor) -> Tensor:
    """Periodic Hann window [n_fft] on the device of `like`."""
    return torch.hann_window(n_fft, device=like.device, dtype=torch.float32)


def _overlap_add(frames: Tensor, hop: int) -> Tensor:
    """frames [B, n_fft, T] -> [B, (T - 1) * hop + n_fft]."""
    size = (frames.shape[-1] - 1) * hop + frames.shape[1]
    return F.fold(frames, (1, size), (1, frames.shape[1]), stride=(1, hop))[:, 0, 0]


def mel_filterbank(num_mels: int, n_fft: int, rate: int, low: float = 0.0, high: float | None = None) -> Tensor:
    """Triangular filters on the HTK mel scale, [num_mels, n_fft // 2 + 1], each with unit sum.

    Filters narrower than a bin still touch their nearest bin, so that no row is empty.
    """
    high = rate / 2 if high is None else high
    edges = mel_to_hz(torch.linspace(hz_to_mel(low), hz_to_mel(high), num_mels + 2, dtype=torch.float64))
    bins = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    bank = torch.minimum(rising, falling).clamp_min(0)
    nearest = F.one_hot((bins - edges[1:-1, None]).abs().argmin(1), len(bins)).to(bank)
    bank = torch.where(bank.sum(1, keepdim=True) > 0, bank, nearest)
    return (bank / bank.sum(1, keepdim=True)).float()


def hz_to_mel(hz: float) -> float:
    """HTK mel scale."""
    return 2595.0 * float(torch.log10(torch.tensor(1.0 + hz / 700.0, dtype=torch.float64)))


def mel_to_hz(mel: Tensor) -> Tensor:
    """Inverse of `hz_to_mel`."""
    return 700.0 * (10 ** (mel / 2595.0) - 1.0)
