"""Audio files <-> float32 arrays. Everything that a file can get wrong is an `AudioError` of one line.

Reads what libsndfile reads (wav, flac, ogg, ...); writes 16-bit PCM wav. No torch here: a data job starts in 0.3 s.
A file is refused unless it can be known to be whole: wav by its header, flac and ogg by their checksums, any other
format only with the length that utt2num_samples declares.
"""

import io
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

from codecsep.data import atomic
from codecsep.data.wave_file import MAKE_AGAIN, AudioError, check_rate, check_whole

FULL_SCALE = 32768
SELF_CHECKED = ("WAV", "WAVEX", "RF64", "FLAC", "OGG")
BLOCK = 1 << 20  # samples that are decoded at once: memory follows what a file holds, not what it says
MAX_SAMPLES = 1 << 31  # per channel; 37 hours at 16 kHz
MAX_LISTED = 20


def read_audio(
    path: str | Path, rate: int | None = None, channel: int | None = None, declared: int | None = None
) -> tuple[np.ndarray, int]:
    """Read one file as float32 [L] in [-1, 1] and its sampling rate in Hz.

    rate: resample to this rate (polyphase); None keeps the file's.
    channel: which channel (from 0) of a file with several; such a file is refused when None.
    declared: samples that the file must have (of utt2num_samples); mp3 and other formats that do not tell a cut file
    from a whole one are read only with it.
    Raises AudioError: missing, not audio, cut short, damaged, empty, several channels, NaN or Inf.
    """
    path = Path(path)
    info = header(path)
    check_declared(info, path, declared)
    mono = check_signal(_pick_channel(_decode(path, info), channel, path), str(path))
    if declared is not None and len(mono) != declared:
        raise _other_length(path, len(mono), declared)
    if rate is None or rate == info.samplerate:
        return mono, info.samplerate
    return resample(mono, info.samplerate, rate), rate


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
    wav = io.BytesIO()  # libsndfile says "System error." when a disk is full, and leaves a file that looks whole
    soundfile.write(wav, to_int16(samples), rate, format="WAV", subtype="PCM_16")
    with atomic.replacing(path, forced=False) as beside:
        beside.write_bytes(wav.getvalue())
    return warning


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Round [L] float samples in [-1, 1] to int16 [L]; what `read_audio` gives back is this / 32768, exactly."""
    return np.clip(np.round(np.asarray(samples, np.float64) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resample [L] to float32 [ceil(L * to_rate / from_rate)] by a polyphase filter, as LibriMix does."""
    for name, value in (("from_rate", from_rate), ("to_rate", to_rate)):
        if value <= 0:
            raise AudioError("E221", f"{name} is {value}", "resample", "a sampling rate in Hz above 0 is needed")
    if from_rate == to_rate:
        return np.asarray(samples, np.float32)
    from scipy.signal import resample_poly

    common = math.gcd(from_rate, to_rate)
    return resample_poly(samples, to_rate // common, from_rate // common).astype(np.float32)


def num_samples(path: str | Path, declared: int | None = None) -> int:
    """Samples per channel as the header says, checked against the size of the file and `declared` (see `read_audio`).

    Raises AudioError.
    """
    info = header(Path(path))
    check_declared(info, Path(path), declared)
    return info.frames


def sample_rate(path: str | Path) -> int:
    """Sampling rate in Hz as the header says. Raises AudioError."""
    return header(Path(path)).samplerate


def check_signal(samples: np.ndarray, name: str) -> np.ndarray:
    """Return `samples` [L] when it is 1-D, not empty and finite; raise AudioError naming `name` otherwise."""
    if samples.ndim != 1:
        raise AudioError("E230", f"shape {tuple(samples.shape)}; one channel [L] is needed", name, "give one channel")
    if samples.size == 0:
        raise AudioError("E230", "holds no samples", name, MAKE_AGAIN)
    bad = np.flatnonzero(~np.isfinite(samples))
    if bad.size:
        what = f"{bad.size} samples are NaN or Inf, the first at index {bad[0]}"
        raise AudioError("E204", what, name, MAKE_AGAIN)
    return samples


def check_duration(length: int, rate: int, where: object, shortest: float, longest: float = math.inf) -> None:
    """Raise AudioError unless `length` samples at `rate` Hz last from `shortest` to `longest` seconds."""
    seconds = length / rate
    if not shortest <= seconds <= longest:
        what = f"lasts {seconds:.4f} s ({length} samples); {shortest:g} to {longest:g} s can be used"
        raise AudioError("E230", what, where, "leave it out, or cut it into pieces")


def check_same_length(lengths: Mapping[str, int], where: object) -> None:
    """Raise AudioError unless a mixture and its sources, {name: samples}, are equally long."""
    if len(set(lengths.values())) > 1:
        given = ", ".join(f"{name} {length}" for name, length in lengths.items())
        fix = "make the mixture and its sources again from the same files, resampled before mixing"
        raise AudioError("E231", f"differ in length: {given} samples", where, fix)


def require_readable(paths: Mapping[str, str], where: object) -> None:
    """Raise one AudioError that names all files (20 at most) of {id: path} that are missing or may not be read."""
    found = [f"{key} {path} ({fault})" for key, path in paths.items() if (fault := _unreadable(path))]
    if found:
        listed = ", ".join(found[:MAX_LISTED]) + (", ..." if len(found) > MAX_LISTED else "")
        what = f"{len(found)} of {len(paths)} files cannot be read: {listed}"
        raise AudioError("E110", what, where, f"mend the paths (they are relative to {Path.cwd()}), or run --stage 0")


def _unreadable(path: str) -> str | None:
    if path.rstrip().endswith("|") or path.lstrip().startswith("|"):
        return "a command; commands in lists are not run"
    if not os.path.exists(path):
        return "no such file"
    if not os.path.isfile(path):
        return "not a file"
    return None if os.access(path, os.R_OK) else "no permission"


def _pick_channel(samples: np.ndarray, channel: int | None, path: Path) -> np.ndarray:
    """[L, C] -> [L]."""
    count = samples.shape[1]
    if channel is None:
        check_one_channel(count, path)
    if channel is not None and not 0 <= channel < count:
        what = f"channel {channel} was asked for; it has channels 0 to {count - 1}"
        raise AudioError("E220", what, path, "ask for one that it has")
    return np.ascontiguousarray(samples[:, channel or 0])


def check_one_channel(count: int, path: Path) -> None:
    """Raise AudioError unless a file has a single channel."""
    if count > 1:
        fix = "convert it to one channel, or read it with channel=0"
        raise AudioError("E220", f"has {count} channels, one is needed", path, fix)


def _decode(path: Path, info) -> np.ndarray:
    """float32 [L, C], in blocks: a header that promises more than there is costs no memory."""
    blocks = []
    try:
        with soundfile.SoundFile(str(path)) as file:
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block)
    except soundfile.LibsndfileError as error:
        raise AudioError("E203", f"audio data are damaged ({reason(error)})", path, MAKE_AGAIN) from error
    samples = np.concatenate(blocks) if blocks else np.zeros((0, info.channels), np.float32)
    if len(samples) != info.frames and info.format in SELF_CHECKED:
        what = f"audio data are damaged: {len(samples)} of {info.frames} samples could be decoded"
        raise AudioError("E203", what, path, MAKE_AGAIN)
    return samples


