#!/usr/bin/env python3
"""Lists in the official CSV format out of the utterances that a LibriSpeech tree holds, which may be a part of it.

The rules are those of LibriMix (Cosentino et al., 2020): different speakers, a loudness drawn in [-33, -25] LUFS for
each (noise: [-38, -30]), measured with the zeros that follow the shorter ones; who would clip is scaled to a peak of
0.9, and so is the mixture of the full lengths. Two differences: an utterance may be used again, with other ones, as
LibriMix does in dev and test only; and where the tree lacks dev-clean and test-clean, speakers are split by a hash.
Nobody is in two sets.
"""

import argparse
import hashlib
import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import mixture_lists
import numpy as np
import official
import speech_tree
from mixture_lists import Row

from codecsep import config
from codecsep.data import audio, manifest, mixing
from codecsep.data.lock import locked

LAYOUT = 1  # counts changes of this script that change what it draws
SETS = ("train", "dev", "test")
HELD_OUT = 0.15  # of the speakers, for dev and for test
LOUDNESS, NOISE_LOUDNESS = (-33.0, -25.0), (-38.0, -30.0)  # LUFS
NOISE_FOLDER = {"train": "tr", "dev": "cv", "test": "tt"}
TRIES = 200  # draws that find nothing new, after which a small tree has no more


@config.command("lists")
def main() -> int:
    options = parse()
    lengths = {path: audio.num_samples(options.librispeech / path) for path in speech_tree.files(options.librispeech)}
    noises = {name: _noises(options.wham, NOISE_FOLDER[name]) for name in SETS}
    folder, work = options.lists / f"Libri{options.num_spk}Mix", work_of(options, lengths, noises)
    if manifest.current(folder, work) is None:
        print(f"{folder}: up to date")
        return 0
    shortest, longest = options.min_seconds * official.RATE, options.max_seconds * official.RATE
    usable = [path for path, length in lengths.items() if shortest <= length <= longest]
    with locked(folder):
        manifest.begin(folder)
        sets = split(usable, options.seed)
        files = [write_list(options, name, sets[name], noises[name]) for name in SETS]
        counts = manifest.Counts(len(lengths), len(usable), len(lengths) - len(usable))
        manifest.finish(folder, work, files, counts)
    return 0


def work_of(options: argparse.Namespace, lengths: dict[str, int], noises: dict[str, list[str]]) -> manifest.Work:
    """What the lists depend on: names and lengths of the recordings, the options."""
    names = ("num_spk", "num_train", "num_dev", "num_test", "min_seconds", "max_seconds", "seed")
    settings = {name: str(getattr(options, name)) for name in names}
    return manifest.Work("0", [], {"layout": LAYOUT, "tree": _digest(lengths), "noise": _digest(noises)}, settings)


def write_list(options: argparse.Namespace, name: str, paths: list[str], noises: list[str]) -> Path:
    """Draw and write the list of one set. Raises TreeError (E108) when too few speakers are there."""
    wanted = getattr(options, f"num_{name}")
    drawn = groups(paths, options.num_spk, wanted, random.Random(f"{options.seed} {name}"))
    if not drawn:
        what = f"{name}: no {options.num_spk} speakers among the {len(paths)} utterances that may be used"
        raise speech_tree.TreeError("E108", what, options.librispeech, "give more utterances or other bounds")
    generator = random.Random(f"{options.seed} {name} levels")
    file = mixture_lists.file_of(options.lists, options.num_spk, name)
    mixture_lists.write(file, (row(options, group, noises, generator) for group in drawn), options.num_spk)
    short = "" if len(drawn) == wanted else f" ({wanted} were asked for; there are no more)"
    print(f"{file}: {len(drawn)} mixtures out of {len(paths)} utterances{short}", flush=True)
    return file


