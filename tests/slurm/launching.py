"""Calls of slurm.pl and of its relatives in a folder, with a fake or a real scheduler on the PATH."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAKE = Path(__file__).resolve().parent / "fake"
CONF = "command sbatch --export=ALL\noption time=* --time=$0\noption mem=* --mem-per-cpu=$0\n"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "RECIPE_PID"))}


@dataclass
class Place:
    """A folder to launch jobs in. `environment` reaches the scheduler."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    launcher: str = "slurm.pl"

    def command(self, *words: str) -> list[str]:
        return [sys.executable, str(ROOT / "utils" / self.launcher), *map(str, words)]

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*words), cwd=self.folder, env=self.environment | environment,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    def start(self, *words: str, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            self.command(*words), cwd=self.folder, env=self.environment | environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def read(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")

    def body(self, name: str) -> str:
        """What the command itself wrote into a log: between the header and the footer."""
        return self.read(name).split("\n#\n", 1)[1].rsplit("# Finished at ", 1)[0]


def conf(folder: Path, text: str, name: str = "slurm.conf") -> None:
    (folder / "conf").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / name).write_text(text, encoding="utf-8")


def submissions(home: Path) -> list[list[str]]:
    """The words that a fake submitting command was called with, one list for each call."""
    return [json.loads(line) for line in next(home.glob("*.jsonl")).read_text().splitlines()]


def wait_for(condition, seconds: float = 60.0) -> bool:
    end = time.time() + seconds
    while not condition() and time.time() < end:
        time.sleep(0.02)
    return bool(condition())


def alive(pid: int) -> bool:
    """Is there such a process, and is it more than an entry that waits for its parent?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def left_of_session(session: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found
