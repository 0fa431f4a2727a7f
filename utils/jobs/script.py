"""Commands as programs, and the small bash script that a scheduler or ssh starts on a node.

Values are data: every word is quoted once, exactly, and nothing is expanded.
"""

import contextlib
import glob
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from jobs.request import Request

SHELL_WORDS = {"|", "||", "&&", ";", ">", ">>", "<", "2>&1"}
PIPELINE = "set -o pipefail; trap '' USR1 USR2; "  # those two are for the programs of the pipeline, not for bash


def arguments(words: list[str]) -> list[str]:
    """The words as an argument list; through bash only where a bare shell word stands among them."""
    if not SHELL_WORDS.intersection(words):
        return words
    line = " ".join(word if word in SHELL_WORDS else shlex.quote(word) for word in words)
    return ["bash", "-c", PIPELINE + line]


@dataclass(frozen=True)
class Script:
    """The files in the folder q beside the logs. `status(n)` appears when job n has ended, with its status in it."""

    request: Request
    folder: Path
    base: str
    token: str
    number_from: str  # environment variable with the number of the job

    @property
    def path(self) -> Path:
        return self.folder / f"{self.base}.sh"

    @property
    def output(self) -> Path:
        return self.folder / f"{self.base}.log"

    @property
    def done(self) -> Path:
        return self.folder / f"{self.base}.done.{self.token}"

    def status(self, number: int) -> Path:
        return self.folder / f"{self.done.name}.{number}"

    def write(self, todo: list[int], more: tuple[str, ...] = ()) -> None:
        """Make the folder q and the script; logs of earlier runs are deleted. `more`: further options of task.py."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in todo:
            log = self.request.log_of(number)
            log.parent.mkdir(parents=True, exist_ok=True)
            log.unlink(missing_ok=True)
        self.path.write_text(self.text(todo, more), encoding="utf-8", errors="surrogateescape")
        self.path.chmod(0o755)
        self.output.write_text("", encoding="utf-8")

    def text(self, todo: list[int], more: tuple[str, ...]) -> str:
        request = self.request
        words = [str(Path(__file__).resolve().parent / "task.py"), "--prog", request.prog, "--log", request.log]
        words += ["--status", str(self.done), "--threads", request.options.get("num_threads", "1")]
        if request.array:
            words += ["--array", request.array, "--number-from", self.number_from, "--only", ",".join(map(str, todo))]
        words += more
        lines = ["#!/usr/bin/env bash", f"# Written by {request.prog}; starts the command on a node."]
        lines += [f"cd -- {shlex.quote(os.getcwd())} || exit 1"]
        lines += [f". {shlex.quote(str(path))}" for path in environment_file()]
        words = [sys.executable or "python3", *words, "--", *request.command]
        lines += [f"exec {shlex.join(words)}", ""]
        return "\n".join(lines)

    def clean(self) -> None:
        """Delete the status files; the logs say the same."""
        for path in self.folder.glob(f"{glob.escape(self.done.name)}.*"):
            with contextlib.suppress(OSError):
                path.unlink()


def environment_file() -> list[Path]:
    """The recipe's path.sh, or its corpus's."""
    return [path for path in (Path("./path.sh"), Path("../path.sh")) if path.is_file()][:1]


def make_script(request: Request, number_from: str) -> Script:
    """Where the files of a request lie: exp/log/x.JOB.log has exp/log/q/x.{sh,log}."""
    log = Path(request.log)
    folder = log.parent
    while request.array and request.array in str(folder):  # one folder for all jobs
        folder = folder.parent
    base = log.name.removesuffix(".log")
    if request.array:
        base = base.replace(f".{request.array}", "").replace(request.array, "")
    return Script(request, folder / "q", base or "job", f"{os.uname().nodename}-{os.getpid()}", number_from)