def parse() -> argparse.Namespace:
    """The options; whatever is wrong with one is said here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--librispeech", type=Path, required=True, help="a folder with files <speaker>-<chapter>-<number>.flac")
    add("--wham", type=Path, help="the tree of the noise (tr, cv, tt); without it lists have none")
    add("--lists", type=Path, required=True, help="made in it: Libri2Mix/libri2mix_{train,dev,test}.csv")
    add("--num-spk", type=int, default=2, help="speakers in a mixture")
    add("--num-train", type=int, default=200, help="mixtures")
    add("--num-dev", type=int, default=40, help="mixtures")
    add("--num-test", type=int, default=60, help="mixtures")
    add("--min-seconds", type=float, default=3.0, help="shorter utterances are left out")
    add("--max-seconds", type=float, default=math.inf, help="longer ones, too")
    add("--seed", type=int, default=72, help="of the split and of the mixtures")
    options = parser.parse_args()
    if options.num_spk < 2 or min(options.num_train, options.num_dev, options.num_test) < 1:
        parser.error("--num-spk must be at least 2, the numbers of mixtures at least 1")
    if not 0 < options.min_seconds <= options.max_seconds:
        parser.error("--min-seconds must be above 0 and not above --max-seconds")
    return options


def split(paths: list[str], seed: int) -> dict[str, list[str]]:
    """{set: paths}: by the parts of LibriSpeech when dev and test are there, else by speaker."""
    parts = {path: speech_tree.subset(path) for path in paths}
    if set(SETS) <= set(parts.values()):
        return {name: [path for path in paths if parts[path] == name] for name in SETS}
    speakers = sorted({speech_tree.speaker(path) for path in paths}, key=lambda one: _hash(one, seed))
    held_out = max(2, round(HELD_OUT * len(speakers)))
    place = dict.fromkeys(speakers[: 2 * held_out], "dev") | dict.fromkeys(speakers[:held_out], "test")
    return {name: [path for path in paths if place.get(speech_tree.speaker(path), "train") == name] for name in SETS}


def groups(paths: list[str], size: int, count: int, generator: random.Random) -> list[tuple[str, ...]]:
    """Up to `count` groups of utterances of different speakers, no two of the same ones.

    All utterances are used before one is used again.
    """
    seen, found, tries = set(), [], 0
    waiting: list[str] = []
    while len(found) < count and tries < TRIES:
        if len(waiting) < size:
            waiting = generator.sample(paths, len(paths))
        group = _different(waiting, size)
        if len(group) < size:
            waiting, tries = [], tries + 1
        elif frozenset(group) in seen:
            tries += 1
        else:
            seen.add(frozenset(group))
            found.append(group)
            tries = 0
    return found


def _different(waiting: list[str], size: int) -> tuple[str, ...]:
    """The first utterances of different speakers, taken out of the list."""
    group: dict[str, str] = {}
    for path in waiting:
        if len(group) == size:
            break
        group.setdefault(speech_tree.speaker(path), path)
    for path in group.values():
        waiting.remove(path)
    return tuple(group.values())


def row(options: argparse.Namespace, group: tuple[str, ...], noises: list[str], generator: random.Random) -> Row:
    """One line of a list: levels are drawn, gains follow. Raises AudioError."""
    signals = [official.read_source(options.librispeech / path) for path in group]
    length = max(map(len, signals))
    noise = generator.choice(noises) if noises else ""
    if noise:
        signals.append(audio.read_audio(options.wham / noise, channel=0)[0][:length])
    padded = [np.pad(signal, (0, length - len(signal))) for signal in signals]
    gains = list(_gains(padded, len(group), generator))
    key = "_".join(speech_tree.utterance(path) for path in group)
    return Row(key, group, tuple(gains[: len(group)]), noise, gains[-1] if noise else 0.0)


def _gains(signals: list[np.ndarray], speakers: int, generator: random.Random) -> Iterator[float]:
    """The factor of each signal [L], with the mixture's own when that would be too loud."""
    gains = []
    for number, signal in enumerate(signals):
        target = generator.uniform(*(LOUDNESS if number < speakers else NOISE_LOUDNESS))
        lufs = mixing.loudness(signal, official.RATE)
        gains.append(mixing.source_gain(lufs, float(np.abs(signal).max()), target))
    mixture = np.sum([signal * gain for signal, gain in zip(signals, gains, strict=True)], axis=0)
    weight = mixing.clipping_weight(mixture)
    yield from (gain * weight for gain in gains)


def _noises(wham: Path | None, folder: str) -> list[str]:
    """The noises of a set by their path in the tree. Raises TreeError when there is none."""
    if wham is None:
        return []
    found = sorted(f"{folder}/{path.name}" for path in (wham / folder).glob("*.wav"))
    if not found:
        raise speech_tree.TreeError("E126", f"holds no {folder}/*.wav", wham, "give --wham DIR")
    return found


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()


def _hash(speaker: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {speaker}".encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
