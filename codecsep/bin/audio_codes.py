"""Audio of some utterances -> their codes: the part of stage 2 that needs torch and the codec."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import torch

from codecsep.bin.progress import Progress
from codecsep.bin.shards import Shard
from codecsep.bin.tracks import TokeniseError, Tracks
from codecsep.codecs import base
from codecsep.codecs.long import LongSignalError
from codecsep.data.ark import CodecInfo, TokenWriter
from codecsep.data.audio import AudioError
from codecsep.data.datadir import DataDir
from codecsep.data.records import RecordWriter
from codecsep.data.skipped import Skipped, because
from codecsep.data.spans import check_span
from codecsep.faults import faultpoint
from codecsep.tokens.padding import pad_sequences

UNUSABLE = (AudioError, TokeniseError, LongSignalError)  # of an utterance: it is skipped, the others go on
Codes = Iterator[tuple[str, str, np.ndarray]]  # (utterance, table, codes int64 [K, T])


class Tokeniser:
    """Reads, checks and encodes the utterances of one job: those of similar length together, long ones in chunks.

    names: table to read -> name of the ark to write. Raises TokeniseError when no audio is there at all.
    """

    writer: type[RecordWriter] = TokenWriter
    time_axis = 1

    def __init__(self, data: DataDir, names: dict[str, str], arguments: argparse.Namespace):
        self.data, self.names, self.device = data, names, torch.device(arguments.device)
        self.batch_seconds, self.long_seconds = arguments.batch_seconds, arguments.long_seconds
        self.codec = base.load(arguments.codec, arguments.device)
        self.info: CodecInfo = self.codec.info
        self.tracks = Tracks(data, self.info.sample_rate)

    def run(self, shard: Shard, ids: list[str]) -> None:
        """Write the arks of this job and note frames and reasons in the shard."""
        shard.begin()
        frames: dict[str, int] = {}
        skipped: list[Skipped] = []
        progress = Progress(f"tokenise: {self.data.path}", len(ids), sum(map(self.seconds, ids)))
        with ExitStack() as stack:
            prefixes = {table: shard.prefix(name) for table, name in self.names.items()}
            writers = {table: stack.enter_context(self.writer(prefix)) for table, prefix in prefixes.items()}
            for batch in self.batches(ids):
                for key, table, codes in self.codes_of(batch, skipped):
                    writers[table].write(key, codes)
                    frames[key] = max(frames.get(key, 0), codes.shape[self.time_axis])
                progress.add(len(batch), sum(map(self.seconds, batch)))
        progress.finish()
        shard.finish(len(ids), frames, skipped)

    def seconds(self, key: str) -> float:
        """Seconds of audio to encode for an utterance: as many speakers as it has."""
        return self.tracks.seconds(key) * len(self.names)

    def batches(self, ids: list[str]) -> Iterator[list[str]]:
        """Utterances in order of length, so many that the padded batch stays under --batch_seconds (at least one)."""
        batch: list[str] = []
        for key in sorted(ids, key=lambda key: (self.seconds(key), key)):
            if batch and (len(batch) + 1) * self.seconds(key) > self.batch_seconds:
                yield batch
                batch = []
            batch.append(key)
        if batch:
            yield batch

    def codes_of(self, batch: list[str], skipped: list[Skipped]) -> Codes:
        """The codes of the usable utterances of a batch; for the others the reason goes into `skipped`."""
        usable: dict[str, dict[str, np.ndarray]] = {}
        for key in batch:
            try:
                if self.tracks.seconds(key) > self.long_seconds:
                    yield from [(key, table, self.encode_long(key, table)) for table in self.names]
                else:
                    usable[key] = {table: self.tracks.read(key, table) for table in self.names}
            except UNUSABLE as error:
                skipped.append(because(key, "2", error))
        yield from self.encode(usable)

    def encode(self, usable: dict[str, dict[str, np.ndarray]]) -> Codes:
        """Codes, T exact, of {utterance: {table: float32 [L]}}. Raises TokeniseError when the codec errs."""
        places = [(key, table) for key, tracks in usable.items() for table in tracks]
        if not places:
            return
        waves, lengths = pad_sequences([usable[key][table] for key, table in places], 0.0)
        codes, frame_lengths = self.codec.encode(moved(waves, self.device), moved(lengths, self.device))
        codes, frame_lengths = codes.cpu().numpy(), frame_lengths.tolist()
        faultpoint("tokenise.batch")
        for (key, table), matrix, size, samples in zip(places, codes, frame_lengths, lengths.tolist(), strict=True):
            yield key, table, self.checked(key, matrix[:, :size], samples)

    def encode_long(self, key: str, table: str) -> np.ndarray:
        """Codes [K, T] of a file of which only a piece at a time is in memory."""
        with self.tracks.opened(key, table) as track:

            def read(start: int, stop: int) -> torch.Tensor:
                return torch.from_numpy(track.read(start, stop))

            codes = self.codec.encode_long(read, track.num_samples)
            faultpoint("tokenise.batch")
            return self.checked(key, codes.cpu().numpy(), track.num_samples)

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


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On the device; to a GPU from page-locked memory, so that the copy runs while the next work is given out."""
    return tensor.to(device) if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
