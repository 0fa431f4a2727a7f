"""Scores of one estimate against its reference by packages: ESTOI, PESQ, SDR. Undefined values are nan, never a crash.

Signals are float arrays [L] of one sampling rate; an estimate is cut or padded to the length of its reference first.
"""

from __future__ import annotations

import warnings

import numpy as np

from codecsep.metrics.weights import no_package

STOI_RATE = 10000  # Hz; the rate that STOI is defined at
BANDS = {"wb": 16000, "nb": 8000}  # Hz; the rates that the two modes of PESQ are defined at
SDR_TAPS = 512  # of the filter that BSS-eval forgives
SDR_LIMIT = 100.0  # dB; an estimate that is its reference has no finite SDR
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


def bands(rate: int) -> list[str]:
    """Modes of PESQ for signals at `rate` Hz: both from 16 kHz on, below only the narrow band."""
    return [mode for mode, own in BANDS.items() if mode == "nb" or own <= rate]


class Pesq:
    """PESQ by the package pesq, mode wb: wide band (P.862.2) at 16 kHz, nb: narrow band (P.862) at 8 kHz."""

    def __init__(self, mode: str):
        try:
            from pesq import PesqError, pesq
        except ImportError as error:
            raise no_package("PESQ", "pesq") from error
        self._pesq, self._error = pesq, PesqError
        self.mode, self.rate = mode, BANDS[mode]
        self.column = f"pesq_{self.mode}"

    def score(self, estimate: np.ndarray, reference: np.ndarray) -> float:
        """MOS-LQO of two signals at `self.rate`; nan where PESQ is undefined (silence, under 0.25 s)."""
        if is_silent(reference) or is_silent(estimate):
            return float("nan")
        try:
            return float(self._pesq(self.rate, reference, estimate, self.mode))
        except (self._error, ValueError, ZeroDivisionError):
            return float("nan")


class Sdr:
    """SDR of BSS-eval v3 (Vincent et al. 2006) with 512 taps, by the package fast_bss_eval (Scheibler 2022).

    It needs no other reference than its own. The filter is causal: it forgives a lag and not a lead.
    """

    def __init__(self):
        try:
            from fast_bss_eval import sdr_loss
        except ImportError as error:
            raise no_package("SDR", "fast_bss_eval") from error
        self._loss = sdr_loss

    def score(self, estimate: np.ndarray, reference: np.ndarray) -> float:
        """SDR in dB of two signals [L], between -100 and 100; nan where it is undefined (silence)."""
        if is_silent(reference) or is_silent(estimate):
            return float("nan")
        pair = (estimate.astype(np.float64), reference.astype(np.float64))
        try:
            return -float(self._loss(*pair, filter_length=SDR_TAPS, clamp_db=SDR_LIMIT))
        except np.linalg.LinAlgError:  # the reference is the sum of a few sines: any filter will do
            return float("nan")
