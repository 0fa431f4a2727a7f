"""Signals, and what becomes of processes: nothing that a launcher has started outlives it."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path

SECONDS_TO_STOP = 4.0  # from the first TERM to KILL
PR_SET_CHILD_SUBREAPER = 36
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stop:
    """Notes signals that ask to stop, and the end of the recipe that called us."""

    def __init__(self):
        self.received: int | None = None
        for number in STOPPING:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup stays in force
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: object) -> None:
        self.received = self.received or number

    def asked(self) -> int | None:
        """The signal that asked to stop; SIGTERM when the process RECIPE_PID is gone; else None."""
        if self.received is None and recipe_is_gone():
            self.received = int(signal.SIGTERM)
        return self.received


def recipe_is_gone() -> bool:
    """True when the recipe that called us (its process id is in RECIPE_PID) does not exist any more."""
    pid = os.environ.get("RECIPE_PID", "")
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return is_dead(int(pid))


def is_dead(pid: int) -> bool:
    """Has the process ended, and only waits for its parent to take note?"""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX"
    return False


def adopt_orphans() -> None:
    """Processes below us whose parent ends become our children, so that they can be found (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def descendants(pid: int) -> list[int]:
    """All living processes below `pid`, in any group or session; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(entry.name))
    found = list(children.get(pid, []))
    for one in found:  # grows while it is walked through
        found += children.get(one, [])
    return found


def children(pid: int) -> list[int]:
    """The living children of `pid`."""
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def kill(pid: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signum)


def stop_all(jobs: list[subprocess.Popen]) -> None:
    """End jobs, each the leader of its group, and all that they started: TERM, after a few seconds KILL."""
    for job in jobs:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(job.pid, signal.SIGTERM)
    patience = time.time() + SECONDS_TO_STOP
    while time.time() < patience and (_running(jobs) or descendants(os.getpid())):
        time.sleep(0.05)
    for job in jobs:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(job.pid, signal.SIGKILL)
    end_descendants(signal.SIGKILL)
    for job in jobs:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel
            job.wait(timeout=1)


def end_descendants(*signals: int) -> None:
    """Send the signals in turn to all that is below this process, with a second for each to work."""
    for signum in signals:
        patience = time.time() + 1.0
        while (left := descendants(os.getpid())) and time.time() < patience:
            for pid in left:
                kill(pid, signum)
            time.sleep(0.05)


def _running(jobs: list[subprocess.Popen]) -> bool:
    return any(job.poll() is None for job in jobs)
