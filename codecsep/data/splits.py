"""Is nothing of one set in another? A test set that shares recordings with the training set measures memory.

Whether sets may share speakers is for the corpus to say: where not, `check_disjoint` takes speakers as well.
"""

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


def check_folders(sets: Mapping[str, Iterable[Path]], fix: str) -> None:
    """Name of a set -> its directories, of single sources and of mixtures. Raises LeakError (E130).

    No utterance of one set, alone or in a mixture, is in another one, and no recording under another id.
    """
    material: dict[str, set[str]] = {}
    files: dict[str, set[str]] = {}
    for name, folders in sets.items():
        directories = [DataDir(folder) for folder in folders]
        singles = [directory for directory in directories if not directory.speakers()]
        material[name] = {key for directory in singles for key in directory.ids}
        material[name] |= {key for directory in directories for key in sources_of(directory)}
        files[name] = {path for directory in singles for path in recordings(directory)}
    check_disjoint(material, "utterance", fix)
    check_disjoint(files, "recording", fix)
