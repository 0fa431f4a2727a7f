"""Mel filters on Slaney's scale (Auditory Toolbox, 1998) and the log-mel spectrum that HiFi-GAN's generators read."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from codecsep.signal.stft import same_stft

POWER_FLOOR = 1e-9  # added to the power before its root, as HiFi-GAN's data code does


def log_mel(wav: Tensor, n_fft: int, hop: int, filters: Tensor, floor: float) -> Tensor:
    """wav [B, L] -> natural log of the mel magnitudes [B, ceil(L / hop), M]; `filters` [M, n_fft // 2 + 1].

    What lies before and after the signal counts as zeros (HiFi-GAN's training mirrors the signal there): a row of a
    batch then has the frames that it has alone, and only the frames within n_fft / 2 of an end differ.
    """
    spectrum = torch.view_as_real(same_stft(wav, n_fft, hop))
    magnitude = (spectrum.square().sum(-1) + POWER_FLOOR).sqrt()
    return (magnitude.transpose(1, 2) @ filters.T).clamp_min(floor).log()


@cache
def slaney_filters(n_fft: int, num_mels: int, rate: int, high: float) -> np.ndarray:
    """Triangular filters of equal area from 0 to `high` Hz, float32 [M, n_fft // 2 + 1]."""
    bins = np.linspace(0, rate / 2, n_fft // 2 + 1) if n_fft % 2 == 0 else np.fft.rfftfreq(n_fft, 1 / rate)
    edges = _mel_to_hertz(np.linspace(0, _hertz_to_mel(high), num_mels + 2))
    rising = (bins[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins[None]) / np.diff(edges)[1:, None]
    triangles = np.clip(np.minimum(rising, falling), 0, None)
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def _hertz_to_mel(hertz: float) -> float:
    """Linear below 1 kHz (200/3 Hz per mel), 27 mels per factor of 6.4 above."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def _mel_to_hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) * (mel - 15) / 27))
