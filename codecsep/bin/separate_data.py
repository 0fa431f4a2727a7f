"""Separate a data directory: the part of `separate` behind `--data`.

<out>/wav/<id>_spk<j>.wav  <out>/spk<j>.scp    the estimates of speaker j, for the mixtures that have one
<out>/decode.tsv                               one line per mixture
<out>/decode.json                              options, seed, hashes, how decoding ended
<out>/timing.json                              seconds and real-time factor: all that depends on the clock
<out>/manifest.json  <out>/.done               written last

What was there before stays until all mixtures are decoded, but is not done any more. A killed run goes on at the part
that it was in.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecsep.bin import estimates, parts, upstream
from codecsep.bin.estimates import Row
from codecsep.bin.parts import Parts
from codecsep.bin.window import SeparationError, Window
from codecsep.data import audio, datadir, manifest
from codecsep.data.digest import text_sha256
from codecsep.data.lock import locked
from codecsep.decode.engine_options import EngineOptions
from codecsep.decode.options import DecodeOptions
from codecsep.faults import faultpoint

if TYPE_CHECKING:
    from codecsep.bin.separation import Separated, System

VERSION = 2  # counts changes of the code that change estimates


PART_BATCHES = 8  # batches in a part, unless --part_size says otherwise


def separate_data(
    args: argparse.Namespace, models: list[Path], codec: Path | None, options: DecodeOptions, how: EngineOptions
) -> int:
    """Separate the mixtures of `args.data` into `args.out`; the exit status.

    Where the same inputs were decoded before, it says so and returns. Raises StageError when an input is not finished
    or has changed, LockError, SeparationError.
    """
    upstream.require(args.data, "0")
    if codec is not None:
        upstream.require(codec, "1")
    for model in models:
        upstream.require(model, "4 or --stage 5")
    mixtures = datadir.DataDir(args.data).table("wav.scp")
    work = work_of(args, models, codec, options, how)
    with locked(args.out):
        if not args.force and manifest.current(args.out, work) is None:
            parts.remove(args.out)
            print(f"{args.out}: already decoded ({len(mixtures)} mixtures), up to date", file=sys.stderr)
            return 0
        decode(args, mixtures, models, codec, options, how, work)
    return 0


def work_of(
    args: argparse.Namespace, models: list[Path], codec: Path | None, options: DecodeOptions, how: EngineOptions
) -> manifest.Work:
    """All that the estimates depend on."""
    weights = [path / name for path in models for name in ("best.safetensors", "config.yaml")]
    described_codec = [codec / "codec.json"] if codec else []
    return manifest.Work(
        stage="6",
        files=[args.data / "wav.scp", *described_codec, *(path for path in weights if path.is_file())],
        audio=upstream.audio_of(args.data, ["wav.scp"]),
        values={"version": VERSION},
        settings={
            "options": dataclasses.asdict(options),
            "engine": {"precision": how.precision, "cache": how.cache},
            "window": dataclasses.asdict(Window(args.window, args.overlap)),
            "models": [str(path) for path in models],
            "max_seconds": args.max_seconds,
        },
    )


def decode(
    args: argparse.Namespace,
    mixtures: dict[str, str],
    models: list[Path],
    codec: Path | None,
    options: DecodeOptions,
    how: EngineOptions,
    work: manifest.Work,
) -> None:
    """Decode what is not decoded yet, then put all of it in its place."""
    manifest.begin(args.out)  # what was there stays, but no stage takes it for what was asked for now
    for path in mixtures.values():
        audio.num_samples(path)  # a missing or damaged recording is found before the work starts
    described = work.described()
    part_size = args.part_size or PART_BATCHES * args.batch_size
    # who is decoded together decides about the last bits of the estimates, and so do engine and device
    identity = text_sha256(json.dumps([described, dataclasses.asdict(how), part_size, args.device]))
    kept = Parts(parts.folder_of(args.out), identity)
    batches = list(parts_of(mixtures, part_size))
    missing = [number for number, keys in enumerate(batches) if kept.found(number, keys) is None]
    if len(missing) < len(batches):
        print(f"{args.out}: {len(batches) - len(missing)} of {len(batches)} parts are there", file=sys.stderr)
    if missing:
        from codecsep.bin.separation import load_system

        window = Window(args.window, args.overlap)
        system = load_system(models, codec, options, window, how, args.device)
        for number in missing:
            one_part(system, number, batches[number], mixtures, kept, args.max_seconds)
    found = [kept.found(number, keys) for number, keys in enumerate(batches)]
    check_ends({row["id"]: row for batch in found for row in batch["rows"]}, args.max_missing_eos)
    install(args.out, kept, found, work, described)


def parts_of(mixtures: dict[str, str], part_size: int) -> Iterator[list[str]]:
    """Mixtures of similar length together, the longest first; the same whenever the recordings are."""
    order = sorted(mixtures, key=lambda key: (-audio.num_samples(mixtures[key]), key))
    for start in range(0, len(order), part_size):
        yield order[start : start + part_size]


def one_part(
    system: System, number: int, keys: list[str], mixtures: dict[str, str], kept: Parts, max_seconds: float
) -> None:
    """Decode a part, write its estimates and note it."""
    batch = [audio.read_audio(mixtures[key]) for key in keys]
    began = time.perf_counter()
    results = separate_in_time(system, batch, keys, max_seconds)
    spent = time.perf_counter() - began
    rows, files = [], []
    for key, (samples, rate), (result, flags) in zip(keys, batch, results, strict=True):
        rows.append(estimates.row_of(key, result, len(samples) / rate, system.options, flags))
        for speaker, estimate in enumerate(result.estimates, start=1):
            files.append(kept.wav / estimates.wav_name(key, speaker))
            audio.write_audio(files[-1], estimate, rate)
    kept.note(number, rows, spent, files)
    total = sum(len(samples) / rate for samples, rate in batch)
    print(f"part {number + 1}: {len(keys)} mixtures, RTF {spent / total:.3f}", file=sys.stderr)


def separate_in_time(
    system: System, batch: Sequence[tuple], keys: Sequence[str], max_seconds: float
) -> list[tuple[Separated, list[str]]]:
    """Results and flags. What takes too long is decoded in halves; a mixture that does so alone is silent."""
    from codecsep.decode.deadline import OutOfTimeError, deadline

    try:
        with deadline(max_seconds * len(keys)):
            return [(result, []) for result in system(batch, keys)]
    except OutOfTimeError as error:
        if len(keys) > 1:
            half = len(keys) // 2
            first = separate_in_time(system, batch[:half], keys[:half], max_seconds)
            return first + separate_in_time(system, batch[half:], keys[half:], max_seconds)
        print(f"{keys[0]}: {error}; its estimates are silent", file=sys.stderr)
        return [(silence(batch[0][0], system.options), ["time_out"])]


def silence(mixture: Any, options: DecodeOptions) -> Separated:
    """Estimates of nothing, as many as speakers were asked for."""
    import numpy as np

    from codecsep.bin.separation import Separated

    speakers = options.num_speakers or 1
    return Separated(np.zeros((speakers, len(mixture)), np.float32), [0] * speakers)


def check_ends(rows: dict[str, Row], allowed: float) -> None:
    """Raise SeparationError when more than the share `allowed` of the mixtures were cut before the model had ended."""
    cut = estimates.count_flag(rows, "no_eos")
    if cut > allowed * len(rows):
        first = next(key for key, row in rows.items() if "no_eos" in row["flags"])
        what = f"{cut} of {len(rows)} mixtures were cut before the model had ended, allowed are {allowed:.0%}"
        fix = "train longer (stages 4 and 5), or give a larger --max_missing_eos: nothing is decoded again"
        raise SeparationError("E534", what, f"{first} and others", fix)


def install(
    out: Path, kept: Parts, found: list[dict[str, Any]], work: manifest.Work, described: dict[str, Any]
) -> None:
    """Put estimates and tables in their places, then the manifest and .done."""
    rows = {row["id"]: row for batch in found for row in batch["rows"]}
    wavs = [name for batch in found for name in batch["files"]]
    faultpoint("separate.before_install")
    kept.install(out / "wav", wavs)
    made = estimates.write_tables(out, rows, out / "wav")
    made.append(estimates.write_summary(out, rows, {**described["settings"], **hashes_of(described)}))
    estimates.write_timing(out, rows, spent_of(found))
    faultpoint("separate.after_install")
    counts = manifest.Counts(given=len(rows), made=len(rows))
    manifest.finish(out, work, [*made, *(out / "wav" / name for name in wavs)], counts)
    parts.remove(out)


def hashes_of(described: dict[str, Any]) -> dict[str, dict[str, str]]:
    """{"models": {directory: SHA-256 of its weights}, "codec": {directory: SHA-256 of codec.json}}."""
    found: dict[str, dict[str, str]] = {"models": {}, "codec": {}}
    for file, noted in described["inputs"].items():
        kind = {"best.safetensors": "models", "codec.json": "codec"}.get(Path(file).name)
        if kind:
            found[kind][str(Path(file).parent)] = noted["sha256"]
    return found


def spent_of(found: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds by mixture: its share of its batch's time goes by its duration."""
    spent = {}
    for batch in found:
        total = sum(float(row["seconds"]) for row in batch["rows"])
        spent |= {row["id"]: batch["seconds"] * float(row["seconds"]) / total for row in batch["rows"]}
    return spent
