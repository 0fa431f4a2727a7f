"""Audio files of any length, read piece by piece: the samples of `audio.read_audio` in bounded memory.

A piece is asked for by its place; pieces are expected to follow each other, with overlap. Going back further than the
piece before starts again at the beginning of the file, because not every format can be entered in the middle exactly.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from codecsep.data import audio
from codecsep.data.wave_file import MAKE_AGAIN, AudioError

Read = Callable[[int, int], np.ndarray]  # (start, stop) -> float32 [stop - start]


class AudioBlocks:
    """One file of one channel; a context manager. rate: Hz, num_samples: as its header or utt2num_samples says.

    Raises AudioError as `audio.read_audio` does: on opening what the header shows, and while reading the rest.
    """

    def __init__(self, path: str | Path, declared: int | None = None):
        self.path = Path(path)
        info = audio.header(self.path)
        audio.check_declared(info, self.path, declared)
        audio.check_one_channel(info.channels, self.path)
        self.rate, self.num_samples = info.samplerate, info.frames if declared is None else declared
        self._past = np.zeros(0, np.float32)  # the samples up to `_place`, as many as the last piece had
        self._place = 0

    def __enter__(self) -> "AudioBlocks":
        self._file = soundfile.SoundFile(str(self.path))
        return self

    def __exit__(self, kind, value, trace) -> None:
        self._file.close()

    def sounding(self) -> int:
        """Samples up to the last one that is not zero (0: silence), after a look at every sample of the file.

        Raises AudioError on NaN, Inf, damage, and an end before or after the one that was promised.
        """
        last = 0
        for start in range(0, self.num_samples, audio.BLOCK):
            piece = self.read(start, min(start + audio.BLOCK, self.num_samples))
            bad = np.flatnonzero(~np.isfinite(piece))
            if bad.size:
                what = f"{bad.size} samples are NaN or Inf, the first at index {start + bad[0]}"
                raise AudioError("E204", what, self.path, MAKE_AGAIN)
            found = np.flatnonzero(piece)
            last = start + int(found[-1]) + 1 if found.size else last
        if len(self._file.read(1)):
            raise AudioError("E202", f"holds more than {self.num_samples:,} samples", self.path, MAKE_AGAIN)
        return last

    def read(self, start: int, stop: int) -> np.ndarray:
        """float32 [stop - start], 0 <= start <= stop <= num_samples."""
        if start < self._place - len(self._past):
            self._file.seek(0)
            self._past, self._place = np.zeros(0, np.float32), 0
        while self._place < start:
            self._advance(min(audio.BLOCK, start - self._place))
        kept = self._past[len(self._past) - (self._place - start) :]
        if stop > self._place:
            kept = np.concatenate([kept, self._advance(stop - self._place)])
        self._past = kept
        return kept[: stop - start].copy()

    def _advance(self, count: int) -> np.ndarray:
        """The next samples of the file."""
        try:
            piece = self._file.read(count, dtype="float32")
        except soundfile.LibsndfileError as error:
            what = f"audio data are damaged ({audio.reason(error)})"
            raise AudioError("E203", what, self.path, MAKE_AGAIN) from error
        if len(piece) < count:
            what = f"audio data are damaged: {self._place + len(piece)} of {self.num_samples} samples could be decoded"
            raise AudioError("E203", what, self.path, MAKE_AGAIN)
        self._past, self._place = piece, self._place + count
        return piece


class Resampled:
    """The first `num_samples` that `read` gives at one rate, at another: the samples of `audio.resample`, in pieces.

    The filter of scipy's `resample_poly` has 20 max(up, down) + 1 taps at `up` times the rate; a piece is made of the
    samples that they reach, from a place on where input and output meet, so that every sum is the one of the whole.
    """

    def __init__(self, read: Read, num_samples: int, from_rate: int, to_rate: int):
        common = math.gcd(from_rate, to_rate)
        self.up, self.down = to_rate // common, from_rate // common
        self._read, self._length, self._rates = read, num_samples, (from_rate, to_rate)
        self._reach = 10 * max(self.up, self.down) // self.up + 2  # samples to either side
        self.num_samples = -(-num_samples * self.up // self.down)

    def read(self, start: int, stop: int) -> np.ndarray:
        """float32 [stop - start], 0 <= start <= stop <= num_samples."""
        if self.up == self.down:
            return self._read(start, stop)
        first = max(0, start * self.down // self.up - self._reach) // self.down * self.down
        last = min(self._length, -(-stop * self.down // self.up) + self._reach)
        made = audio.resample(self._read(first, last), *self._rates)
        offset = first // self.down * self.up
        return made[start - offset : stop - offset]
