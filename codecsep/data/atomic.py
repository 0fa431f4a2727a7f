"""Files and directories that appear whole or not at all: written beside their place, forced to the disk, renamed."""

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from codecsep.errors import CodecsepError
from codecsep.faults import faultpoint

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORCERS = 16  # threads that wait for the disk
ABANDONED_AFTER = 86400.0  # s, of what was written on another machine: its process cannot be asked


class DiskError(CodecsepError):
    """A disk that is full; what was there before is kept."""


@contextlib.contextmanager
def replacing(path: str | Path, forced: bool = True) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` on success, delete it on failure.

    The parent directory is made when it is missing. A reader sees the old file or the new one, never a part.
    forced: to the disk before the rename, so that it survives a loss of power too; files that are written one per
    utterance, into a directory that is forced as a whole, go without. Raises DiskError when the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(path)
    try:
        with disk_full_is_named(path):
            yield beside
            faultpoint("atomic.mid")
            if forced:
                force(beside)
            faultpoint("atomic.before_rename")
            os.replace(beside, path)
            faultpoint("atomic.after_rename")
            if forced:
                force(path.parent)  # the new name, too
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_dir(path: str | Path) -> Iterator[Path]:
    """Yield a new empty directory beside `path`; on success it takes the place of `path`, on failure it is deleted.

    What earlier runs that are gone left beside is removed first. Raises DiskError when the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _recover(path)
    sweep(path)
    beside = _beside(path)
    beside.mkdir()
    try:
        with disk_full_is_named(path):
            yield beside
            faultpoint("atomic.mid")
            force_tree(beside)
            faultpoint("atomic.before_rename")
            _swap(beside, path)
            faultpoint("atomic.after_rename")
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def sweep(path: str | Path) -> None:
    """Remove what killed runs left beside `path`: those of this machine at once, those of others after a day."""
    path = Path(path)
    for leftover in path.parent.glob(f".{_escaped(path.name)}.*.tmp"):
        if _is_abandoned(leftover):
            shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def sweep_inside(folder: Path) -> None:
    """Remove the files that killed runs left beside their places in a folder (subfolders are not looked into)."""
    for leftover in folder.glob(".*.tmp"):
        if leftover.name.count(".") >= 5 and leftover.is_file() and _is_abandoned(leftover):
            leftover.unlink(missing_ok=True)


def force(path: Path) -> None:
    """fsync of a file or directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def force_tree(folder: Path) -> None:
    """fsync of every file below a directory, and of the directories."""
    paths = []
    for root, _, names in os.walk(folder):
        paths += [Path(root) / name for name in names] + [Path(root)]
    force_all(paths)


def force_all(paths: Iterable[Path]) -> None:
    """fsync of many files, several at a time: the disk then serves them together, which is ten times as fast."""
    from concurrent.futures import ThreadPoolExecutor  # 25 ms, which a stage that is up to date does not need

    with ThreadPoolExecutor(FORCERS) as pool:
        for _ in pool.map(force, paths):
            pass


@contextlib.contextmanager
def disk_full_is_named(path: Path) -> Iterator[None]:
    """Turn "no space left" into a DiskError that names the file and the room there is."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        free = shutil.disk_usage(path.parent).free // 2**20
        fix = "free some space or raise the quota, and run the same command again; what was there is kept"
        raise DiskError("E320", f"could not be written: {error.strerror}; {free} MiB are free", path, fix) from error


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{_host()}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")


def _host() -> str:
    return os.uname().nodename.replace(".", "-")


def _is_abandoned(leftover: Path) -> bool:
    """Is the process that wrote `.<name>.<host>.<pid>.<random>.tmp` gone?"""
    host, pid = leftover.name.split(".")[-4:-2]
    if host == _host():
        return not _is_running(pid)
    with contextlib.suppress(FileNotFoundError):
        return time.time() - leftover.stat().st_mtime > ABANDONED_AFTER
    return False


def _swap(new: Path, path: Path) -> None:
    """Put the directory `new` in the place of `path`; the old one is moved away first, then deleted."""
    old = path.with_name(f".{path.name}.old")
    if path.exists():
        os.replace(path, old)
    os.replace(new, path)
    shutil.rmtree(old, ignore_errors=True)


def _recover(path: Path) -> None:
    """A run that died between the two renames of `_swap` left only the old directory: put it back."""
    old = path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        os.replace(old, path)
    shutil.rmtree(old, ignore_errors=True)


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _is_running(pid: str) -> bool:
    """Is there a process of this number on this machine? (what it writes is not ours to delete)"""
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
