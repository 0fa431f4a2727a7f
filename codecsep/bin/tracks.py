"""The audio of an utterance as stage 2 encodes it: checked, at the codec's rate, a source without the zeros at its end.

Short files are read whole. Of a file over the limit nothing is held but the piece that is being encoded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from codecsep.data import audio
from codecsep.data.audio_blocks import AudioBlocks, Resampled
from codecsep.data.datadir import DataDir
from codecsep.errors import CodecsepError

REPAIR = "run --stage 0 again"
MIXTURE = "wav.scp"


class TokeniseError(CodecsepError):
    """Audio or a codec with which stage 2 cannot go on."""


class Tracks:
    """The files of a data directory at `rate` Hz. Raises TokeniseError when no audio is there at all."""

    def __init__(self, data: DataDir, rate: int):
        self.data, self.rate = data, rate
        self.num_samples = data.integers("utt2num_samples")
        self.file_rate = audio.sample_rate(first_file(data))

    def seconds(self, key: str) -> float:
        """How long an utterance lasts, by utt2num_samples."""
        return self.num_samples.get(key, 0) / self.file_rate

    def read(self, key: str, table: str) -> np.ndarray:
        """float32 [L] of one utterance in one table ("spk1.scp"). Raises AudioError, TokeniseError."""
        path = self.path(key, table)
        if table != MIXTURE:
            self.check_length(key, table, path, audio.num_samples(path))  # before it is read: it may be of any length
        samples, rate = audio.read_audio(path, declared=self.declared(key, table))
        self.check_length(key, table, path, len(samples))
        self.check_rate(rate, path)
        check_sound(samples.any(), path)
        return audio.resample(self.span(key, table, samples), rate, self.rate)

    def span(self, key: str, table: str, samples: np.ndarray) -> np.ndarray:
        """The samples of a file that are encoded: a source ends where only zeros follow."""
        return samples if table == MIXTURE else np.trim_zeros(samples, "b")

    @contextmanager
    def opened(self, key: str, table: str) -> Iterator[Resampled]:
        """The same samples, to be read in pieces. Raises AudioError, TokeniseError; also while they are read."""
        with self.blocks(key, table) as blocks:
            sounding = blocks.sounding()
            check_sound(sounding, str(blocks.path))
            length = blocks.num_samples if table == MIXTURE else sounding
            yield Resampled(blocks.read, length, blocks.rate, self.rate)

    @contextmanager
    def blocks(self, key: str, table: str) -> Iterator[AudioBlocks]:
        """A file as it is, to be read in pieces; its length and rate are right. Raises AudioError, TokeniseError."""
        path = self.path(key, table)
        with AudioBlocks(path, self.declared(key, table)) as blocks:
            self.check_length(key, table, path, blocks.num_samples)
            self.check_rate(blocks.rate, path)
            yield blocks

    def path(self, key: str, table: str) -> str:
        path = self.data.table(table).get(key)
        if path is None:
            raise TokeniseError("E103", f"{key} has no line", self.data.path / table, REPAIR)
        return path

    def declared(self, key: str, table: str) -> int | None:
        """Samples that a file must have; of a source only the most is known."""
        return self.num_samples.get(key) if table == MIXTURE else None

    def check_rate(self, rate: int, path: str) -> None:
        if rate != self.file_rate:
            what = f"has {rate} Hz, the first file of {self.data.path} {self.file_rate} Hz"
            raise TokeniseError("E221", what, path, "resample it in stage 0")

    def check_length(self, key: str, table: str, path: str, size: int) -> None:
        """A single source has the length in utt2num_samples, the source of a mixture at most that of the mixture."""
        noted = self.num_samples.get(key, 0)
        what = f"has {size} samples, utt2num_samples says {noted}"
        if size > noted:
            raise TokeniseError("E230", what, path, REPAIR)
        if table == MIXTURE and size != noted:
            raise TokeniseError("E202", what, path, REPAIR)


def check_sound(sounds: bool | int, path: str) -> None:
    """Raise TokeniseError (E211) unless there is a sample that is not zero."""
    if not sounds:
        raise TokeniseError("E211", "is silent", path, REPAIR)


def first_file(data: DataDir) -> str:
    """The first audio file (by id) that can be opened; its rate is that of the directory."""
    table = data.table(MIXTURE)
    for key in sorted(table, key=str.encode):
        if os.path.isfile(table[key]) and os.path.getsize(table[key]):
            return table[key]
    raise TokeniseError("E110", f"none of its {len(table)} files is there", data.path / MIXTURE, REPAIR)
