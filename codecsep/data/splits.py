"""Is nothing of one set in another? A test set that shares recordings with the training set measures memory."""

import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from codecsep.data.datadir import DataDir
from codecsep.errors import CodecsepError


class LeakError(CodecsepError):
    """Sets that are not disjoint."""


def check_disjoint(sets: Mapping[str, Iterable[str]], kind: str, fix: str) -> None:
    """Raise LeakError (E130) naming two sets and up to three things of `kind` ("recording") that are in both."""
    members = {name: set(things) for name, things in sets.items()}
    for one, other in itertools.combinations(members, 2):
        common = sorted(members[one] & members[other])
        if common:
            what = f"{len(common)} {kind}s are in {one} and in {other}, first {', '.join(common[:3])}"
            raise LeakError("E130", what, "", fix)


def recordings(directory: DataDir) -> set[str]:
    """The audio files of a directory of single sources, links resolved."""
    return {os.path.realpath(path) for path in directory.table("wav.scp").values()}


def sources_of(directory: DataDir) -> set[str]:
    """Ids of the utterances that the mixtures of a directory were made of (utt2source_spk<j>); empty when not noted."""
    tables = (f"utt2source_{speaker}" for speaker in directory.speakers())
    return {key for name in tables if directory.has(name) for key in directory.table(name).values()}


def check_folders(folders: Iterable[Path], fix: str) -> None:
    """Directories of single sources or of mixtures: no id, recording or source in two of them. Raises LeakError."""
    directories = {str(folder): DataDir(folder) for folder in folders}
    singles = {name: directory for name, directory in directories.items() if not directory.speakers()}
    mixtures = {name: directory for name, directory in directories.items() if directory.speakers()}
    check_disjoint({name: directory.ids for name, directory in singles.items()}, "utterance", fix)
    check_disjoint({name: recordings(directory) for name, directory in singles.items()}, "recording", fix)
    check_disjoint({name: sources_of(directory) for name, directory in mixtures.items()}, "source", fix)
