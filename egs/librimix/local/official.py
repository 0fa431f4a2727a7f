"""The arithmetic of LibriMix's generator: files and gains of a row -> the signals of a mixture, bit for bit.

Facts of the official scripts (Cosentino et al., 2020, arXiv 2005.11262) that decide about the last bit:

* sources are float32 at 16 kHz; the gain keeps them so; resample_poly (SciPy) comes after the gain;
* noise is the first channel, cut to the longest source; one that is too short is joined with itself, the joints
  cross-faded by the halves of a Hann window of 16,001 points, in float64;
* min cuts all signals to the shortest one, max pads with zeros at the end;
* mixtures are summed one source after the other in float32, starting from zero, whatever the noise is;
* libsndfile turns floats into 16 bits when it writes (towards minus infinity, as soundfile has it clip).
"""

import io
import math
from pathlib import Path

import numpy as np
import soundfile

from codecsep.data import audio

RATE = 16000  # Hz of LibriSpeech and of the noise
FADE = RATE // 2 + 1  # samples, the rising half of the window
TYPES = ("clean", "both", "single")


def read_source(path: Path) -> np.ndarray:
    """float32 [L] of one utterance. Raises AudioError, also when it has not 16 kHz."""
    return _at_rate(path, *audio.read_audio(path))


def read_noise(path: Path, length: int) -> np.ndarray:
    """float32 [length] of a noise, float64 when it had to be extended. Raises AudioError."""
    samples = _at_rate(path, *audio.read_audio(path, channel=0))[:length]
    if len(samples) == length:
        return samples
    if len(samples) <= FADE:
        what = f"lasts {len(samples)} samples, {length} are needed, and it is too short to be joined with itself"
        raise audio.AudioError("E230", what, path, "take the noise of wham_noise as it was published")
    return extend(samples, length)


def extend(noise: np.ndarray, length: int) -> np.ndarray:
    """[L] -> float64 [length]: the noise again and again, each time faded in over the end of what is there.

    L is above FADE and at most `length`.
    """
    window = np.hanning(2 * FADE - 1)
    rising, falling = window[:FADE], window[FADE - 1 :: -1]
    step = len(noise) - FADE
    repeats = -(-(length - len(noise)) // step)
    extended = np.zeros(len(noise) + repeats * step)
    extended[: len(noise)] = noise
    for start in range(step, repeats * step + 1, step):
        joint = slice(start, start + FADE)
        extended[joint] = extended[joint] * falling + noise[:FADE] * rising
        extended[start + FADE : start + len(noise)] = noise[FADE:]
    return extended[:length]


def transformed(signals: list[np.ndarray], gains: list[float], rate: int, mode: str) -> list[np.ndarray]:
    """Scaled, at `rate` Hz, all equally long."""
    step = math.gcd(rate, RATE)
    scaled = [resample(signal * gain, rate // step, RATE // step) for signal, gain in zip(signals, gains, strict=True)]
    lengths = [len(signal) for signal in scaled]
    length = min(lengths) if mode == "min" else max(lengths)
    return [np.pad(signal[:length], (0, max(0, length - len(signal)))) for signal in scaled]


def resample(samples: np.ndarray, up: int, down: int) -> np.ndarray:
    """[L] -> [ceil(L * up / down)], of the same precision."""
    if up == down:
        return samples
    from scipy.signal import resample_poly

    return resample_poly(samples, up, down)


def mixed(sources: list[np.ndarray], noise: np.ndarray | None, kind: str) -> np.ndarray:
    """float32 [L]: the mixture of a kind out of TYPES."""
    parts = sources if kind != "single" else sources[:1]
    mixture = np.zeros_like(sources[0])
    for part in parts if kind == "clean" else [*parts, noise]:
        mixture += part
    return mixture


def wav_bytes(samples: np.ndarray, rate: int) -> bytes:
    """A 16-bit wav file of [L] samples."""
    wav = io.BytesIO()
    soundfile.write(wav, samples, rate, format="WAV", subtype="PCM_16")
    return wav.getvalue()


def _at_rate(path: Path, samples: np.ndarray, rate: int) -> np.ndarray:
    if rate != RATE:
        raise audio.AudioError("E221", f"has {rate} Hz, LibriMix is made of 16000 Hz", path, "take it as published")
    return samples


def decoded(wav: bytes) -> np.ndarray:
    """float32 [L] of a wav file in memory."""
    return soundfile.read(io.BytesIO(wav), dtype="float32")[0]
