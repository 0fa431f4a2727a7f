"""Audio of some utterances -> their codes: the part of stage 2 that needs torch and the codec."""

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
from tqdm import tqdm

from codecsep.bin.shards import Shard
from codecsep.codecs import base
from codecsep.data import audio
from codecsep.data.ark import CodecInfo, TokenWriter
from codecsep.data.audio import AudioError
from codecsep.data.datadir import DataDir
from codecsep.data.skipped import Skipped, because
from codecsep.data.spans import check_span
from codecsep.errors import CodecsepError
from codecsep.faults import faultpoint
from codecsep.tokens.padding import pad_sequences

REPAIR = "run --stage 0 again"
Track = dict[str, np.ndarray]  # table ("spk1.scp") -> float32 [L] of one utterance


class TokeniseError(CodecsepError):
    """Audio or a codec with which stage 2 cannot go on."""


class Tokeniser:
    """Reads, checks and encodes the utterances of one job, in batches of similar length.

    names: table to read -> name of the ark to write. Raises TokeniseError when no audio is there at all.
    """

    def __init__(self, data: DataDir, names: dict[str, str], arguments: argparse.Namespace):
        self.data, self.names, self.device = data, names, arguments.device
        self.codec = base.load(arguments.codec, arguments.device)
        self.info: CodecInfo = self.codec.info
        self.num_samples = {key: int(value) for key, value in data.table("utt2num_samples").items()}
        self.rate = audio.sample_rate(first_file(data))
        self.batch_samples = arguments.batch_seconds * self.rate

    def run(self, shard: Shard, ids: list[str]) -> None:
        """Write the arks of this job and note frames and reasons in the shard."""
        shard.begin()
        frames: dict[str, int] = {}
        skipped: list[Skipped] = []
        with ExitStack() as stack:
            prefixes = {table: shard.prefix(name) for table, name in self.names.items()}
            writers = {table: stack.enter_context(TokenWriter(prefix)) for table, prefix in prefixes.items()}
            for batch in tqdm(list(self.batches(ids)), desc=str(self.data.path), disable=None, unit="batch"):
                usable = self.read(batch, skipped)
                for key, table, codes in self.encode(usable):
                    writers[table].write(key, codes)
                    frames[key] = max(frames.get(key, 0), codes.shape[1])
        shard.finish(len(ids), frames, skipped)

    def batches(self, ids: list[str]) -> Iterator[list[str]]:
        """Utterances in order of length, so many that the padded batch stays under --batch_seconds (at least one)."""
        batch: list[str] = []
        for key in sorted(ids, key=lambda key: (self.num_samples.get(key, 0), key)):
            if batch and (len(batch) + 1) * self.num_samples.get(key, 0) * len(self.names) > self.batch_samples:
                yield batch
                batch = []
            batch.append(key)
        if batch:
            yield batch

    def read(self, batch: list[str], skipped: list[Skipped]) -> dict[str, Track]:
        """The audio of the usable utterances; for the others the reason goes into `skipped`."""
        usable = {}
        for key in batch:
            try:
                usable[key] = {table: self.read_track(key, table) for table in self.names}
            except (AudioError, TokeniseError) as error:
                skipped.append(because(key, "2", error))
        return usable

    def read_track(self, key: str, table: str) -> np.ndarray:
        """float32 [L] at the rate of the codec; padding of mode "max" (zeros at the end) is cut off."""
        path = self.data.table(table).get(key)
        if path is None:
            raise TokeniseError("E103", f"{key} has no line", self.data.path / table, REPAIR)
        samples, rate = audio.read_audio(path, declared=self.num_samples.get(key) if table == "wav.scp" else None)
        if rate != self.rate:
            what = f"has {rate} Hz, the first file of {self.data.path} {self.rate} Hz"
            raise TokeniseError("E221", what, path, "resample it in stage 0")
        self.check_length(key, table, len(samples), path)
        if table != "wav.scp":
            samples = np.trim_zeros(samples, "b")
        if not samples.any():
            raise TokeniseError("E211", "is silent", path, REPAIR)
        return audio.resample(samples, rate, self.info.sample_rate)

    def check_length(self, key: str, table: str, size: int, path: str) -> None:
        """A single source has the length in utt2num_samples, the source of a mixture at most that of the mixture."""
        noted = self.num_samples.get(key, 0)
        what = f"has {size} samples, utt2num_samples says {noted}"
        if size > noted:
            raise TokeniseError("E230", what, path, REPAIR)
        if table == "wav.scp" and size != noted:
            raise TokeniseError("E202", what, path, REPAIR)

    def encode(self, usable: dict[str, Track]) -> Iterator[tuple[str, str, np.ndarray]]:
        """(utterance, table, codes int64 [K, T]), T exact for each. Raises TokeniseError when the codec errs."""
        places = [(key, table) for key, tracks in usable.items() for table in tracks]
        if not places:
            return
        waves, lengths = pad_sequences([usable[key][table] for key, table in places], 0.0)
        codes, frame_lengths = self.codec.encode(waves.to(self.device), lengths.to(self.device))
        codes, frame_lengths = codes.cpu().numpy(), frame_lengths.tolist()
        faultpoint("tokenise.batch")
        for (key, table), matrix, size, samples in zip(places, codes, frame_lengths, lengths.tolist(), strict=True):
            yield key, table, self.checked(key, matrix[:, :size], samples)

    def checked(self, key: str, codes: np.ndarray, samples: int) -> np.ndarray:
        """The codes [K, T] of so many samples at the codec's rate. Raises TokeniseError when they cannot be theirs."""
        expected = (self.info.num_codebooks, self.codec.num_frames(samples))
        if codes.shape != expected or codes.min() < 0 or codes.max() >= self.info.codebook_size:
            what = (
                f"made codes {list(codes.shape)} of {samples} samples, codec.json says "
                f"{list(expected)}, 0 <= code < {self.info.codebook_size}"
            )
            raise TokeniseError("E330", what, f"codec {self.info.name}", base.REPAIR)
        check_span(codes.shape[1], samples, samples, self.info, f"codec {self.info.name}, {key}", base.REPAIR)
        return codes


def first_file(data: DataDir) -> str:
    """The first audio file (by id) that can be opened; its rate is that of the directory."""
    table = data.table("wav.scp")
    for key in sorted(table, key=str.encode):
        if os.path.isfile(table[key]) and os.path.getsize(table[key]):
            return table[key]
    raise TokeniseError("E110", f"none of its {len(table)} files is there", data.path / "wav.scp", REPAIR)
