#!/usr/bin/env python3
"""Stage 0 of librimix: lists + LibriSpeech (+ WHAM noise) -> wavs in the shared corpus directory -> data directories.

data/{train,dev,test} are mixtures, data/{train,dev}_sources the single utterances of the lists of train and dev.
What is finished is kept: the same options again do nothing, a run that was killed goes on, other options or a damaged
file make anew what depends on them.
"""

import argparse
import sys
from pathlib import Path

import build
import directories
import mixture_lists
import official
import speech_tree

from codecsep import config
from codecsep.data import mixing, splits
from codecsep.data.batch import Batch

SETS = ("train", "dev", "test")
HELD_OUT = {"dev": "dev-clean", "test": "test-clean"}


@config.command("data preparation")
def main() -> int:
    options = parse()
    trees = build.Trees(options.librispeech, options.wham)
    kind = build.Kind(options.num_spk, options.mixture, options.mode, options.sample_rate)
    lists = {name: read_lists(options, name) for name in SETS}
    check_trees(options, [row for read in lists.values() for rows in read.values() for row in rows])
    check_speakers(lists)
    for name in SETS:
        prepare_set(options, name, lists[name], trees, kind)
    made = {name: [options.out / name] + [options.out / f"{name}_sources"] * (name != "test") for name in SETS}
    splits.check_folders(made, "use the official lists, or --metadata made")
    return 0


def parse() -> argparse.Namespace:
    """The options; whatever is wrong with one is said here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--librispeech", type=Path, required=True, help="the tree that the lists are relative to")
    add("--wham", type=Path, help="the tree of the noise; needed for --mixture both and single")
    add("--metadata", type=Path, required=True, help="the lists: Libri2Mix/libri2mix_<list>.csv in it")
    add("--corpus", type=Path, required=True, help="where the wavs are put")
    add("--out", type=Path, default=Path("data"), help="made in it: <set> and <set>_sources")
    add("--train-lists", nargs="+", default=["train-clean-100"], help="lists of data/train; `train` takes dev and test")
    add("--num-spk", type=int, default=2, help="speakers in a mixture, 2 or more")
    add("--mixture", choices=official.TYPES, default="clean", help="what is summed")
    add("--mode", choices=("min", "max"), default="min", help="end with the shortest or with the longest source")
    add("--sample-rate", type=int, choices=(8000, 16000), default=16000, help="Hz")
    add("--nj", type=int, default=1, help="processes")
    options = parser.parse_args()
    if options.num_spk < 2 or options.nj < 1:
        parser.error("--num-spk must be at least 2, --nj at least 1")
    if options.mixture != "clean" and options.wham is None:
        parser.error(f"--mixture {options.mixture} needs --wham")
    return options


def read_lists(options: argparse.Namespace, name: str) -> dict[str, list[mixture_lists.Row]]:
    """The lists of one set by their names. Made lists are called train, dev and test. Raises ListError."""
    made = options.train_lists == ["train"]
    names = options.train_lists if name == "train" else [name if made else HELD_OUT[name]]
    files = {one: mixture_lists.file_of(options.metadata, options.num_spk, one) for one in names}
    noisy = options.mixture != "clean"
    return {one: mixture_lists.read(path, options.num_spk, noisy) for one, path in files.items()}


def check_trees(options: argparse.Namespace, rows: list[mixture_lists.Row]) -> None:
    """Everything that the lists name is there. Raises TreeError (E126)."""
    paths = [path for row in rows for path in row.sources]
    speech_tree.require(options.librispeech, paths, "--librispeech", options.out / "log" / "missing_speech.txt")
    if options.mixture != "clean":
        noises = [row.noise for row in rows]
        speech_tree.require(options.wham, noises, "--wham", options.out / "log" / "missing_noise.txt")


def check_speakers(lists: dict[str, dict[str, list[mixture_lists.Row]]]) -> None:
    """Nobody speaks in two sets. Raises LeakError (E130), TreeError on a file that is not named as LibriSpeech's."""
    heard = {
        name: {speech_tree.speaker(path) for rows in read.values() for row in rows for path in row.sources}
        for name, read in lists.items()
    }
    splits.check_disjoint(heard, "speaker", "use the official lists, or --metadata made")


def prepare_set(
    options: argparse.Namespace,
    name: str,
    lists: dict[str, list[mixture_lists.Row]],
    trees: build.Trees,
    kind: build.Kind,
) -> None:
    """The wavs and the directories of one set."""
    mixtures, singles = [], []
    for one, rows in lists.items():
        csv = mixture_lists.file_of(options.metadata, options.num_spk, one)
        mixtures.append(build.mixtures(csv, rows, trees, kind, kind.folder(options.corpus, kind.mode, one)))
        paths = [path for row in rows for path in row.sources]
        folder = kind.folder(options.corpus, "sources", one)
        singles.append(build.sources(csv, paths, trees.librispeech, kind.rate, folder))
    for batch in mixtures:
        run(batch, options.nj)
    directories.prepare_mixtures(options.out / name, mixtures, trees.librispeech, kind)
    if name != "test":
        for batch in singles:
            run(batch, options.nj)
        directories.prepare_sources(options.out / f"{name}_sources", singles, trees.librispeech, kind)


def run(batch: Batch, nj: int) -> None:
    """Make what is missing of a folder, and say so."""
    why = batch.pending()
    if why is None:
        print(f"{batch.folder} ({batch.name}): up to date", flush=True)
        return
    print(f"{batch.folder} ({batch.name}): {len(batch.items)} to make: {why}", flush=True)
    mixing.load()
    kept = batch.build(nj)
    print(f"{batch.folder} ({batch.name}): {len(batch.items)} made" + (f", {kept} of them before" if kept else ""))


if __name__ == "__main__":
    sys.exit(main())
