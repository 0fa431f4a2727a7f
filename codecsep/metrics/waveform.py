"""Scores of one estimate against its reference: SI-SDR, ESTOI, PESQ. Undefined values are nan, never a crash.

Signals are float arrays [L] of one sampling rate; an estimate is cut or padded to the length of its reference first.
"""

from __future__ import annotations

import warnings

import numpy as np

from codecsep.metrics.weights import no_package
from codecsep.signal.si_sdr import si_sdr

STOI_RATE = 10000  # Hz; the rate that STOI is defined at
SILENCE = 1e-5  # peak below which a signal counts as silent (a third of one 16-bit step)


def is_silent(samples: np.ndarray) -> bool:
    """No samples, or none above a third of a 16-bit step."""
    return samples.size == 0 or float(np.abs(samples).max()) < SILENCE


def fit_length(samples: np.ndarray, length: int) -> np.ndarray:
    """[L'] cut, or padded with zeros behind, to [length]."""
    return np.pad(samples[:length], (0, max(0, length - samples.size)))


def advance(samples: np.ndarray, delay: int) -> np.ndarray:
    """Take a delay of so many samples out (negative: the signal led by as much); the length stays."""
    if delay == 0:
        return samples
    if abs(delay) >= samples.size:
        return np.zeros_like(samples)
    return np.pad(samples[delay:], (0, delay)) if delay > 0 else np.pad(samples[:delay], (-delay, 0))


def si_sdr_pair(estimate: np.ndarray, reference: np.ndarray, delay: int) -> tuple[float, float]:
    """SI-SDR in dB, raw and with the codec's constant delay (samples) taken out of the estimate."""
    raw = float(si_sdr(estimate, reference))
    return (raw, raw) if delay == 0 else (raw, float(si_sdr(advance(estimate, delay), reference)))


class Estoi:
    """Extended STOI (Jensen and Taal 2016) by pystoi; signals are resampled to 10 kHz once, however often compared."""

    name = "ESTOI (pystoi)"

    def __init__(self):
        try:
            import pystoi.utils
            from pystoi.stoi import stoi
        except ImportError as error:
            raise no_package("ESTOI", "pystoi") from error
        self._stoi, self._resample = stoi, pystoi.utils.resample_oct

    def prepare(self, samples: np.ndarray, rate: int) -> np.ndarray:
        """Samples [L] at `rate` Hz -> float64 at 10 kHz, as pystoi itself resamples."""
        samples = samples.astype(np.float64)
        return samples if rate == STOI_RATE else self._resample(samples, STOI_RATE, rate)

    def score(self, estimate: np.ndarray, reference: np.ndarray) -> float:
        """ESTOI of two prepared signals; 0 for a silent estimate, nan for a reference with under 0.4 s of speech."""
        if is_silent(reference):
            return float("nan")
        if is_silent(estimate):
            return 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            try:
                return float(self._stoi(reference, estimate, STOI_RATE, extended=True))
            except RuntimeWarning:
                return float("nan")


class Pesq:
    """PESQ by the package pesq: wide band (P.862.2) at 16 kHz, narrow band (P.862) at 8 kHz."""

    def __init__(self, rate: int):
        try:
            from pesq import PesqError, pesq
        except ImportError as error:
            raise no_package("PESQ", "pesq") from error
        self._pesq, self._error = pesq, PesqError
        self.rate, self.mode = (8000, "nb") if rate == 8000 else (16000, "wb")
        self.column = f"pesq_{self.mode}"

    def score(self, estimate: np.ndarray, reference: np.ndarray) -> float:
        """MOS-LQO of two signals at `self.rate`; nan where PESQ is undefined (silence, under 0.25 s)."""
        if is_silent(reference) or is_silent(estimate):
            return float("nan")
        try:
            return float(self._pesq(self.rate, reference, estimate, self.mode))
        except (self._error, ValueError, ZeroDivisionError):
            return float("nan")
