"""Results of benchmarks as JSON and as tables of a Markdown page, with the machine that they were measured on.

A section of the page stands between two marks, `<!-- bench decode -->` and `<!-- end decode -->`, and is written whole;
text outside the marks is left alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from codecsep.data import atomic
from codecsep.errors import CodecsepError

ROOT = Path(__file__).resolve().parents[2]
BUSY = 0.5  # load per core above which other work than ours was running


class BenchError(CodecsepError):
    """A benchmark that cannot be run or written as asked."""


@dataclass
class Table:
    """One table: cells are text or numbers; notes stand below it."""

    title: str
    columns: list[str]
    rows: list[list[Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [f"### {self.title}", "", _row(self.columns), _row(["---"] * len(self.columns))]
        lines += [_row([cell(value) for value in row]) for row in self.rows]
        if self.notes:
            lines += ["", *(f"* {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"


@dataclass
class Result:
    """What one benchmark gave, on which machine, with which settings."""

    bench: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    tables: list[Table]

    def markdown(self) -> str:
        """The section of the page."""
        machine = "; ".join(f"{name} {value}" for name, value in self.machine.items())
        settings = ", ".join(f"{name} {cell(value)}" for name, value in self.settings.items())
        head = f"Measured on: {machine}.\n\nSettings: {settings}.\n"
        busy = f"\n{BUSY_NOTE}\n" if self.is_busy else ""
        return "\n".join([head + busy, *(table.markdown() for table in self.tables)])

    @property
    def is_busy(self) -> bool:
        """Was more running than this benchmark, which keeps one core busy?"""
        load = max(float(value) for value in str(self.machine["load"]).split(" -> "))
        return load > 1 + BUSY * (int(self.machine["cores"]) - 1)

    def json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1, default=str) + "\n"


BUSY_NOTE = "**Other work was running on this machine**: ratios of processor time hold, times and speeds do not."


def cell(value: Any) -> str:
    """A number with three significant digits, anything else as it prints."""
    if not isinstance(value, float):
        return str(value)
    if value == 0 or 0.001 <= abs(value) < 1e6:
        digits = max(0, 2 - int(f"{value:e}".split("e")[1])) if value else 0
        return f"{value:.{digits}f}"
    return f"{value:.2e}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"


def machine(device: str = "cpu") -> dict[str, Any]:
    """CPU, cores, memory, GPU, versions, commit, date and load of this machine, as they are now."""
    found: dict[str, Any] = {"CPU": cpu_name(), "cores": os.cpu_count() or 1, "RAM": f"{memory_gib():.0f} GiB"}
    is_cuda = torch.device(device).type == "cuda"
    found["GPU"] = torch.cuda.get_device_name(device) if is_cuda else "not used"
    found |= {"torch": torch.__version__, "threads": torch.get_num_threads(), "commit": commit()}
    return found | {"date": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC", "load": load()}


def load() -> str:
    """Processes running or waiting, the mean of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def cpu_name() -> str:
    """Model and numbers of the processor from /proc/cpuinfo (model names of virtual machines say little)."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    parts = [re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE) for name in ("model name", "cpu family", "model")]
    name, family, model = (part[1].strip() if part else "?" for part in parts)
    return f"{name} (family {family}, model {model})"


def memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def commit() -> str:
    """The commit of the checkout, with "+" where the package is changed since; "none" outside of a checkout."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--", "codecsep") else "")
    except (OSError, subprocess.CalledProcessError):
        return "none"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write_json(path: Path, result: Result) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, result.json())


def read_json(path: Path) -> Result:
    """What `write_json` wrote."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Result(**{**found, "tables": [Table(**table) for table in found["tables"]]})


def write_section(page: Path, result: Result) -> None:
    """Replace the section of this benchmark. Raises BenchError when the page has no marks for it."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    start, end = f"<!-- bench {result.bench} -->", f"<!-- end {result.bench} -->"
    before, mark, rest = text.partition(start)
    _, end_mark, after = rest.partition(end)
    if not mark or not end_mark:
        raise BenchError("E864", f"has no lines '{start}' and '{end}'", page, "add both, one below the other")
    atomic.write_text(page, f"{before}{start}\n{result.markdown()}{end}{after}")
