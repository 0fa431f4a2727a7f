"""Audio of some utterances -> their latents: what a codec's quantiser is given, for separators that work there.

As Codecformer (arXiv 2406.12434, and 2411.17998) treats its input, every signal is divided by its own absolute peak.
A source is encoded at the length of its mixture, so that the silence behind a speaker has the latents of silence and
all matrices of an utterance have the same T.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from codecsep.bin.audio_codes import Codes, Tokeniser, moved
from codecsep.bin.shards import Shard
from codecsep.bin.tracks import TokeniseError, Tracks, check_sound
from codecsep.codecs import base
from codecsep.codecs.block_codec import BlockCodec
from codecsep.codecs.exact import exact_arithmetic
from codecsep.codecs.long import Read
from codecsep.data import audio
from codecsep.data.atomic import DiskError
from codecsep.data.audio_blocks import AudioBlocks
from codecsep.data.datadir import DataDir
from codecsep.data.latent_ark import LatentWriter
from codecsep.data.spans import check_span
from codecsep.faults import faultpoint
from codecsep.models.latent_separator import QUIET, peak_normalised
from codecsep.signal.resample import resample
from codecsep.tokens.padding import pad_sequences

SPARE = 16 * 2**20  # bytes beside the latents: lists, manifests, other programs


class WholeTracks(Tracks):
    """Tracks at the rate of their files, every source filled up with zeros to the length of its mixture."""

    def span(self, key: str, table: str, samples: np.ndarray) -> np.ndarray:
        return np.pad(samples, (0, self.num_samples[key] - len(samples)))


class LatentTokeniser(Tokeniser):
    """`Tokeniser` for latents [T, D]. Long files go through the encoder in blocks where the codec has blocks (dac and
    encodec) and the files its rate, else whole; the latents of a file are in memory at once."""

    writer = LatentWriter
    time_axis = 0

    def __init__(self, data: DataDir, names: dict[str, str], arguments: argparse.Namespace):
        super().__init__(data, names, arguments)
        self.tracks = WholeTracks(data, self.tracks.file_rate)
        if self.tracks.file_rate != self.info.sample_rate or not isinstance(self.codec, BlockCodec):
            self.long_seconds = float("inf")

    def run(self, shard: Shard, ids: list[str]) -> None:
        """Raises DiskError (E320), before anything is written, where there is no room for the latents of this job."""
        needed = sum(4 * self.codec.latent_size * self.frames(key) * len(self.names) for key in ids)
        require_room(shard.out, needed, f"{len(ids)} utterances of {self.codec.latent_size} values a frame")
        super().run(shard, ids)

    def frames(self, key: str) -> int:
        """T of an utterance, by utt2num_samples."""
        return self.codec.num_frames(self.coded_samples(self.tracks.num_samples.get(key, 0)))

    def coded_samples(self, num_samples: int) -> int:
        """Samples of a file -> samples at the codec's rate."""
        return -(-num_samples * self.info.sample_rate // self.tracks.file_rate)

    def encode(self, usable: dict[str, dict[str, np.ndarray]]) -> Codes:
        """Latents [T, D] of {utterance: {table: float32 [L]}}: on a CPU row by row, as codes are made."""
        places = [(key, table) for key, tracks in usable.items() for table in tracks]
        size = len(places) if self.device.type != "cpu" else 1
        for start in range(0, len(places), size):
            some = places[start : start + size]
            latents, frame_lengths = self.latents_of([usable[key][table] for key, table in some])
            faultpoint("tokenise.batch")
            for (key, table), matrix, frames in zip(some, latents, frame_lengths, strict=True):
                yield key, table, self.checked_latents(key, matrix[:frames])

    def latents_of(self, waves: list[np.ndarray]) -> tuple[np.ndarray, list[int]]:
        """Samples [L_i] at the files' rate -> latents [B, T, D], frames of each."""
        wav, lengths = pad_sequences(waves, 0.0)
        with torch.inference_mode(), exact_arithmetic(self.codec):
            wav, lengths = resample(wav, lengths, self.tracks.file_rate, self.info.sample_rate)
            wav, lengths = moved(peak_normalised(wav), self.device), moved(lengths, self.device)
            latents, frame_lengths = self.codec.latents(wav, lengths)
        return latents.cpu().numpy(), frame_lengths.tolist()

    def encode_long(self, key: str, table: str) -> np.ndarray:
        """Latents [T, D] of a file of which only a block at a time is in memory."""
        with self.tracks.blocks(key, table) as file:
            read, num_samples = scaled(file, peak(file)), self.tracks.num_samples[key]
            with torch.inference_mode(), exact_arithmetic(self.codec):
                blocks = [block[0].cpu() for block in self.codec.blocks(read, num_samples)]
            faultpoint("tokenise.batch")
            return self.checked_latents(key, torch.cat(blocks).numpy())

    def checked_latents(self, key: str, latents: np.ndarray) -> np.ndarray:
        """Raises TokeniseError when they cannot be those of this utterance."""
        samples, wanted = self.coded_samples(self.tracks.num_samples[key]), (self.frames(key), self.codec.latent_size)
        if latents.shape != wanted:
            what = f"made latents {list(latents.shape)} of {samples} samples, expected {list(wanted)}"
            raise TokeniseError("E330", what, f"codec {self.info.name}", base.REPAIR)
        check_span(len(latents), samples, samples, self.info, f"codec {self.info.name}, {key}", base.REPAIR)
        return latents


def peak(file: AudioBlocks) -> float:
    """The greatest absolute sample, at least QUIET. Raises TokeniseError (E211) for silence, AudioError for damage."""
    check_sound(file.sounding(), str(file.path))
    starts = range(0, file.num_samples, audio.BLOCK)
    return max(QUIET, *(float(np.abs(file.read(at, min(at + audio.BLOCK, file.num_samples))).max()) for at in starts))


def scaled(file: AudioBlocks, peak: float) -> Read:
    """(start, stop) -> samples divided by the peak, zeros behind the end of the file."""

    def read(start: int, stop: int) -> Tensor:
        end = file.num_samples
        samples = file.read(min(start, end), min(stop, end)) / np.float32(peak)
        return torch.from_numpy(np.pad(samples, (0, stop - start - len(samples))))

    return read


def require_room(out: Path, needed: int, what: str) -> None:
    """Say how much will be written. Raises DiskError (E320) when the disk has no room for it."""
    place = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    print(f"tokenise: {out}: {needed / 2**20:.0f} MiB of latents to be written ({what}), {free // 2**20} MiB are free",
          file=sys.stderr)  # fmt: skip
    if needed + SPARE > free:
        told = f"{needed // 2**20} MiB of latents do not fit, {free // 2**20} MiB are free"
        raise DiskError("E320", told, out, "free some space, write elsewhere, or train on fewer utterances")
