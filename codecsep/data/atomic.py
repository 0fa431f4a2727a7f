"""Files and directories that appear whole or not at all: written beside their place, then renamed."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` on success, delete it on failure.

    The parent directory is made when it is missing. A reader sees the old file or the new one, never a part.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_dir(path: str | Path) -> Iterator[Path]:
    """Yield a new empty directory beside `path`; on success it takes the place of `path`, on failure it is deleted.

    What earlier runs that are gone left beside is removed first.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        if not _is_running(leftover.name.split(".")[-2]):
            shutil.rmtree(leftover, ignore_errors=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.mkdir()
    try:
        yield beside
        _swap(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _swap(new: Path, path: Path) -> None:
    """Put the directory `new` in the place of `path`; the old one is moved away first, then deleted."""
    if not path.exists():
        os.replace(new, path)
        return
    old = path.with_name(f".{path.name}.old.{os.getpid()}.tmp")
    os.replace(path, old)
    os.replace(new, path)
    shutil.rmtree(old)


def _is_running(pid: str) -> bool:
    """Is there another process of this number on this machine? (its directory is not ours to delete)"""
    if not pid.isdigit() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
