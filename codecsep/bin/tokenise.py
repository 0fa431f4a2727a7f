"""Stage 2: audio of a data directory -> codes in `dump/<set>`.

    python -m codecsep.bin.tokenise --codec exp/codec --data data/train --out dump/train --job 1/4

Every spk<j>.scp becomes spk<j>_codes.{ark,scp}; in a directory of single sources wav.scp becomes codes.{ark,scp}. Also
written: codec.json, utt2num_frames, skipped.tsv, and last of all manifest.json. With several jobs (--job i/n, ids dealt
out in turn) each writes <name>.<i>.{ark,scp}; the one that finishes last joins the scp files. What is there already and
was made from the same audio by the same codec is not made again.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from codecsep import config
from codecsep.bin.shards import Shard, SkippedError, job_of, join, same_sources
from codecsep.codecs import base
from codecsep.data import audio
from codecsep.data.ark import CodecInfo, TokenWriter, read_codec_info
from codecsep.data.datadir import DataDir
from codecsep.tokens.padding import pad_sequences

PROG = "tokenise"
Track = dict[str, np.ndarray]  # table ("spk1.scp") -> float32 [L] of one utterance


class TokeniseError(ValueError):
    """Audio or a codec with which stage 2 cannot go on."""


def parser() -> argparse.ArgumentParser:
    result = config.parser(PROG, __doc__.split("\n")[0])
    result.add_argument("--codec", type=Path, required=True, help="codec directory, of stage 1")
    result.add_argument("--data", type=Path, required=True, help="data directory, of stage 0")
    result.add_argument("--out", type=Path, required=True, help="where the codes go: dump/<set>")
    result.add_argument("--job", default="1/1", help="which part: <i>/<n>, i from 1")
    result.add_argument("--batch_seconds", type=float, default=60.0, help="audio in a batch after padding, s")
    result.add_argument("--max_skipped", type=float, default=0.01, help="share of utterances that may be unusable")
    result.add_argument("--device", default="cpu", help="cpu, cuda or cuda:<i>")
    return result


@config.command(PROG)
def main(argv: list[str] | None = None) -> int:
    arguments, rest = config.parse(parser(), argv)
    if rest or arguments.config:
        raise TokeniseError(f"options not understood: {' '.join(rest) or '--config'}; see --help")
    job, num_jobs = job_of(arguments.job)
    data, info = DataDir(arguments.data), read_codec_info(arguments.codec)
    names = output_names(data)
    origin = {"codec": asdict(info), "sources": same_sources(data, list(names))}
    shard = Shard(arguments.out, list(names.values()), job, num_jobs, origin)
    if shard.all_done():
        print(f"{PROG}: {arguments.out} is up to date: same codec, same audio", file=sys.stderr)
        return 0
    if not shard.done():
        ids = sorted(data.ids, key=str.encode)
        Tokeniser(data, names, arguments).run(shard, ids[job - 1 :: num_jobs])
    return join_parts(shard, info, arguments.max_skipped)


def output_names(data: DataDir) -> dict[str, str]:
    """Table to read -> name of the ark to write."""
    return {f"{speaker}.scp": f"{speaker}_codes" for speaker in data.speakers()} or {"wav.scp": "codes"}


def join_parts(shard: Shard, info: CodecInfo, max_skipped: float) -> int:
    """Join when this was the last part; the exit status is 1 when too many utterances were skipped."""
    try:
        summary = join(shard, info, max_skipped)
    except SkippedError as error:
        print(f"{PROG}: {shard.out}: {error}", file=sys.stderr)
        return 1
    print(f"{PROG}: {shard.out}: {summary or 'this part is done, others are not yet'}", file=sys.stderr)
    return 0


class Tokeniser:
    """Reads, checks and encodes the utterances of one job, in batches of similar length."""

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
        skipped: dict[str, str] = {}
        with ExitStack() as stack:
            prefixes = {table: shard.prefix(name) for table, name in self.names.items()}
            writers = {table: stack.enter_context(TokenWriter(prefix)) for table, prefix in prefixes.items()}
            for batch in tqdm(list(self.batches(ids)), desc=str(self.data.path), disable=None, unit="batch"):
                usable = self.read(batch, skipped)
                for key, table, codes in self.encode(usable):
                    writers[table].write(key, codes)
                    frames[key] = max(frames.get(key, 0), codes.shape[1])
        shard.finish(frames, skipped)

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

    def read(self, batch: list[str], skipped: dict[str, str]) -> dict[str, Track]:
        """The audio of the usable utterances; for the others the reason goes into `skipped`."""
        usable = {}
        for key in batch:
            try:
                usable[key] = {table: self.read_track(key, table) for table in self.names}
            except (audio.AudioError, TokeniseError) as error:
                skipped[key] = " ".join(str(error).split())
        return usable

    def read_track(self, key: str, table: str) -> np.ndarray:
        """float32 [L] at the rate of the codec; padding of mode "max" (zeros at the end) is cut off."""
        path = self.data.table(table).get(key)
        if path is None:
            raise TokeniseError(f"not in {self.data.path / table}; run stage 0 again")
        samples, rate = audio.read_audio(path)
        if rate != self.rate:
            raise TokeniseError(f"{path}: has {rate} Hz, the first file of {self.data.path} {self.rate} Hz")
        self.check_length(key, table, len(samples), path)
        if table != "wav.scp":
            samples = np.trim_zeros(samples, "b")
        if not samples.any():
            raise TokeniseError(f"{path}: is silent")
        return audio.resample(samples, rate, self.info.sample_rate)

    def check_length(self, key: str, table: str, size: int, path: str) -> None:
        """A single source has the length in utt2num_samples, the source of a mixture at most that of the mixture."""
        noted = self.num_samples.get(key, 0)
        if size > noted or (table == "wav.scp" and size != noted):
            raise TokeniseError(f"{path}: has {size} samples, utt2num_samples says {noted}; run stage 0 again")

    def encode(self, usable: dict[str, Track]) -> Iterator[tuple[str, str, np.ndarray]]:
        """(utterance, table, codes int64 [K, T]), T exact for each. Raises TokeniseError when the codec errs."""
        places = [(key, table) for key, tracks in usable.items() for table in tracks]
        if not places:
            return
        waves, lengths = pad_sequences([usable[key][table] for key, table in places], 0.0)
        codes, frame_lengths = self.codec.encode(waves.to(self.device), lengths.to(self.device))
        codes, frame_lengths = codes.cpu().numpy(), frame_lengths.tolist()
        for (key, table), matrix, size, samples in zip(places, codes, frame_lengths, lengths.tolist(), strict=True):
            yield key, table, self.checked(matrix[:, :size], samples)

    def checked(self, codes: np.ndarray, samples: int) -> np.ndarray:
        expected = (self.info.num_codebooks, self.codec.num_frames(samples))
        if codes.shape != expected or codes.min() < 0 or codes.max() >= self.info.codebook_size:
            raise TokeniseError(
                f"codec {self.info.name} made codes {list(codes.shape)} of {samples} samples, codec.json says "
                f"{list(expected)}, 0 <= code < {self.info.codebook_size}; run stage 1 again"
            )
        return codes


def first_file(data: DataDir) -> str:
    """The first audio file (by id) that can be opened; its rate is that of the directory."""
    table = data.table("wav.scp")
    for key in sorted(table, key=str.encode):
        if os.path.isfile(table[key]) and os.path.getsize(table[key]):
            return table[key]
    raise TokeniseError(f"{data.path}/wav.scp: none of its {len(table)} files is there; run stage 0 again")


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    sys.exit(main())
