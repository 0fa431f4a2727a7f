"""Separate single recordings: the part of `separate` behind `codecsep separate mix.wav -o out/`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from codecsep.bin.separation import Separated, load_system
from codecsep.bin.window import Window
from codecsep.data import audio
from codecsep.decode.engine_options import EngineOptions
from codecsep.decode.options import DecodeOptions
from codecsep.errors import CodecsepError


class RecordingError(CodecsepError):
    """Recordings that cannot be separated as asked."""


def separate_files(
    args: argparse.Namespace, models: list[Path], codec: Path | None, options: DecodeOptions, how: EngineOptions
) -> int:
    """Separate `args.recordings` into `args.out`; the exit status. All files are read before anything is written."""
    check_names(args.recordings)
    recordings = [(path, *read_mono(path)) for path in args.recordings]
    window = Window(args.window, args.overlap)
    system = load_system(models, codec, options, window, how, args.device)
    for path, samples, rate in recordings:
        (result,) = system([(samples, rate)], [path.stem])
        written = list(write(result, args.out, path.stem, rate))
        print(f"{path}: {len(written)} speakers -> {', '.join(map(str, written))}")
        report(path, result)
    return 0


def check_names(paths: list[Path]) -> None:
    """Raise RecordingError when two recordings would write the same files."""
    stems = [path.stem for path in paths]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        what = f"several recordings are named {', '.join(twice)}"
        raise RecordingError("E536", what, "", "separate them into different --out")


def read_mono(path: Path) -> tuple[np.ndarray, int]:
    """float32 [L] and rate of a recording; several channels are averaged, which stderr says. Raises AudioError."""
    rate = audio.sample_rate(path)
    channels = soundfile.info(str(path)).channels
    if channels > 1:
        print(f"{path}: {channels} channels are averaged to one", file=sys.stderr)
    rows = [audio.read_audio(path, channel=channel)[0] for channel in range(channels)]
    return np.mean(rows, axis=0, dtype=np.float32), rate


def write(result: Separated, out: Path, stem: str, rate: int) -> Iterator[Path]:
    """Write <out>/<stem>_spk<j>.wav for every speaker."""
    for number, estimate in enumerate(result.estimates, start=1):
        path = out / f"{stem}_spk{number}.wav"
        audio.write_audio(path, estimate, rate)
        yield path


def report(path: Path, result: Separated) -> None:
    """Say on stderr what a listener should know."""
    if result.counts.get("missing_eos"):
        print(f"{path}: the decoder was cut before it had ended; the last speaker may lack its end", file=sys.stderr)
    if result.attenuation < 1.0:
        print(f"{path}: estimates are scaled by {result.attenuation:.3f} to stay within full scale", file=sys.stderr)
