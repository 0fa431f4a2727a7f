"""A folder of many files that are made item by item, so that a run that was killed goes on where it was.

    <folder>/.<name>.journal         one line of JSON for each finished item, while the work goes on
    <folder>/<name>.records.jsonl    the same, sorted, when all is finished
    <folder>/<name>.manifest.json    inputs, settings, SHA-256 of every file; then .<name>.done

A record says what an item was made of, which files it gave (both with size and SHA-256) and what was measured. It
counts when all of these files are as they were noted; else the item is made again. A file whose bytes would not change
is left alone. The journal is a cache: deleting it costs time only.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from codecsep.data import atomic, manifest, pool
from codecsep.data.digest import bytes_sha256, text_sha256
from codecsep.data.lock import locked
from codecsep.faults import faultpoint

Record = dict[str, Any]  # {"key", "digest", "inputs": {path: noted}, "outputs": {path: noted}, "measures": {...}}


@dataclass(frozen=True)
class Made:
    """What one item gives: files by their path in the folder, plain values."""

    files: dict[str, bytes] = field(default_factory=dict)
    measures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One thing to make; `what`: plain values that say all about it."""

    key: str
    what: Any

    def digest(self, settings: dict) -> str:
        """SHA-256 over the item and the settings that are common to all."""
        return text_sha256(json.dumps([self.key, self.what, settings]))


@dataclass(frozen=True)
class Batch:
    """The work: where it goes, under which name, what decides about it, and the function that makes an item.

    lists: inputs of the whole. inputs: the recordings that an item is made of. `make` and `inputs` are given to other
    processes.
    """

    folder: Path
    name: str
    lists: list[Path]
    settings: dict[str, Any]
    items: Sequence[Item] = field(repr=False)
    inputs: Callable[[Item], list[Path]] = field(repr=False)
    make: Callable[[Item], Made] = field(repr=False)

    @property
    def records_file(self) -> Path:
        return self.folder / f"{self.name}.records.jsonl"

    @property
    def journal_file(self) -> Path:
        return self.folder / f".{self.name}.journal"

    def work(self, inputs: dict[str, dict]) -> manifest.Work:
        """What the folder depends on; `inputs`: {"size", "sha256"} of the recordings."""
        return manifest.Work("0", self.lists, {}, self.settings, inputs)

    def pending(self) -> str | None:
        """Why something must be made; None when all stands, made of these very lists and recordings."""
        if not manifest.manifest_file(self.folder, self.name).is_file():
            return "it was not finished yet" if self.journal_file.is_file() else "it is not there yet"
        try:
            noted = manifest.read(self.folder, self.name)["inputs"]
            wanted = {manifest.name_of(path) for item in self.items for path in self.inputs(item)}
            recordings = {path: noted.get(path, {}) for path in wanted}
            why = manifest.current(self.folder, self.work(recordings), self.name)
            return why or next(manifest.stale(self.folder, self.name, manifest.is_audio), None)
        except manifest.StageError as error:
            return str(error)

    def build(self, nj: int) -> int:
        """Make what is not there, in `nj` processes; the number of items that were kept.

        Raises what `make` raises, LockError, DiskError, PoolError.
        """
        with locked(self.folder), atomic.disk_full_is_named(self.folder):
            known = _read(self.records_file) | _read(self.journal_file)
            manifest.begin(self.folder, self.name)
            for folder in filter(Path.is_dir, self.folder.iterdir()):
                atomic.sweep_inside(folder)
            records, kept = {}, 0
            with _appended(self.journal_file) as journal:
                for record, is_new in self._each(known, nj):
                    records[record["key"]] = record
                    kept += not is_new
                    if is_new:
                        journal.write(json.dumps(record) + "\n")
                        journal.flush()
                        faultpoint("stage0.mid")
            self._finish(records)
        return kept

    def records(self) -> dict[str, Record]:
        """What is known of each item of a finished folder, by its key."""
        return _read(self.records_file)

    def _each(self, known: dict[str, Record], nj: int) -> Iterator[tuple[Record, bool]]:
        tasks = ((item, known.get(item.key)) for item in self.items)
        one = partial(_one, self.folder, self.settings, self.inputs, self.make)
        return pool.spread(one, tasks, nj, str(self.folder))

    def _finish(self, records: dict[str, Record]) -> None:
        """Records, manifest, .done; then the journal has had its day."""
        lines = (json.dumps(records[key]) + "\n" for key in sorted(records, key=str.encode))
        atomic.write_text(self.records_file, "".join(lines))
        inputs, outputs = {}, {}
        for record in records.values():
            inputs.update(record["inputs"])
            outputs.update(record["outputs"])
        files = [self.records_file, *(self.folder / name for name in outputs)]
        counts = manifest.Counts(len(self.items), len(records))
        manifest.finish(self.folder, self.work(inputs), files, counts, self.name, outputs)
        self.journal_file.unlink(missing_ok=True)


def _one(
    folder: Path,
    settings: dict,
    inputs_of: Callable[[Item], list[Path]],
    make: Callable[[Item], Made],
    task: tuple[Item, Record | None],
) -> tuple[Record, bool]:
    """The record of one item, and whether it was made anew. Recordings that only moved are no reason for that."""
    item, known = task
    digest, paths = item.digest(settings), inputs_of(item)
    noted = [manifest.describe(path) for path in paths]
    inputs = {manifest.name_of(path): one for path, one in zip(paths, noted, strict=True)}
    if known is not None and known["digest"] == digest and list(known["inputs"].values()) == noted:
        if not any(manifest.fault(folder / name, one) for name, one in known["outputs"].items()):
            return {**known, "inputs": inputs}, False
    made = make(item)
    outputs = {name: _put(folder / name, content) for name, content in made.files.items()}
    record = {"key": item.key, "digest": digest, "inputs": inputs, "outputs": outputs, "measures": made.measures}
    return record, True


def _put(path: Path, content: bytes) -> dict[str, Any]:
    """Write a file beside its place and rename it, unless it holds these bytes already; its size and SHA-256.

    It is forced to the disk with all others at the end; one that a loss of power damages does not fit its record.
    """
    noted = {"size": len(content), "sha256": bytes_sha256(content)}
    if not path.is_file() or path.read_bytes() != content:
        with atomic.replacing(path, forced=False) as beside:
            beside.write_bytes(content)
    return noted


@contextlib.contextmanager
def _appended(path: Path) -> Iterator[TextIO]:
    """The journal, to append to; a last line that was cut is closed first."""
    with open(path, "a", encoding="utf-8") as file:
        if os.fstat(file.fileno()).st_size:
            file.write("\n")
        yield file


def _read(path: Path) -> dict[str, Record]:
    """Records by key, the last of each; {} when there is no file. Lines that are not whole are passed over."""
    records: dict[str, Record] = {}
    if path.is_file():
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                with contextlib.suppress(ValueError):
                    if _is_record(record := json.loads(line)):
                        records[record["key"]] = record
    return records


def _is_record(record: Any) -> bool:
    if not isinstance(record, dict) or set(record) != {"key", "digest", "inputs", "outputs", "measures"}:
        return False
    noted = (record["inputs"], record["outputs"])
    return isinstance(record["key"], str) and all(isinstance(part, dict) and manifest.are_noted(part) for part in noted)
