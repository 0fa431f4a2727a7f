"""What stage 6 writes about the estimates of a data directory: lists, one line per mixture, sums over them.

Nothing here depends on the clock, save timing.json: everything else is the same, byte for byte, when it is made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codecsep.data import atomic, datadir
from codecsep.decode.options import DecodeOptions

# what a model counts (the stats of its Separation) and its name in decode.tsv and decode.json
COUNTS = {"eos_missing": "missing_eos", "loop_blocks": "loop_blocks", "bound_hits": "bound_hits"}
FLAGS = ("no_eos", "empty", "too_many_spk", "time_out")
COLUMNS = ("id", "num_speakers", "frames", *COUNTS.values(), "attenuation", "seconds", "flags")
LEVEL = "estimates of a mixture are scaled by one factor so that their sum has the RMS of the mixture"
TIMING = "timing.json"
Row = dict[str, Any]


def row_of(key: str, result: Any, seconds: float, options: DecodeOptions, flags: Sequence[str] = ()) -> Row:
    """One line of decode.tsv. result: Separated; seconds: of the mixture; flags: what is known beside the result."""
    found = {
        "no_eos": result.counts.get("missing_eos", 0) > 0,
        "empty": not all(result.frames),
        "too_many_spk": len(result.estimates) > options.speakers_limit,
    }
    return {
        "id": key,
        "num_speakers": len(result.estimates),
        "frames": ",".join(map(str, result.frames)),
        **{name: result.counts.get(name, "-") for name in COUNTS.values()},  # -: this model does not count it
        "attenuation": f"{result.attenuation:.4f}",
        "seconds": f"{seconds:.4f}",
        "flags": ",".join(flag for flag in FLAGS if found.get(flag) or flag in flags) or "-",
    }


def wav_name(key: str, number: int) -> str:
    """File of the estimate of speaker `number` (from 1)."""
    return f"{key}_spk{number}.wav"


def write_tables(out: Path, rows: Mapping[str, Row], wav: Path) -> list[Path]:
    """spk<j>.scp for as many speakers as any mixture has, without those of more, and decode.tsv; what was written."""
    most = max(row["num_speakers"] for row in rows.values())
    scps = [out / f"spk{number}.scp" for number in range(1, most + 1)]
    for number, scp in enumerate(scps, start=1):
        having = [key for key, row in rows.items() if row["num_speakers"] >= number]
        datadir.write_table(scp, {key: wav / wav_name(key, number) for key in having})
    for stale in set(out.glob("spk*.scp")) - set(scps):
        stale.unlink()
    lines = ["\t".join(str(rows[key][column]) for column in COLUMNS) for key in sorted(rows, key=str.encode)]
    atomic.write_text(out / "decode.tsv", "\n".join(["\t".join(COLUMNS), *lines]) + "\n")
    return [*scps, out / "decode.tsv"]


def write_summary(out: Path, rows: Mapping[str, Row], inputs: Mapping[str, Any]) -> Path:
    """decode.json: options, hashes of the networks, and how decoding ended."""
    summary = {
        "inputs": inputs,
        "seed": inputs["options"]["seed"],
        "level": LEVEL,
        "num_mixtures": len(rows),
        "num_speakers": sorted({row["num_speakers"] for row in rows.values()}),
        **totals(rows),
        "flags": {flag: count_flag(rows, flag) for flag in FLAGS if count_flag(rows, flag)},
        "seconds": round(sum(float(row["seconds"]) for row in rows.values()), 3),
    }
    atomic.write_text(out / "decode.json", json.dumps(summary, indent=2) + "\n")
    return out / "decode.json"


def totals(rows: Mapping[str, Row]) -> dict[str, int]:
    """Sum over the mixtures of each thing that the model counts."""
    counted = {name: [row[name] for row in rows.values() if row[name] != "-"] for name in COUNTS.values()}
    return {name: sum(values) for name, values in counted.items() if values}


def count_flag(rows: Mapping[str, Row], flag: str) -> int:
    """Mixtures with this flag."""
    return sum(flag in row["flags"].split(",") for row in rows.values())


def write_timing(out: Path, rows: Mapping[str, Row], spent: Mapping[str, float]) -> None:
    """timing.json: seconds that the decoder took for each mixture, and the real-time factor of all of them."""
    seconds, taken = sum(float(row["seconds"]) for row in rows.values()), sum(spent.values())
    timing = {
        "decode_seconds": round(taken, 3),
        "rtf": round(taken / seconds, 4),
        "mixtures": {key: round(spent[key], 4) for key in sorted(spent, key=str.encode)},
    }
    atomic.write_text(out / TIMING, json.dumps(timing, indent=1) + "\n")
