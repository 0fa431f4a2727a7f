"""What can be wrong with the audio of a data directory, one line each. The tables are checked by `DataDir.problems`."""

import random
from collections.abc import Iterator

import numpy as np

from codecsep.data import audio
from codecsep.data.datadir import DataDir

ROUNDING = 0.5 / audio.FULL_SCALE  # of one 16-bit sample


def text_problems(directory: DataDir) -> list[str]:
    """Reference transcripts that are empty."""
    found = []
    for name in [f"text_{speaker}" for speaker in directory.speakers()] or ["text"]:
        empty = [key for key, value in directory.table(name).items() if not value]
        if empty:
            found.append(f"{directory.path}/{name}: {len(empty)} transcripts are empty, first {empty[:3]}")
    return found


def header_problems(directory: DataDir) -> list[str]:
    """Every file is opened, its header read: length as in utt2num_samples, all of one length and sampling rate."""
    found: list[str] = []
    rates: dict[int, str] = {}
    lengths = directory.table("utt2num_samples")
    for name, key, path in _files(directory):
        try:
            length, rate = audio.num_samples(path), audio.sample_rate(path)
        except (audio.AudioError, OSError) as error:
            found.append(f"{directory.path}/{name}: {key}: {error}")
            continue
        rates.setdefault(rate, path)
        if str(length) != lengths.get(key):
            found.append(f"{directory.path}/{name}: {key}: {path} has {length} samples, utt2num_samples {lengths[key]}")
    if len(rates) > 1:
        given = ", ".join(f"{rate} Hz ({path})" for rate, path in sorted(rates.items()))
        found.append(f"{directory.path}: several sampling rates: {given}; resample to one")
    return found


def sum_problems(directory: DataDir, count: int, tolerance: float | None = None, seed: int = 0) -> list[str]:
    """In `count` mixtures, chosen by `seed`: do the sources sum to the mixture, and is none of them silent?

    tolerance: of a sample, full scale 1; by default what rounding mixture and sources to 16 bits can do.
    """
    speakers = directory.speakers()
    if not speakers:
        return []
    tolerance = (len(speakers) + 1) * ROUNDING * 1.01 if tolerance is None else tolerance
    found = []
    for key in sorted(random.Random(seed).sample(directory.ids, min(count, len(directory.ids)))):
        mixture, _ = audio.read_audio(directory.table("wav.scp")[key])
        sources = [audio.read_audio(directory.table(f"{speaker}.scp")[key])[0] for speaker in speakers]
        silent = [speaker for speaker, source in zip(speakers, sources, strict=True) if not source.any()]
        if silent:
            found.append(f"{directory.path}: {key}: {', '.join(silent)} is silent; such a mixture cannot be scored")
        error = float(np.abs(mixture.astype(np.float64) - np.sum(sources, axis=0, dtype=np.float64)).max())
        if error > tolerance:
            found.append(
                f"{directory.path}: {key}: the sources differ from the mixture by {error:.2g}, > {tolerance:.2g}"
            )
    return found


def problems(directory: DataDir, sums: int = 5, tolerance: float | None = None) -> list[str]:
    """Everything that is wrong: tables first; the audio only when the tables are right."""
    found = directory.problems()
    if found:
        return found
    found = text_problems(directory) + header_problems(directory)
    return found or sum_problems(directory, sums, tolerance)


def _files(directory: DataDir) -> Iterator[tuple[str, str, str]]:
    """(table, id, path) of every audio file."""
    for name in ("wav.scp", *(f"{speaker}.scp" for speaker in directory.speakers())):
        for key, path in directory.table(name).items():
            yield name, key, path
