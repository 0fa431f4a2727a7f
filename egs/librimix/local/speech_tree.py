"""A LibriSpeech tree, whole or in part: what is missing in it, transcripts, speakers.

Files are named <speaker>-<chapter>-<number>.flac, wherever they lie; transcripts stand beside them, those of a chapter
in one file <speaker>-<chapter>.trans.txt. A tree may have none.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from codecsep.data import atomic
from codecsep.errors import CodecsepError

NAME = re.compile(r"([0-9]+)-[0-9]+-[0-9]+")
SUBSET = re.compile(r"(train|dev|test)-[a-z]+(-[0-9]+)?")
MAX_LISTED = 5


class TreeError(CodecsepError):
    """A corpus that is missing or lacks files."""


def require(tree: Path, files: Iterable[str], option: str, listed_in: Path) -> None:
    """Raise one TreeError (E126) that counts the files that a tree lacks, names the first ones, and writes all of them
    to `listed_in`. Nothing is decoded: whether they are whole is seen when they are read."""
    files = sorted(set(files))
    if not tree.is_dir():
        raise TreeError("E126", "no such directory", tree, f"give {option} DIR")
    listed_in.unlink(missing_ok=True)
    missing = [name for name in files if not _is_there(tree / name)]
    if missing:
        atomic.write_text(listed_in, "".join(f"{name}\n" for name in missing))
        more = ", ..." if len(missing) > MAX_LISTED else ""
        what = f"{len(missing)} of {len(files)} files that the lists name are missing or empty: "
        fix = f"{listed_in} names all of them; complete the tree, give another {option}, or --metadata made"
        raise TreeError("E126", what + ", ".join(missing[:MAX_LISTED]) + more, tree, fix)


def utterance(path: str) -> str:
    """The id of an utterance: the name of its file."""
    return PurePosixPath(path).stem


def speaker(path: str) -> str:
    """The id of the speaker of a file. Raises TreeError (E126) when the name is not LibriSpeech's."""
    found = NAME.fullmatch(utterance(path))
    if not found:
        what = "is not named <speaker>-<chapter>-<number>.flac"
        raise TreeError("E126", what, path, "give the files of LibriSpeech with their own names")
    return found[1]


def files(tree: Path) -> list[str]:
    """All utterances of a tree by their path in it, sorted by name. Raises TreeError (E126) when there is none."""
    found = []
    for folder, _, names in os.walk(tree, followlinks=True):
        inside = Path(folder).relative_to(tree)
        found += [str(inside / name) for name in names if name.endswith(".flac") and NAME.fullmatch(name[:-5])]
    if not found:
        what = "holds no files <speaker>-<chapter>-<number>.flac"
        raise TreeError("E126", what, tree, "give --librispeech DIR")
    return sorted(found)


def subset(path: str) -> str:
    """train, dev or test where a folder on the path is a part of LibriSpeech (dev-clean ...), else ""."""
    found = [match[1] for part in PurePosixPath(path).parts[:-1] if (match := SUBSET.fullmatch(part))]
    return found[0] if found else ""


def transcripts(tree: Path, paths: Iterable[str]) -> dict[str, str]:
    """{utterance: text} of those of the given files that have a transcript."""
    wanted: dict[Path, set[str]] = {}
    for path in paths:
        chapter = utterance(path).rpartition("-")[0]
        wanted.setdefault(tree / PurePosixPath(path).parent / f"{chapter}.trans.txt", set()).add(utterance(path))
    texts = {}
    for file, keys in wanted.items():
        if file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            pairs = (line.partition(" ")[::2] for line in lines)
            texts.update({key: text.strip() for key, text in pairs if key in keys and text.strip()})
    return texts


def _is_there(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return False
