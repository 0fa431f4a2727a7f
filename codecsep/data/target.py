"""Where a verb may write a data directory: nowhere, or where one lies that a verb can make again."""

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from codecsep.data import atomic
from codecsep.errors import CodecsepError

MADE_BY_VERBS = re.compile(r"split[0-9]+(utt)?|\.backup")  # sub-directories that may be lost
MADE_AUDIO = "wav"  # and this one, in a directory with MARK
MARK = ".made_by"
BACKUP = ".backup"


class TargetError(CodecsepError):
    """A place that must not be written to."""


@contextlib.contextmanager
def replacing(target: Path, sources: list[Path]) -> Iterator[Path]:
    """A new directory beside `target` that takes its place when the block succeeds.

    Files that only the old directory had are kept in .backup of the new one. Raises TargetError (E136) when the target
    is, holds or may hold something that is not ours to delete.
    """
    target = target.resolve()
    _check(target, sources)
    with atomic.replacing_dir(target) as beside:
        yield beside
        _keep(target, beside)


def _check(target: Path, sources: list[Path]) -> None:
    for source in sources:
        if target == source.resolve() or target in source.resolve().parents:
            raise TargetError("E136", f"{source} is read and would be replaced", target, "write to another directory")
    if not target.exists():
        return
    if not target.is_dir():
        raise TargetError("E136", "is a file", target, "write to another directory")
    entries = list(target.iterdir())
    if entries and not any((target / name).is_file() for name in ("utt2spk", "wav.scp")):
        raise TargetError("E136", "is there and is no data directory", target, "write to another directory")
    for entry in entries:
        is_ours = MADE_BY_VERBS.fullmatch(entry.name) or (entry.name == MADE_AUDIO and (target / MARK).is_file())
        if entry.is_dir() and not is_ours:
            fix = "move it away, or write to another directory"
            raise TargetError("E136", f"holds the directory {entry.name}/, which would be deleted", target, fix)


def _keep(target: Path, beside: Path) -> None:
    if not target.is_dir():
        return
    for file in sorted(target.iterdir()):
        if file.is_file() and not file.name.startswith(".") and not (beside / file.name).exists():
            (beside / BACKUP).mkdir(exist_ok=True)
            shutil.copy2(file, beside / BACKUP / file.name)
