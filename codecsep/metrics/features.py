"""The mel spectrograms that the judges were trained on (Slaney filterbank, periodic Hann window, power)."""

from __future__ import annotations

from functools import cache

import numpy as np

RATE = 16000  # Hz; all judges listen at this rate


def mel_power(samples: np.ndarray, n_fft: int, num_mels: int, hop: int = 160, pad_mode: str = "constant") -> np.ndarray:
    """Power mel spectrogram [T, M] of samples [L] at 16 kHz, frames centred, T = 1 + L // hop."""
    padded = np.pad(np.asarray(samples, dtype=np.float32), n_fft // 2, mode=pad_mode)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    spectrum = np.fft.rfft(frames * _hann(n_fft), axis=-1)
    return (np.abs(spectrum).astype(np.float32) ** 2) @ slaney_filters(n_fft, num_mels).T


@cache
def _hann(length: int) -> np.ndarray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


@cache
def slaney_filters(n_fft: int, num_mels: int) -> np.ndarray:
    """Triangular filters [M, n_fft // 2 + 1] of equal area from 0 to 8 kHz (Slaney 1998, Auditory Toolbox)."""
    bins = np.linspace(0, RATE / 2, n_fft // 2 + 1) if n_fft % 2 == 0 else np.fft.rfftfreq(n_fft, 1 / RATE)
    edges = _mel_to_hertz(np.linspace(0, _hertz_to_mel(RATE / 2), num_mels + 2))
    rising = (bins[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins[None]) / np.diff(edges)[1:, None]
    triangles = np.clip(np.minimum(rising, falling), 0, None)
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def _hertz_to_mel(hertz: float) -> float:
    """Linear below 1 kHz (200/3 Hz per mel), 27 mels per factor of 6.4 above."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def _mel_to_hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) * (mel - 15) / 27))
