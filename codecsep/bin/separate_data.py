"""Separate a data directory: the part of `separate` behind `--data`.

<out>/wav/<id>_spk<j>.wav  <out>/spk<j>.scp    the estimates of speaker j, for the mixtures that have one
<out>/decode.tsv                               one line per mixture
<out>/decode.json                              options, seed, hashes, real-time factor; written last
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codecsep.bin.separation import COUNTS, Separated, System, Window, load_system
from codecsep.data import atomic, audio, datadir
from codecsep.data.digest import file_sha256
from codecsep.decode.options import DecodeOptions

COLUMNS = (
    "id", "num_speakers", "frames", *COUNTS.values(), "attenuation", "seconds", "decode_seconds", "rtf",
)  # fmt: skip
LEVEL = "estimates of a mixture are scaled by one factor so that their sum has the RMS of the mixture"
Row = dict[str, Any]


def separate_data(args: argparse.Namespace, models: list[Path], codec: Path, options: DecodeOptions) -> int:
    """Separate the mixtures of `args.data` into `args.out`; the exit status.

    Where the same inputs were decoded before, it says so and returns.
    """
    mixtures = datadir.DataDir(args.data).table("wav.scp")
    window = Window(args.window, args.overlap)
    inputs = describe(mixtures, models, codec, options, window)
    if is_done(args.out, inputs):
        print(f"{args.out}: already decoded ({len(mixtures)} mixtures)", file=sys.stderr)
        return 0
    forget(args.out)
    system = load_system(models, codec, options, window, args.batch_size, args.device)
    with atomic.replacing_dir(args.out / "wav") as beside:
        rows = list(decode_all(system, mixtures, args.batch_size, beside))
    write_tables(args.out, {row["id"]: row for row in rows})
    write_summary(args.out, rows, inputs)
    return 0


def describe(
    mixtures: dict[str, str], models: list[Path], codec: Path, options: DecodeOptions, window: Window
) -> dict[str, Any]:
    """All that the estimates depend on. Recordings count by path, size and time of change."""
    listing = hashlib.sha256()
    for key, path in mixtures.items():
        audio.num_samples(path)  # a missing or damaged recording is found before the work starts
        stat = Path(path).stat()
        listing.update(f"{key} {path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return {
        "options": dataclasses.asdict(options),
        "window": dataclasses.asdict(window),
        "models": {str(path): file_sha256(path / "best.safetensors") for path in models},
        "codec": {str(codec): file_sha256(codec / "codec.json")},
        "mixtures": listing.hexdigest(),
    }


def is_done(out: Path, inputs: dict[str, Any]) -> bool:
    """Does `out` hold the finished result of exactly these inputs?"""
    try:
        found = json.loads((out / "decode.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return found.get("inputs") == inputs and (out / "spk1.scp").is_file() and (out / "wav").is_dir()


def forget(out: Path) -> None:
    """Remove what would make an earlier result look like this one's, should this run not come to its end."""
    for path in [out / "decode.json", *out.glob("spk*.scp")]:
        path.unlink(missing_ok=True)


def decode_all(system: System, mixtures: dict[str, str], batch_size: int, folder: Path) -> Iterator[Row]:
    """Decode in batches of similar length, the longest first, and write each estimate; a row per mixture."""
    order = sorted(mixtures, key=lambda key: (-audio.num_samples(mixtures[key]), key))
    for start in range(0, len(order), batch_size):
        keys = order[start : start + batch_size]
        batch = [audio.read_audio(mixtures[key]) for key in keys]
        began = time.perf_counter()
        results = system(batch, keys)
        spent = time.perf_counter() - began
        total = sum(len(samples) / rate for samples, rate in batch)
        for key, (samples, rate), result in zip(keys, batch, results, strict=True):
            write_wavs(result, folder, key, rate)
            yield row_of(key, result, len(samples) / rate, spent / total)
        print(f"{start + len(keys)}/{len(order)} mixtures, RTF {spent / total:.3f}", file=sys.stderr)


def write_wavs(result: Separated, folder: Path, key: str, rate: int) -> None:
    for number, estimate in enumerate(result.estimates, start=1):
        audio.write_audio(folder / f"{key}_spk{number}.wav", estimate, rate)


def row_of(key: str, result: Separated, seconds: float, rtf: float) -> Row:
    """One line of decode.tsv; a mixture's share of its batch's time goes by its duration."""
    return {
        "id": key,
        "num_speakers": len(result.estimates),
        "frames": ",".join(map(str, result.frames)),
        **{name: result.counts.get(name, "-") for name in COUNTS.values()},  # -: this model does not count it
        "attenuation": f"{result.attenuation:.4f}",
        "seconds": f"{seconds:.4f}",
        "decode_seconds": f"{seconds * rtf:.4f}",
        "rtf": f"{rtf:.4f}",
    }


def write_tables(out: Path, rows: dict[str, Row]) -> None:
    """spk<j>.scp for as many speakers as any mixture has, and decode.tsv."""
    most = max(row["num_speakers"] for row in rows.values())
    for number in range(1, most + 1):
        having = [key for key, row in rows.items() if row["num_speakers"] >= number]
        datadir.write_table(out / f"spk{number}.scp", {key: out / "wav" / f"{key}_spk{number}.wav" for key in having})
    lines = ["\t".join(str(rows[key][column]) for column in COLUMNS) for key in sorted(rows, key=str.encode)]
    atomic.write_text(out / "decode.tsv", "\n".join(["\t".join(COLUMNS), *lines]) + "\n")


def write_summary(out: Path, rows: list[Row], inputs: dict[str, Any]) -> None:
    """decode.json, the sign that the directory is complete."""
    seconds = sum(float(row["seconds"]) for row in rows)
    spent = sum(float(row["decode_seconds"]) for row in rows)
    counts = {name: sum(row[name] for row in rows) for name in COUNTS.values() if all(row[name] != "-" for row in rows)}
    summary = {
        "inputs": inputs,
        "seed": inputs["options"]["seed"],
        "level": LEVEL,
        "num_mixtures": len(rows),
        "num_speakers": sorted({row["num_speakers"] for row in rows}),
        **counts,
        "seconds": round(seconds, 3),
        "decode_seconds": round(spent, 3),
        "rtf": round(spent / seconds, 4),
    }
    atomic.write_text(out / "decode.json", json.dumps(summary, indent=2) + "\n")
