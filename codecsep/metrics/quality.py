"""DNSMOS: listening quality without a reference, P.835 (OVRL, SIG, BAK) and P.808, as columns of their own.

The networks are Microsoft's (Reddy et al. 2021 and 2022), run by onnxruntime. Papers write "DNSMOS" for either head;
the two are never comparable.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from codecsep.metrics.features import RATE, mel_power
from codecsep.metrics.waveform import is_silent
from codecsep.metrics.weights import no_package

WINDOW = 144160  # samples of 16 kHz that the networks see: 9.01 s
MAPPINGS = {  # polynomials of P.835 heads, highest power first, from the raw output to the MOS scale
    "sig": (-0.08397278, 1.22083953, 0.0052439),
    "bak": (-0.13166888, 1.60915514, -0.39604546),
    "ovrl": (-0.06766283, 1.11546468, 0.04602535),
}
COLUMNS = ("dnsmos_p835_ovrl", "dnsmos_p835_sig", "dnsmos_p835_bak", "dnsmos_p808")


class Dnsmos:
    """Both networks, on one thread each."""

    def __init__(self, p835: Path, p808: Path):
        try:
            import onnxruntime
        except ImportError as error:
            raise no_package("DNSMOS", "onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        provider = ["CPUExecutionProvider"]
        self._p835 = onnxruntime.InferenceSession(str(p835), options, providers=provider)
        self._p808 = onnxruntime.InferenceSession(str(p808), options, providers=provider)

    def score(self, samples: np.ndarray) -> dict[str, float]:
        """The four columns for 16 kHz samples [L] in [-1, 1], means over windows of 9.01 s every second; {} if silent.

        Signals shorter than a window are repeated, as upstream does.
        """
        if is_silent(samples):
            return {}
        rows = [self._window(window) for window in _windows(np.clip(samples, -1, 1).astype(np.float32))]
        return dict(zip(COLUMNS, np.mean(rows, axis=0).tolist(), strict=True))

    def _window(self, window: np.ndarray) -> list[float]:
        sig, bak, ovrl = self._p835.run(None, {"input_1": window[None]})[0][0]
        mel = mel_power(window[:-160], n_fft=321, num_mels=120)
        p808 = self._p808.run(None, {"input_1": _decibel(mel)[None]})[0][0][0]
        heads = {"sig": sig, "bak": bak, "ovrl": ovrl}
        mapped = [float(np.polyval(MAPPINGS[head], heads[head])) for head in ("ovrl", "sig", "bak")]
        return [*mapped, float(p808)]


def _windows(samples: np.ndarray) -> list[np.ndarray]:
    """Windows of 9.01 s that start at whole seconds."""
    while samples.size < WINDOW:
        samples = np.concatenate([samples, samples])
    count = int(samples.size // RATE - WINDOW / RATE) + 1
    starts = [i * RATE for i in range(count) if i * RATE + WINDOW <= samples.size]
    return [samples[start : start + WINDOW] for start in starts]


def _decibel(power: np.ndarray) -> np.ndarray:
    """Power [T, M] -> dB below the maximum, at most 80 down, scaled to [-1, 1] (librosa's power_to_db)."""
    decibel = 10 * np.log10(np.maximum(power, 1e-10)) - 10 * np.log10(max(float(power.max()), 1e-10))
    return ((np.maximum(decibel, decibel.max() - 80) + 40) / 40).astype(np.float32)
