"""RESULTS.md: where and with what it was run, the table, intervals, remarks; the papers' numbers in a table apart."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from datetime import date, datetime, timezone
from importlib import metadata
from pathlib import Path

from codecsep.errors import CodecsepError
from codecsep.metrics import published, summary
from codecsep.metrics.kept import read_json

FIXED_DATE = "SOURCE_DATE_EPOCH"  # see reproducible-builds.org
REPOSITORY = Path(__file__).resolve().parents[2]


class ReportError(CodecsepError):
    """Scores that cannot be reported; one line."""


def markdown(result: dict) -> str:
    """The whole file for a `table.json`."""
    names = [row["name"] for row in result["systems"]]
    blocks = [
        "# RESULTS",
        "## Environment\n\n" + "\n".join(f"- {name}: {value}" for name, value in environment(result).items()),
        f"## Scores on {result['data']}\n\n" + table_of(list(zip(*summary.grid(result), strict=True))),
        "## Against the unprocessed mixture\n\nDifference of the means with its 95 % bootstrap interval, paired over "
        "utterances.\n\n" + bullets(summary.interval_lines(result)),
        "## Read this with it\n\n" + bullets(summary.remarks(result)),
        *(published_block(found) for found in published.of_systems(names)),
    ]
    return "\n\n".join(block.rstrip() for block in blocks) + "\n"


def environment(result: dict) -> dict[str, str]:
    """Versions, machine, commit, and the hashes of codec, networks and configurations."""
    found = {
        "date": day(),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "machine": f"{cpu_name()}, {os.cpu_count()} CPUs seen, {platform.system()} {platform.machine()}",
        "git commit": git_commit(),
    }
    if result.get("codec"):
        info = read_json(Path(result["codec"]) / "codec.json")
        found["codec"] = f"{info['name']}, weights sha256 {info['fingerprint'][:16]}, delay {info['delay_samples']}"
    for row in result["systems"]:
        found |= _hashes(row)
    return {name: value for name, value in found.items() if value}


def day() -> str:
    """Today, or the day of SOURCE_DATE_EPOCH (seconds since 1970), with which the same results give the same bytes."""
    seconds = os.environ.get(FIXED_DATE)
    if not seconds:
        return date.today().isoformat()
    if not seconds.isdigit():
        raise ReportError("E860", f"{seconds!r} is no number of seconds", FIXED_DATE, "unset it, or give whole seconds")
    return datetime.fromtimestamp(int(seconds), timezone.utc).date().isoformat()


def _hashes(row: dict) -> dict[str, str]:
    """Networks (weights, configuration) and seeds of one system, from its decode.json."""
    found: dict[str, str] = {}
    seeds = row.get("decode", {}).get("seeds")
    if seeds:
        found[f"{row['name']} seeds of decoding"] = ", ".join(map(str, seeds))
    for directory in row["directories"][:1]:
        path = Path(directory) / "decode.json"
        models = read_json(path).get("inputs", {}).get("models", {}) if path.is_file() else {}
        for model, weights in models.items():
            config = Path(model) / "config.yaml"
            digest = hashlib.sha256(config.read_bytes()).hexdigest()[:16] if config.is_file() else ""
            note = f", configuration sha256 {digest}" if digest else ""
            found[f"{row['name']} {Path(model).name}"] = f"weights sha256 {weights[:16]}{note}"
    return found


def cpu_name() -> str:
    """As the kernel names it; the architecture elsewhere."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def git_commit() -> str:
    """Short hash of the repository that this package lies in; "" when there is none."""
    command = ["git", "-C", str(REPOSITORY), "rev-parse", "--short=10", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"report: git commit not known ({error})", file=sys.stderr)
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def table_of(rows: list) -> str:
    """Cells (header first) as a Markdown table."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) if lines else "Nothing to say."


def published_block(found: published.Published) -> str:
    """A table of others under a heading that says that it is another corpus."""
    text = f"## Published numbers (another corpus, not comparable)\n\n{found.title}: {found.corpus}.\n\n"
    return text + table_of([found.header, *found.rows]) + f"\n\n{found.note}"
