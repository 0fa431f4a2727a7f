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
NO_FLOCK = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # network file systems mounted without locks


class LockError(CodecsepError):
    """Another process writes here."""


@contextlib.contextmanager
def locked(folder: str | Path, name: str = NAME) -> Iterator[None]:
    """Hold `folder`/`name` while the block runs; the folder is made. Raises LockError when another process holds it.

    The file stays when the lock is given back: deleting it would let two processes hold two files of one name.
    """
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(path, file) from None
        except OSError as error:
            if error.errno not in NO_FLOCK:
                raise
            with _exclusive_file(path.with_name(path.name + ".held")):
                yield
            return
        file.seek(0)
        file.truncate(0)
        file.write(_holder())
        file.flush()
        yield


@contextlib.contextmanager
def _exclusive_file(path: Path) -> Iterator[None]:
    """Where flock does not exist: a file that only one process can create; stale when its process is gone."""
    with contextlib.suppress(FileNotFoundError):
        if _is_stale(path.read_text(encoding="utf-8")):
            path.unlink()
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        with open(path, encoding="utf-8") as file:
            raise _taken(path, file) from None
    try:
        os.write(descriptor, _holder().encode())
        yield
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


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


def _taken(path: Path, file) -> LockError:
    file.seek(0)
    holder = " ".join(file.read().split()) or "another process"
    return LockError("E630", f"is being written by {holder}", path.parent, "wait for it, stop it, or use another --out")
