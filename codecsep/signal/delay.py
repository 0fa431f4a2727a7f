"""The constant time shift between two versions of a signal."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.signal import correlate


def correlation(estimate: np.ndarray, reference: np.ndarray, limit: int) -> np.ndarray:
    """Normalised cross-correlation of two signals [L] at the lags -limit..limit, [2 * limit + 1]; zeros for silence.

    Lag d compares estimate[t + d] with reference[t].  Raises ValueError on unequal lengths.
    """
    if estimate.shape != reference.shape or estimate.ndim != 1:
        raise ValueError(f"correlation wants two signals [L] of equal length, got {estimate.shape}, {reference.shape}")
    scale = np.sqrt(float((estimate**2).sum()) * float((reference**2).sum()))
    if not len(estimate) or scale == 0:
        return np.zeros(2 * limit + 1)
    padded = np.pad(estimate.astype(np.float64), limit)
    return correlate(padded, reference.astype(np.float64), mode="valid", method="fft") / scale


def constant_delay(pairs: Iterable[tuple[np.ndarray, np.ndarray]], limit: int = 800) -> tuple[int, float]:
    """(samples by which the estimates lag their references, how surely): the lag at which the mean correlation over all
    pairs is strongest, and that correlation, 0..1.

    A codec that keeps the waveform gives nearly 1.  One that keeps only the spectrum's size correlates at a different
    lag in every recording: the mean is near 0, and there is no constant delay to speak of.
    """
    mean = np.mean([correlation(estimate, reference, limit) for estimate, reference in pairs], axis=0)
    best = int(np.argmax(np.abs(mean)))
    return best - limit, float(abs(mean[best]))
