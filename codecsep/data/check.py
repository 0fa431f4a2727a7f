"""What can be wrong with a data directory, one line each: tables, transcripts, audio, the sum of the sources."""

import random
import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from codecsep.data import audio, list_checks, list_dir
from codecsep.data.audio import AudioError
from codecsep.data.datadir import DataDir, DataDirError
from codecsep.data.list_dir import AUDIO, ListDir
from codecsep.errors import CodecsepError

ROUNDING = 0.5 / audio.FULL_SCALE  # of one 16-bit sample
EVERY = -1  # as a number of utterances whose audio is opened


class CheckError(CodecsepError):
    """Something in a data directory that does not fit the rest."""


def problems(
    directory: DataDir,
    sums: int = 5,
    tolerance: float | None = None,
    options: Collection[str] = (),
    check_audio: int = EVERY,
) -> list[str]:
    """Everything that is wrong: tables first; the audio only when the tables are right.

    sums, tolerance: see `sum_problems`. options: --no-text, --no-wav (need not be there), --no-spk-sort, --non-print,
    --with-segments. check_audio: of how many utterances, drawn at random, the audio files are opened.
    """
    found = _table_problems(directory, options)
    if found:
        return found
    data = list_dir.read(directory.path, list_dir.strictly)
    found = [str(error) for error in list_checks.problems(data, options)] + text_problems(data)
    if "segments" in data.utterances and "--with-segments" not in options:
        fix = "cut the recordings into one file per utterance, or give --with-segments"
        what = "is here, and no stage reads it"
        found.append(str(CheckError("E140", what, directory.path / "segments", fix)))
    if "--no-wav" in options or found:
        return found
    keys = _drawn(list(data.recordings.get("wav.scp", data.utt2spk)), check_audio)
    found = _unreadable(data, keys)
    found = found or header_problems(data, keys)
    if found or "segments" in data.utterances:
        return found
    return sum_problems(directory, sums if check_audio == EVERY else min(sums, check_audio), tolerance)


def _table_problems(directory: DataDir, options: Collection[str]) -> list[str]:
    """The form of all tables, and that their ids agree."""
    if directory.has("wav.scp") and not directory.has("segments"):
        may_miss = re.compile(r"E106 .*/text[^/]*: missing ") if "--no-text" in options else None
        return [line for line in directory.problems() if not (may_miss and may_miss.match(line))]
    try:
        list_dir.check_ids(list_dir.read(directory.path, list_dir.strictly))
        needed = ["spk2utt"] + ["wav.scp"] * ("--no-wav" not in options) + ["text"] * ("--no-text" not in options)
        for name in needed:
            directory.table(name)
    except DataDirError as error:
        return [str(error)]
    return []


def _drawn(keys: list[str], count: int) -> list[str]:
    return keys if count == EVERY else sorted(random.Random(0).sample(keys, min(count, len(keys))))


def text_problems(data: ListDir) -> list[str]:
    """Reference transcripts that are empty."""
    found = []
    for name, table in data.utterances.items():
        empty = [key for key, value in table.items() if not value and list_checks.TEXT.fullmatch(name)]
        if empty:
            what = f"{len(empty)} transcripts are empty, first {empty[:3]}"
            found.append(str(CheckError("E141", what, data.path / name, "write them, or leave these utterances out")))
    return found


def _audio_tables(data: ListDir) -> dict[str, dict[str, str]]:
    return {name: table for name, table in (data.recordings or data.utterances).items() if AUDIO.fullmatch(name)}


def _unreadable(data: ListDir, keys: Iterable[str]) -> list[str]:
    """Files that are missing, folders or not ours to read: all of them (20 at most), once per list."""
    found = []
    for name, table in _audio_tables(data).items():
        try:
            audio.require_readable({key: table[key] for key in keys if key in table}, data.path / name)
        except AudioError as error:
            found.append(str(error))
    return found


def header_problems(data: ListDir, keys: Iterable[str]) -> list[str]:
    """The headers of these utterances: whole files, as long as utt2num_samples says, all of one sampling rate."""
    found: list[str] = []
    rates: dict[int, str] = {}
    lengths = {} if data.recordings else data.utterances.get("utt2num_samples", {})
    for name, table in _audio_tables(data).items():
        declared = {} if name.startswith("enroll") else lengths
        for key in keys:
            try:
                audio.num_samples(table[key], int(declared[key]) if key in declared else None)
                rates.setdefault(audio.sample_rate(table[key]), table[key])
            except AudioError as error:
                where = f"{data.path / name}: {key}: {error.where}"
                found.append(str(AudioError(error.code, error.what, where, error.fix)))
    if len(rates) > 1:
        given = ", ".join(f"{rate} Hz ({path})" for rate, path in sorted(rates.items()))
        found.append(str(CheckError("E142", f"several sampling rates: {given}", data.path, "resample to one")))
    return found


def sum_problems(directory: DataDir, count: int, tolerance: float | None = None, seed: int = 0) -> list[str]:
    """In `count` mixtures, chosen by `seed`: do the sources sum to the mixture, and is none of them silent?

    The noise of a mixture (noise.scp) is a part of the sum.
    tolerance: of a sample, full scale 1; by default what rounding mixture and sources to 16 bits can do.
    """
    speakers = directory.speakers()
    if not speakers:
        return []
    noise = ["noise"] if directory.has("noise.scp") else []
    tolerance = rounding(len(speakers + noise)) if tolerance is None else tolerance
    found = []
    for key in sorted(random.Random(seed).sample(directory.ids, min(count, len(directory.ids)))):
        mixture, _ = audio.read_audio(directory.table("wav.scp")[key])
        sources = [audio.read_audio(directory.table(f"{speaker}.scp")[key])[0] for speaker in speakers]
        where = f"{directory.path}: {key}"
        silent = [speaker for speaker, source in zip(speakers, sources, strict=True) if not source.any()]
        if silent:
            what, fix = f"{', '.join(silent)} is silent: such a mixture cannot be scored", "leave the mixture out"
            found.append(str(CheckError("E143", what, where, fix)))
        parts = sources + [audio.read_audio(directory.table(f"{name}.scp")[key])[0] for name in noise]
        error = sum_error(mixture, parts)
        if error > tolerance:
            what = f"the sources differ from the mixture by {error:.2g}, > {tolerance:.2g}"
            fix = "write mixture and sources with one gain and without noise, or give --tolerance"
            found.append(str(CheckError("E143", what, where, fix)))
    return found


def sum_error(mixture: np.ndarray, sources: Sequence[np.ndarray]) -> float:
    """The largest absolute difference between a mixture [L] and the sum of its sources, each [L]; full scale 1."""
    return float(np.abs(mixture.astype(np.float64) - np.sum(sources, axis=0, dtype=np.float64)).max())


def rounding(num_sources: int) -> float:
    """What `sum_error` can be when mixture and sources were rounded to 16 bits, each by itself."""
    return (num_sources + 1) * ROUNDING * 1.01
