"""Log files: what stands at their beginning and end, and what is said about those that failed."""

import re
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.problem import Problem, say

if TYPE_CHECKING:
    from jobs.request import Request

SHOWN_LINES = 20
SHOWN_FAILURES = 10
TAIL_BYTES = 64 * 1024
ENDED = re.compile(r"# Ended \(code (\d+)(?:; signal (\d+))?\) at ")
KILLED = (-9, 137)


@dataclass(frozen=True)
class Failure:
    """A job that did not end well. `status`: of the process, negative for a signal, None when nobody saw its end."""

    number: int
    log: Path
    status: int | None
    state: str = ""  # what a scheduler calls it, with where to look
    output: Path | None = None  # what the scheduler's side has written, in case that the log was never begun

    def problem(self, where: str) -> Problem:
        if self.status in KILLED or "OUT_OF_MEMORY" in self.state:
            fix = "fewer jobs at a time (--nj), smaller batches, or more memory (--mem)"
            return Problem("E521", f"{self._end()} - out of memory?", where, fix)
        return Problem("E620", self._end(), where, "read the log, mend the cause, and run the same command again")

    def _end(self) -> str:
        if self.status is None:
            return self.state
        signum = -self.status if self.status < 0 else self.status - 128 if 128 < self.status <= 192 else 0
        text = f"killed by signal {signum}" if signum else f"ended with status {self.status}"
        return f"{self.state}, {text}" if self.state else text


def header(words: Iterable[str], more: Iterable[str] = ()) -> str:
    """The first lines: the command, when it started, what else is known; all begin with "#"."""
    lines = [*shlex.join(words).split("\n"), f"Started at {time.ctime()}", *more]
    return "".join(f"# {line}\n" for line in lines) + "#\n"


def footer(status: int, seconds: float, threads: int) -> str:
    """The last lines. `status` is that of subprocess: negative for a signal."""
    result = f"code {status}" if status >= 0 else f"code 0; signal {-status}"
    hint = "# Killed by signal 9: out of memory?\n" if status in KILLED else ""
    return (
        f"# Accounting: time={int(seconds)} threads={threads}\n{hint}"
        f"# Ended ({result}) at {time.ctime()}, elapsed time {int(seconds)} seconds\n"
    )


def ended(log: Path) -> int | None:
    """The status in the last line of a log, 128 + n for signal n; None when there is none: it has not ended."""
    lines = tail(log)
    match = ENDED.match(lines[-1]) if lines else None
    if not match:
        return None
    return 128 + int(match[2]) if match[2] else int(match[1])


def tail(log: Path, lines: int = SHOWN_LINES) -> list[str]:
    """The last lines of a file; none when it cannot be read."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def report(request: "Request", failures: list[Failure], shows_end: bool = True) -> int:
    """Say what failed, name the jobs, show the end of the first log; the exit status."""
    if not failures:
        return 0
    failures = sorted(failures, key=lambda failure: failure.number)
    first, total = failures[0], len(request.numbers)
    if total > 1:
        log = request.log.replace(request.array, "*")
        say(request.prog, f"{len(failures)} / {total} failed, log is in {log}")
    else:
        say(request.prog, f"job failed{_with_status(first)}, log is in {request.log_of(first.number)}")
    for failure in failures[:SHOWN_FAILURES]:
        job = f"task {failure.number} ({failure.log})" if request.array else str(failure.log)
        say(request.prog, str(failure.problem(job)))
    if len(failures) > SHOWN_FAILURES:
        rest = " ".join(str(failure.number) for failure in failures[SHOWN_FAILURES:])
        say(request.prog, f"failed as well: {rest}")
    if shows_end:
        log = first.output if first.output and not first.log.exists() else first.log
        lines = [f"{request.prog}: the end of {log}:", *without_header(tail(log))]
        print("\n".join(lines), file=sys.stderr)
    return 1


def without_header(lines: list[str]) -> list[str]:
    """The lines after the bare "#" that ends a header, if it stands among them."""
    return lines[lines.index("#") + 1 :] if "#" in lines else lines


def _with_status(failure: Failure) -> str:
    """Schedulers' users look for the status in this line; run.pl's do not."""
    if not failure.state or failure.status is None:
        return ""
    return f" with status {failure.status if failure.status >= 0 else 128 - failure.status}"
