#!/usr/bin/env python3
"""Static mixtures in two steps: draw them into a CSV, make a data directory out of the CSV.

The CSV holds all that a mixture needs; making it again gives the same bytes:

    ../local/simulate.py --metadata data/metadata/test.csv --set data/test        (in the recipe directory)
"""

import argparse
import csv
import itertools
import json
import sys
from pathlib import Path

import numpy as np
from voices import RATE, VOICES

from codecsep import config
from codecsep.data import atomic, audio, datadir, manifest, mixing
from codecsep.data.lock import locked
from codecsep.faults import faultpoint

SEX = {voice.speaker: voice.sex for voice in VOICES}
PER_SPEAKER = ("ID", "speaker", "sex", "language", "path", "gain", "offset", "lufs")


def draw(sources_dir: Path, config: mixing.Config, count: int, seed: int) -> list[dict]:
    """Up to `count` rows of metadata, the groups of speakers taken in turn, no two mixtures of the same utterances.

    Fewer when a small corpus has no more.
    """
    directory = datadir.DataDir(sources_dir)
    mixer = mixing.DynamicMixer(sources_dir, config, seed)
    groups = itertools.combinations(sorted(directory.table("spk2utt")), config.num_speakers)
    turns = itertools.islice(itertools.cycle(groups), count)
    rows, seen = [], set()
    for index, group in enumerate(turns):
        speakers = [str(name) for name in np.random.default_rng([seed, index]).permutation(group)]
        drawn = _unseen(mixer, index, speakers, seen)
        if drawn is not None:
            rows.append(_row(f"{'-'.join(group)}-{index:05d}", drawn, directory, config.mode))
    return rows


def write_metadata(rows: list[dict], path: Path) -> None:
    """The CSV, one line per mixture; floats so that reading them gives the same number."""
    with atomic.replacing(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_metadata(path: Path) -> list[dict]:
    """The rows of the CSV as strings, each with "num_speakers"."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["num_speakers"] = next(j for j in itertools.count() if f"source_{j + 1}_ID" not in row)
    return rows


def work_of(metadata: Path, sources_dir: Path, options: dict) -> manifest.Work:
    """What a set of mixtures depends on."""
    made = manifest.manifest_file(sources_dir)
    return manifest.Work("0", [metadata, *([made] if made.is_file() else [])], settings=options)


def make(metadata: Path, sources_dir: Path, out: Path, options: dict) -> int:
    """Make the data directory `out` out of the CSV, its manifest and .done with it; the number of mixtures."""
    work, rows = work_of(metadata, sources_dir, options), read_metadata(metadata)
    work.described()
    with locked(out.parent, f".{out.name}.lock"), atomic.replacing_dir(out) as beside:
        build(rows, sources_dir, beside, out)
        atomic.write_text(beside / "options.json", json.dumps(options, indent=1) + "\n")
        files = [path for path in beside.rglob("*") if path.is_file()]
        manifest.finish(beside, work, files, manifest.Counts(len(rows), len(rows)))
    return len(rows)


def build(rows: list[dict], sources_dir: Path, out: Path, final: Path) -> None:
    """Write wav/{mix,s1,s2,...}/<id>.wav and the tables into `out`; the scp lines point into `final`."""
    text = datadir.DataDir(sources_dir).table("text")
    tables: dict[str, dict[str, object]] = {}

    def put(name: str, key: str, value: object) -> None:
        tables.setdefault(name, {})[key] = value

    for row in rows:
        key, count = row["mixture_ID"], row["num_speakers"]
        scaled = _scaled(row)
        for name, samples in zip(["mix", *_folders(count)], [scaled.sum(axis=0), *scaled], strict=True):
            if warning := audio.write_audio(out / "wav" / name / f"{key}.wav", samples, RATE):
                what, fix = f"{warning}: the gains are too high", "draw the mixtures again: delete the CSV"
                raise mixing.MixingError("E803", what, f"{final}, {key}", fix)
            put(_scp(name), key, f"{final}/wav/{name}/{key}.wav")
        put("utt2spk", key, "-".join(sorted(row[f"source_{j}_speaker"] for j in range(1, count + 1))))
        put("utt2num_samples", key, scaled.shape[1])
        put("sot_order", key, " ".join(str(j + 1) for j in mixing.sot_order(scaled, RATE)))
        for j in range(1, count + 1):
            put(f"text_spk{j}", key, text[row[f"source_{j}_ID"]])
            put(f"utt2lang_spk{j}", key, row[f"source_{j}_language"])
            put(f"utt2source_spk{j}", key, row[f"source_{j}_ID"])
        faultpoint("stage0.mid")
    tables["spk2utt"] = datadir.invert(tables["utt2spk"])
    for name, table in tables.items():
        datadir.write_table(out / name, table)


def _unseen(mixer: mixing.DynamicMixer, index: int, speakers: list[str], seen: set) -> mixing.Draw | None:
    """A draw whose utterances were not mixed yet; None when many tries find no such draw."""
    for attempt in range(200):
        drawn = mixer.item(attempt, index, speakers)
        if (key := frozenset(drawn.ids)) not in seen:
            seen.add(key)
            return drawn
    return None


def _row(name: str, drawn: mixing.Draw, directory: datadir.DataDir, mode: str) -> dict:
    """The metadata of one mixture: gains after the clipping guard, loudness measured after it."""
    sources = [audio.read_audio(directory.table("wav.scp")[key], RATE)[0] for key in drawn.ids]
    offsets = [round(offset * RATE) for offset in drawn.offsets]
    full = mixing.combine(sources, drawn.gains, "max", offsets)
    weight = mixing.clipping_weight(full.sum(axis=0))
    row: dict[str, object] = {"mixture_ID": name, "mode": mode, "clipping_weight": weight}
    for j, (key, source) in enumerate(zip(drawn.ids, sources, strict=True)):
        speaker, gain = directory.table("utt2spk")[key], drawn.gains[j] * weight
        language, path = directory.table("utt2lang")[key], directory.table("wav.scp")[key]
        lufs = round(mixing.loudness(source * gain, RATE), 3)
        values = (key, speaker, SEX[speaker], language, path, gain, offsets[j], lufs)
        row.update({f"source_{j + 1}_{column}": value for column, value in zip(PER_SPEAKER, values, strict=True)})
    return row


def _scaled(row: dict) -> np.ndarray:
    """[N, L] float32: the sources of a row as they sound in the mixture."""
    numbers = range(1, row["num_speakers"] + 1)
    sources = [audio.read_audio(row[f"source_{j}_path"], RATE)[0] for j in numbers]
    gains = [float(row[f"source_{j}_gain"]) for j in numbers]
    offsets = [int(row[f"source_{j}_offset"]) for j in numbers]
    return mixing.combine(sources, gains, row["mode"], offsets)


def _folders(count: int) -> list[str]:
    return [f"s{j}" for j in range(1, count + 1)]


def _scp(folder: str) -> str:
    return "wav.scp" if folder == "mix" else f"spk{folder[1:]}.scp"


@config.command("simulate.py")
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metadata", type=Path, required=True, help="the CSV")
    parser.add_argument("--set", type=Path, required=True, help="data directory to make; its sources are <set>_sources")
    parser.add_argument("--sources", type=Path, help="directory of the single sources, when it is elsewhere")
    options = parser.parse_args()
    sources_dir = options.sources or options.set.with_name(options.set.name + "_sources")
    print(f"{options.set}: {make(options.metadata, sources_dir, options.set, {})} mixtures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
