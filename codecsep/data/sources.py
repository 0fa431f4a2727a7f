"""The audio of a directory of single sources, held in memory as int16 so that mixtures can be made on the fly."""

from pathlib import Path

import numpy as np

from codecsep.data import audio
from codecsep.data.datadir import DataDir
from codecsep.errors import CodecsepError

RAM_LIMIT = 8 << 30  # bytes; above it files are read again each time


class SourceError(CodecsepError):
    """Sources that cannot be used together; the message names the file and the stage that repairs it."""


class SourceAudio:
    """utterance id -> float32 [L] in [-1, 1].

    All audio is read when the object is made, into one array of int16 that forked workers share (up to `ram_limit`
    bytes, above that from the files at each access). Raises SourceError when rates or ids do not agree, AudioError on
    files that cannot be read or are not as long as utt2num_samples says.
    """

    def __init__(self, sources_dir: Path | str, ram_limit: int = RAM_LIMIT):
        directory = DataDir(sources_dir)
        self.path, self.paths = directory.path, directory.table("wav.scp")
        self.num_samples = directory.integers("utt2num_samples")
        if missing := [key for key in self.paths if key not in self.num_samples]:
            what = f"has no line for {len(missing)} utterances of wav.scp, first {missing[:3]}"
            raise SourceError("E103", what, directory.path / "utt2num_samples", "run --stage 0 again")
        audio.require_readable(self.paths, directory.path / "wav.scp")
        self.rate = audio.sample_rate(next(iter(self.paths.values())))
        self.places: dict[str, int] = {}
        if 2 * sum(self.num_samples.values()) <= ram_limit:
            self._fill()

    def wav(self, key: str) -> np.ndarray:
        """float32 [L] of one utterance."""
        if key not in self.places:
            return self._read(key)
        start = self.places[key]
        part = self.samples[start : start + self.num_samples[key]]
        return part.astype(np.float32) / np.float32(audio.FULL_SCALE)

    def _fill(self) -> None:
        self.samples = np.empty(sum(self.num_samples[key] for key in self.paths), np.int16)
        position = 0
        for key in self.paths:
            size = self.num_samples[key]
            self.samples[position : position + size] = audio.to_int16(self._read(key))
            self.places[key] = position
            position += size

    def _read(self, key: str) -> np.ndarray:
        samples, rate = audio.read_audio(self.paths[key], declared=self.num_samples[key])
        if rate != self.rate:
            what = f"has {rate} Hz, others {self.rate} Hz"
            raise SourceError("E221", what, self.paths[key], "resample in stage 0")
        return samples
