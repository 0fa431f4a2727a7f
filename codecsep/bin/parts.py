"""Batches of stage 6 that are finished, kept beside the target until all of them are, so that a killed run goes on.

    <out>/.parts/identity            SHA-256 of all that the estimates depend on
    <out>/.parts/wav/<id>_spk1.wav   estimates
    <out>/.parts/batch-00003.json    a finished batch: its ids, rows, seconds and the SHA-256 of its files

What another decoding left is removed. A batch whose files are not as they were noted is decoded again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codecsep.data import atomic
from codecsep.data.digest import file_sha256
from codecsep.faults import faultpoint


class Parts:
    """The finished batches of one decoding."""

    def __init__(self, folder: Path, identity: str):
        self.folder, self.wav = folder, folder / "wav"
        marker = folder / "identity"
        if not marker.is_file() or marker.read_text(encoding="utf-8") != identity:
            shutil.rmtree(folder, ignore_errors=True)
            self.wav.mkdir(parents=True)
            atomic.write_text(marker, identity)
        self.wav.mkdir(exist_ok=True)

    def note(self, number: int, rows: Sequence[dict[str, Any]], seconds: float, files: Sequence[Path]) -> None:
        """A batch is finished: its rows in order, what it took, its files in `wav`."""
        faultpoint("separate.before_note")
        hashes = {path.name: file_sha256(path) for path in files}
        text = json.dumps({"rows": list(rows), "seconds": seconds, "files": hashes})
        atomic.write_text(self._batch(number), text + "\n")
        faultpoint("separate.after_note")

    def found(self, number: int, keys: Sequence[str]) -> dict[str, Any] | None:
        """What was noted of a batch of these ids; None when it is not finished, or not whole."""
        try:
            batch = json.loads(self._batch(number).read_text(encoding="utf-8"))
            is_whole = [row["id"] for row in batch["rows"]] == list(keys)
            return batch if is_whole and self._are_as_noted(batch["files"]) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def install(self, target: Path, files: Sequence[str]) -> None:
        """Put the estimates in the place of the directory `target`; they stay here too, until they are removed."""
        with atomic.replacing_dir(target) as beside:
            for name in files:
                _link(self.wav / name, beside / name)

    def _batch(self, number: int) -> Path:
        return self.folder / f"batch-{number:05d}.json"

    def _are_as_noted(self, files: dict[str, str]) -> bool:
        return all(file_sha256(self.wav / name) == digest for name, digest in files.items())


def folder_of(out: Path) -> Path:
    """Where the finished batches of `out` are kept."""
    return out / ".parts"


def remove(out: Path) -> None:
    """The result is in its place: what was kept for it goes, also that of a run that was killed right before this."""
    shutil.rmtree(folder_of(out), ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """A second name of a file; a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