def header(path: Path):
    """soundfile's info of a file that exists, is audio, is whole and is not empty."""
    if fault := _unreadable(str(path)):
        if fault.startswith("a command"):
            raise AudioError("E701", fault, path, "write its output to a file first")
        fix = f"mend the path (the working directory is {Path.cwd()}), or run --stage 0 again"
        raise AudioError("E110", fault, path, fix)
    if path.stat().st_size == 0:
        raise AudioError("E201", "holds 0 bytes", path, MAKE_AGAIN)
    check_whole(path)
    try:
        info = soundfile.info(str(path))
    except soundfile.LibsndfileError as error:
        what = f"is not an audio file that libsndfile reads ({reason(error)})"
        raise AudioError("E201", what, path, "give wav or flac; remove what is no audio from the list") from error
    if info.frames <= 0:
        raise AudioError("E230", "holds no samples", path, MAKE_AGAIN)
    if info.frames > MAX_SAMPLES:
        what = f"says that it holds {info.frames:,} samples, at most {MAX_SAMPLES:,} are read"
        raise AudioError("E230", what, path, "cut it into pieces, or make it again")
    check_rate(info.samplerate, path)
    return info


def check_declared(info, path: Path, declared: int | None) -> None:
    if declared is None and info.format not in SELF_CHECKED:
        what = f"a file of kind {info.format} does not tell whether it is whole"
        raise AudioError("E202", what, path, "declare its length in utt2num_samples, or convert it to wav or flac")
    if declared is not None and info.format in SELF_CHECKED and info.frames != declared:
        raise _other_length(path, info.frames, declared)


def _other_length(path: Path, found: int, declared: int) -> AudioError:
    what = f"holds {found:,} samples, utt2num_samples says {declared:,}"
    return AudioError("E202", what, path, "run --stage 0 again, or make the file again")


def reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).rstrip(".")
