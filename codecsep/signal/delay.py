"""The constant time shift between two versions of a signal."""

from __future__ import annotations

import numpy as np
from scipy.signal import correlate


def delay_of(estimate: np.ndarray, reference: np.ndarray, limit: int = 800) -> int:
    """Samples by which `estimate` [L] lags `reference` [L] (negative: leads), at the peak of |cross-correlation|.

    Only shifts within +-`limit` samples are looked at.  Silence has no delay: 0.  Raises ValueError on unequal lengths.
    """
    if estimate.shape != reference.shape or estimate.ndim != 1:
        raise ValueError(f"delay_of wants two signals [L] of equal length, got {estimate.shape} and {reference.shape}")
    if not len(estimate) or not estimate.any() or not reference.any():
        return 0
    scores = np.abs(correlate(estimate.astype(np.float64), reference.astype(np.float64), mode="full", method="fft"))
    centre = len(reference) - 1
    low = max(0, centre - limit)
    return int(np.argmax(scores[low : centre + limit + 1])) + low - centre
