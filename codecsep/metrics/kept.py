"""Scores on disk: rows that are kept with their SHA-256, so that a killed scoring goes on; plain JSON files."""

from __future__ import annotations

import json
from pathlib import Path

from codecsep.data import atomic
from codecsep.data.digest import file_sha256
from codecsep.metrics import table


def keep_rows(path: Path, rows: list[dict]) -> None:
    """Write rows to the TSV `path`, then their digest to `path`.sha256."""
    digest = _digest_file(path)
    digest.unlink(missing_ok=True)
    table.write_rows(path, rows)
    atomic.write_text(digest, file_sha256(path) + "\n")


def are_kept(path: Path) -> bool:
    """Are the rows of `keep_rows` there, as they were written?"""
    digest = _digest_file(path)
    return path.is_file() and digest.is_file() and digest.read_text(encoding="utf-8").strip() == file_sha256(path)


def write_json(path: Path, value: dict) -> None:
    """Indented JSON, whole or not at all."""
    atomic.write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict:
    """What `write_json` wrote. Raises TableError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise table.TableError("E545", f"is no JSON ({error})", path, "run --stage 7 again") from error


def _digest_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
