"""Audio files <-> float32 arrays. Everything that a file can get wrong is an `AudioError` of one line.

Reads what libsndfile reads (wav, flac, ogg, ...); writes 16-bit PCM wav. No torch here: a data job starts in 0.3 s.
"""

import math
import struct
from pathlib import Path

import numpy as np
import soundfile

from codecsep.data import atomic

FULL_SCALE = 32768


class AudioError(ValueError):
    """An audio file or signal that cannot be used; the message names the file and what to do."""


def read_audio(path: str | Path, rate: int | None = None, channel: int | None = None) -> tuple[np.ndarray, int]:
    """Read one file as float32 [L] in [-1, 1] and its sampling rate in Hz.

    rate: resample to this rate (polyphase); None keeps the file's.
    channel: which channel (from 0) of a file with several; such a file is refused when None.
    Raises AudioError: missing, not audio, cut short, empty, several channels, NaN or Inf.
    """
    path = Path(path)
    _header(path)
    try:
        samples, file_rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: audio data are damaged ({error}); make the file again") from error
    mono = check_signal(_pick_channel(samples, channel, path), str(path))
    if rate is None or rate == file_rate:
        return mono, file_rate
    return resample(mono, file_rate, rate), rate


def write_audio(path: str | Path, samples: np.ndarray, rate: int) -> str | None:
    """Write [L] float samples at `rate` Hz as 16-bit PCM wav, beside and renamed.

    Nothing is clipped silently: above full scale the whole signal is scaled down, and the warning is returned
    (None when the samples were written as they are). Raises AudioError on NaN, Inf, empty or not 1-D.
    """
    samples = check_signal(np.asarray(samples), f"samples for {path}")
    peak = float(np.abs(samples).max())
    warning = None
    if peak > 1.0:
        warning = f"{path}: peak {peak:.3f} is above full scale; written scaled by {1 / peak:.3f}"
        samples = samples / peak
    with atomic.replacing(path, forced=False) as beside:
        soundfile.write(str(beside), to_int16(samples), rate, format="WAV", subtype="PCM_16")
    return warning


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Round [L] float samples in [-1, 1] to int16 [L]; what `read_audio` gives back is this / 32768, exactly."""
    return np.clip(np.round(np.asarray(samples, np.float64) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resample [L] to float32 [ceil(L * to_rate / from_rate)] by a polyphase filter, as LibriMix does."""
    for name, value in (("from_rate", from_rate), ("to_rate", to_rate)):
        if value <= 0:
            raise AudioError(f"resample: {name} is {value}; a sampling rate in Hz above 0 is needed")
    if from_rate == to_rate:
        return np.asarray(samples, np.float32)
    from scipy.signal import resample_poly

    common = math.gcd(from_rate, to_rate)
    return resample_poly(samples, to_rate // common, from_rate // common).astype(np.float32)


def num_samples(path: str | Path) -> int:
    """Samples per channel as the header says, checked against the size of the file. Raises AudioError."""
    return _header(Path(path)).frames


def sample_rate(path: str | Path) -> int:
    """Sampling rate in Hz as the header says. Raises AudioError."""
    return _header(Path(path)).samplerate


def check_signal(samples: np.ndarray, name: str) -> np.ndarray:
    """Return `samples` [L] when it is 1-D, not empty and finite; raise AudioError naming `name` otherwise."""
    if samples.ndim != 1:
        raise AudioError(f"{name}: shape {tuple(samples.shape)}; one channel [L] is needed")
    if samples.size == 0:
        raise AudioError(f"{name}: holds no samples; remove it from the list or make it again")
    bad = np.flatnonzero(~np.isfinite(samples))
    if bad.size:
        raise AudioError(f"{name}: {bad.size} samples are NaN or Inf, the first at index {bad[0]}")
    return samples


def _pick_channel(samples: np.ndarray, channel: int | None, path: Path) -> np.ndarray:
    """[L, C] -> [L]."""
    count = samples.shape[1]
    if channel is None and count > 1:
        raise AudioError(f"{path}: has {count} channels, one is needed; convert it or read it with channel=0")
    if channel is not None and not 0 <= channel < count:
        raise AudioError(f"{path}: channel {channel} was asked for; it has channels 0 to {count - 1}")
    return np.ascontiguousarray(samples[:, channel or 0])


def _header(path: Path):
    """soundfile's info of a file that exists, is audio, is whole and is not empty."""
    if str(path).rstrip().endswith("|"):
        raise AudioError(f"{path}: commands (pipes) are not run; write their output to files first")
    if not path.is_file():
        raise AudioError(f"{path}: no such file (the working directory is {Path.cwd()}); run stage 0 again")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: holds 0 bytes; make the file again")
    try:
        info = soundfile.info(str(path))
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: is not an audio file that libsndfile reads ({_reason(error)})") from error
    if info.frames <= 0 or info.samplerate <= 0:
        raise AudioError(f"{path}: holds no samples; remove it from the list or make it again")
    _check_whole(path)
    return info


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).rstrip(".")


def _check_whole(path: Path) -> None:
    """libsndfile reads a cut RIFF file silently: compare the size that its data chunk promises with the file's."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        if file.read(4) != b"RIFF":
            return
        file.seek(12)
        while len(head := file.read(8)) == 8:
            kind, length = struct.unpack("<4sI", head)
            if kind == b"data":
                _check_data_chunk(path, length, size - file.tell())
                return
            file.seek(length + (length & 1), 1)


def _check_data_chunk(path: Path, promised: int, held: int) -> None:
    streamed = promised == 0xFFFFFFFF
    if promised > held and not streamed:
        raise AudioError(f"{path}: cut short: its header promises {promised} bytes of samples, it holds {held}")
