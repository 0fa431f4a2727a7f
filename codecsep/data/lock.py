"""One writer per directory: a lock that the kernel frees when its holder dies."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from codecsep.errors import CodecsepError

NAME = ".lock"
HELD = ".held"  # ending of the file that stands for the lock where flock does not exist
POLL = 0.1  # s, between two attempts
NO_FLOCK = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # network file systems mounted without locks


class LockError(CodecsepError):
    """Another process writes here."""


@contextlib.contextmanager
def locked(folder: str | Path, name: str = NAME, patience: float = 0.0) -> Iterator[None]:
    """Hold `folder`/`name` while the block runs; the folder is made. Raises LockError when another process holds it.

    patience: seconds to wait for the other process first. The file stays when the lock is given back: deleting it would
    let two processes hold two files of one name.
    """
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    with contextlib.ExitStack() as stack:
        while not _take(path, stack):
            if time.monotonic() >= deadline:
                raise _taken(path)
            time.sleep(POLL)
        yield


def _take(path: Path, stack: contextlib.ExitStack) -> bool:
    """Take the lock until the stack is closed; False when another process holds it."""
    with contextlib.ExitStack() as attempt:
        file = attempt.enter_context(open(path, "a", encoding="utf-8"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sign(file.fileno())
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in NO_FLOCK:
                raise
            if not _create(path.with_name(path.name + HELD), attempt):
                return False
        stack.push(attempt.pop_all())
    return True


def _create(path: Path, stack: contextlib.ExitStack) -> bool:
    """Where flock does not exist: a file that only one process can create; stale when its process is gone."""
    _remove_stale(path)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    stack.callback(path.unlink, missing_ok=True)
    stack.callback(os.close, descriptor)
    _sign(descriptor)
    return True


def _remove_stale(path: Path) -> None:
    """Remove the file of a process that is gone; a second file sees to it that only one process does so at a time."""
    guard = path.with_name(path.name + ".check")
    try:
        os.close(os.open(guard, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    try:
        with contextlib.suppress(FileNotFoundError):
            if _is_stale(path.read_text(encoding="utf-8")):
                path.unlink()
    finally:
        guard.unlink(missing_ok=True)


def _sign(descriptor: int) -> None:
    """Write into a lock file who holds it; on a full disk it stays unsaid."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _holder().encode())


def _holder() -> str:
    return f"process {os.getpid()} on {os.uname().nodename} since {time.strftime('%Y-%m-%dT%H:%M:%S')}\n"


def _is_stale(text: str) -> bool:
    """Is the process that wrote `text` on this machine, and gone?"""
    words = text.split()
    if len(words) < 4 or words[3] != os.uname().nodename or not words[1].isdigit():
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _taken(path: Path) -> LockError:
    holder = ""
    for file in (path.with_name(path.name + HELD), path):
        with contextlib.suppress(OSError):
            holder = holder or " ".join(file.read_text(encoding="utf-8", errors="replace").split())
    what = f"is being written by {holder or 'another process'}"
    return LockError("E630", what, path.parent, "wait for it, stop it, or write to another directory")
