"""What an example can hold, and where a directory of stage 2 keeps it."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from codecsep.data import audio
from codecsep.data.ark import TokenReader, read_codec_info
from codecsep.data.datadir import DataDir
from codecsep.data.latent_ark import LatentReader
from codecsep.data.spans import check_span
from codecsep.errors import CodecsepError

LATENTS = ("mixture_latents", "source_latents")
FIELDS = ("mixture", "sources", "wav", "codes", "sequence", *LATENTS)
FRAME_RATE = 50.0  # 1/s, the unit of `lengths` where there are no codes
Example = dict
MakeSequence = Callable[[Example], np.ndarray]


class ExampleError(CodecsepError):
    """A directory that does not hold what was asked for; the message says which stage makes it."""


def check_fields(fields: Sequence[str], make_sequence: MakeSequence | None = None) -> tuple[str, ...]:
    """The fields to read; a sequence that is made needs codes too. Raises ExampleError on one that does not exist."""
    unknown = [name for name in fields if name not in FIELDS]
    if unknown:
        raise ExampleError("E109", f"unknown fields {unknown}", "", f"an example can have: {', '.join(FIELDS)}")
    needs_codes = "sequence" in fields and make_sequence is not None and "codes" not in fields
    return (*fields, "codes") if needs_codes else tuple(fields)


def open_codes(dump: Path, name: str) -> TokenReader:
    """`<dump>/<name>.scp`, its ids checked against codec.json (codes) or token_list.txt (sequences)."""
    info = read_codec_info(dump)
    if name != "seq":
        return TokenReader(dump / f"{name}.scp", info.codebook_size, info.num_codebooks)
    if not (dump / "token_list.txt").is_file():
        raise ExampleError("E106", "missing", f"{dump}/token_list.txt", "run --stage 3 (sequences)")
    return TokenReader(dump / "seq.scp", len((dump / "token_list.txt").read_text(encoding="utf-8").splitlines()))


def open_latents(dump: Path, name: str) -> LatentReader:
    """`<dump>/<name>.scp`. Raises ExampleError when stage 2 made codes there, or nothing."""
    if not (dump / f"{name}.scp").is_file():
        what = f"missing: {dump} holds no latents" + (", but codes" if any(dump.glob("*codes.scp")) else "")
        raise ExampleError("E109", what, dump / f"{name}.scp", "make them with --stage 2 (tokenise --content latents)")
    return LatentReader(dump / f"{name}.scp")


def check_dump(dump_dir: Path | str | None, fields: Sequence[str]) -> Path | None:
    """The directory of stage 2, if there is one. Raises ExampleError when the fields need it and it is not given."""
    if dump_dir is None and {"codes", "sequence", *LATENTS} & set(fields):
        what = f"the fields {list(fields)} need a dump directory"
        raise ExampleError("E109", what, "", "run --stage 2 and give it")
    return None if dump_dir is None else Path(dump_dir)


def stored_frames(data: DataDir, dump: Path | None) -> dict[str, int]:
    """Frames by utterance: of stage 2, or without it of utt2num_samples in units of 20 ms.

    Raises ArkError when a single source has other frames than its samples give, or a mixture more of them.
    """
    if dump is not None:
        frames = DataDir(dump).integers("utt2num_frames")
        unknown = sorted(set(frames) - set(data.ids))
        if unknown:
            what = f"has codes of {len(unknown)} utterances that are not in {data.path}, first {unknown[:3]}"
            raise ExampleError("E103", what, dump, "run --stage 2 again")
        _check_frames(frames, data, dump)
        return frames
    rate = audio.sample_rate(next(iter(data.table("wav.scp").values())))
    samples = data.integers("utt2num_samples")
    return {key: math.ceil(value * FRAME_RATE / rate) for key, value in samples.items()}


def _check_frames(frames: dict[str, int], data: DataDir, dump: Path) -> None:
    """The silence behind the speakers of a mixture has no codes, so a mixture may have fewer frames than samples."""
    rate = audio.sample_rate(next(iter(data.table("wav.scp").values())))
    info, samples, is_mixture = read_codec_info(dump), data.integers("utt2num_samples"), bool(data.speakers())
    for key, found in frames.items():
        longest = samples.get(key, 0) * info.sample_rate / rate
        where = f"{dump}/utt2num_frames: {key}"
        check_span(found, 0 if is_mixture else longest, longest, info, where, "run --stage 2 again")
