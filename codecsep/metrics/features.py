"""The mel spectrograms that the judges were trained on (Slaney filterbank, periodic Hann window, power)."""

from __future__ import annotations

from functools import cache

import numpy as np

from codecsep.signal.mel import slaney_filters

RATE = 16000  # Hz; all judges listen at this rate


def mel_power(samples: np.ndarray, n_fft: int, num_mels: int, hop: int = 160, pad_mode: str = "constant") -> np.ndarray:
    """Power mel spectrogram [T, M] of samples [L] at 16 kHz, frames centred, T = 1 + L // hop."""
    padded = np.pad(np.asarray(samples, dtype=np.float32), n_fft // 2, mode=pad_mode)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    spectrum = np.fft.rfft(frames * _hann(n_fft), axis=-1)
    return (np.abs(spectrum).astype(np.float32) ** 2) @ slaney_filters(n_fft, num_mels, RATE, RATE / 2).T


@cache
def _hann(length: int) -> np.ndarray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)
