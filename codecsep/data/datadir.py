"""Kaldi-style tables (`<id> <value>` per line) and data directories made of them.

    data/<set>/          wav.scp spk1.scp spk2.scp [spk3.scp ...] utt2spk spk2utt text_spk1 ... utt2num_samples
                         sot_order
    data/<set>_sources/  wav.scp utt2spk spk2utt text utt2num_samples utt2lufs utt2peak utt2onset

Tables are UTF-8, sorted by the bytes of the id (LC_ALL=C). Paths in *.scp are relative to the recipe directory.
"""

import math
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from codecsep.data import atomic
from codecsep.errors import CodecsepError

ID_PATTERN = re.compile(r"(?![-.])(?!.*\.\.)[\w.+=@%,:#~-]{1,200}")
ID_RULE = "1 to 200 bytes of letters, digits or _ . + = @ % , : # ~ -, not starting with - or ., without '..'"
MAX_TABLE_BYTES = 1 << 30
MAX_ID_BYTES = 200  # an id becomes a file name, of which most file systems allow 255 bytes
CONTROL = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")  # all but the end of a line
SPEAKER_FILE = re.compile(r"spk([1-9][0-9]*)\.scp")
NOT_PER_UTTERANCE = {"spk2utt"}
T = TypeVar("T")


class DataDirError(CodecsepError):
    """A table or data directory that cannot be used."""


def read_table(path: str | Path, allow_empty: bool = False) -> dict[str, str]:
    """Read `<id> <value>` lines in the order of the file; the value is the rest of the line.

    allow_empty: take a line that holds an id only (value ""), as recognised text may be.
    Raises DataDirError with file and line: missing file, not UTF-8, no lines, blank line, bad or double id, no value,
    control characters (tabs among them), `~` in an scp, last line without its end (a file that was cut).
    """
    path = Path(path)
    table: dict[str, str] = {}
    for number, line in enumerate(_lines(path), start=1):
        where = f"{path}:{number}"
        key, value = _entry(line, where)
        if key in table:
            first = f"{path}:{list(table).index(key) + 1}"
            fix = "keep one of the two lines; a preparation that ran twice with >> is to be run once"
            raise DataDirError("E101", f"id {key!r} is there twice, first in {first}", where, fix)
        if not value and not allow_empty:
            raise DataDirError("E105", f"id {key!r} has no value", where, "a line is '<id> <value>'")
        if value.startswith("~") and path.suffix == ".scp":
            raise DataDirError("E105", f"{value[:80]!r} is not a path: ~ is not expanded", where, "write the path out")
        table[key] = value
    return table


def _entry(line: str, where: str) -> tuple[str, str]:
    """The id and the value of one line of a table. Raises DataDirError."""
    if not line.strip():
        raise DataDirError("E105", "blank line", where, "remove it")
    key, _, value = line.partition(" ")
    if found := CONTROL.search(line):
        check_id(key.partition("\t")[0], where)
        named = {"\t": "a tab", "\r": "a line end of Windows"}.get(found[0], f"the control character {found[0]!r}")
        raise DataDirError("E105", f"holds {named}", where, "a line is '<id> <value>': one space, no other white space")
    check_id(key, where)
    return key, value.strip()


def write_table(path: str | Path, mapping: Mapping[str, object]) -> None:
    """Write `<id> <value>` lines sorted by the bytes of the id, whole or not at all. Raises DataDirError on bad ids."""
    lines = []
    for key in sorted(mapping, key=str.encode):
        check_id(key, str(path))
        value = str(mapping[key])
        if "\n" in value or CONTROL.search(value):
            what = f"the value of {key!r} holds a line break or a control character: {value[:80]!r}"
            raise DataDirError("E105", what, path, "a value is one line of printable text")
        lines.append(f"{key} {value}".rstrip() + "\n")
    atomic.write_text(path, "".join(lines))


def check_id(key: str, where: str) -> None:
    """Raise DataDirError unless `key` can safely be an utterance or speaker id and a file name."""
    if not ID_PATTERN.fullmatch(key) or len(key.encode()) > MAX_ID_BYTES:
        raise DataDirError("E104", f"id {key[:80]!r} is not allowed", where, f"an id is {ID_RULE}")


def invert(utt2spk: Mapping[str, str]) -> dict[str, str]:
    """utt2spk -> spk2utt: {speaker: "utt utt ..."}, both sorted by bytes."""
    groups: dict[str, list[str]] = {}
    for utterance in sorted(utt2spk, key=str.encode):
        groups.setdefault(utt2spk[utterance], []).append(utterance)
    return {speaker: " ".join(groups[speaker]) for speaker in sorted(groups, key=str.encode)}


class DataDir:
    """A data directory; tables are read when asked for and kept."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_dir():
            raise DataDirError("E106", "no such data directory", self.path, "run --stage 0 (data preparation)")
        self._tables: dict[str, dict[str, str]] = {}

    def table(self, name: str) -> dict[str, str]:
        """The table of this file name, {id: value}. Raises DataDirError when it is missing, malformed or unsorted."""
        if name not in self._tables:
            table = read_table(self.path / name, allow_empty=name.startswith("text"))
            check_sorted(table, self.path / name)
            self._tables[name] = table
        return self._tables[name]

    def integers(self, name: str) -> dict[str, int]:
        """The table of this file name as whole numbers from 0. Raises DataDirError on anything else."""
        return {key: self._number(name, key, value, _whole) for key, value in self.table(name).items()}

    def floats(self, name: str) -> dict[str, float]:
        """The table of this file name as finite numbers. Raises DataDirError on anything else."""
        return {key: self._number(name, key, value, _finite) for key, value in self.table(name).items()}

    def _number(self, name: str, key: str, value: str, read: Callable[[str], T]) -> T:
        try:
            return read(value)
        except ValueError as error:
            what = f"{key} has {value[:80]!r}, {error} is needed"
            raise DataDirError("E105", what, self.path / name, "run --stage 0 again") from error

    def has(self, name: str) -> bool:
        """Is there a file of this name?"""
        return (self.path / name).is_file()

    @cached_property
    def ids(self) -> list[str]:
        """Utterance ids in the order of wav.scp."""
        return list(self.table("wav.scp"))

    def speakers(self) -> list[str]:
        """["spk1", "spk2", ...], one per spk<j>.scp; [] in a directory of single sources."""
        found = sorted(int(match[1]) for file in self.path.iterdir() if (match := SPEAKER_FILE.fullmatch(file.name)))
        if found != list(range(1, len(found) + 1)):
            names = ", ".join(f"spk{number}.scp" for number in found)
            raise DataDirError("E107", f"holds {names}", self.path, "number the speakers 1, 2, ... without gaps")
        return [f"spk{number}" for number in found]

    def order(self, utterance: str) -> list[int]:
        """Speaker indices from 0 in SOT order, e.g. "2 1" in the file sot_order -> [1, 0]."""
        line = self.table("sot_order").get(utterance)
        if line is None:
            what = f"has no line for {utterance!r}"
            raise DataDirError("E103", what, f"{self.path}/sot_order", "run --stage 0 again")
        indices = [int(word) - 1 if re.fullmatch("[0-9]{1,3}", word) else -1 for word in line.split()]
        if sorted(indices) != list(range(len(self.speakers()))):
            what = f"{utterance} {line[:80]!r} is no order of {self.speakers()}"
            raise DataDirError("E107", what, f"{self.path}/sot_order", "run --stage 0 again")
        return indices

    def problems(self) -> list[str]:
        """Everything that is wrong with the tables (audio is not opened), one line each; [] when all is well."""
        try:
            self.speakers()
            ids = self.ids
        except DataDirError as error:
            return [str(error)]
        fix = "run --stage 0 again"
        missing = [name for name in self._required() if not self.has(name)]
        found = [_told("E106", "missing", self.path / name, fix) for name in missing]
        for name in self._utterance_files():
            found += self._table_problems(name, ids)
        return found + self._speaker_map_problems() + self._order_problems()

    def validate(self) -> None:
        """Raise DataDirError that lists the problems, the first with its own code, when there are any."""
        found = self.problems()
        if found:
            code, _, first = found[0].partition(" ")
            more = f"; and {len(found) - 1} more: {'; '.join(found[1:20])}" if len(found) > 1 else ""
            raise DataDirError(code, first + more, "", f"utils/validate_data_dir.sh {self.path} lists them")

    def _required(self) -> list[str]:
        common = ["utt2spk", "spk2utt", "utt2num_samples"]
        if not self.speakers():
            return [*common, "text"]
        return [*common, "sot_order", *(f"text_{speaker}" for speaker in self.speakers())]

    def _utterance_files(self) -> list[str]:
        names = [file.name for file in self.path.iterdir() if file.is_file() and not file.name.startswith(".")]
        known = re.compile(r".*\.scp|utt2.*|text.*|sot_order")
        return sorted(name for name in names if known.fullmatch(name) and name not in NOT_PER_UTTERANCE)

    def _table_problems(self, name: str, ids: list[str]) -> list[str]:
        try:
            keys = list(self.table(name))
        except DataDirError as error:
            return [str(error)]
        missing, extra = sorted(set(ids) - set(keys)), sorted(set(keys) - set(ids))
        found, fix = [], f"utils/fix_data_dir.sh {self.path}, or run --stage 0 again"
        if missing:
            what = f"{len(missing)} of {len(ids)} ids of wav.scp are missing, first {missing[:3]}"
            found.append(_told("E103", what, self.path / name, fix))
        if extra:
            what = f"{len(extra)} of {len(keys)} ids are not in wav.scp, first {extra[:3]}"
            found.append(_told("E103", what, self.path / name, fix))
        return found

    def _speaker_map_problems(self) -> list[str]:
        if not (self.has("utt2spk") and self.has("spk2utt")):
            return []
        try:
            same = invert(self.table("utt2spk")) == self.table("spk2utt")
        except DataDirError as error:
            return [str(error)]
        fix = f"utils/utt2spk_to_spk2utt.pl {self.path}/utt2spk > {self.path}/spk2utt"
        return [] if same else [_told("E107", "does not agree with utt2spk", f"{self.path}/spk2utt", fix)]

    def _order_problems(self) -> list[str]:
        if not (self.speakers() and self.has("sot_order")):
            return []
        found = []
        for utterance in self.ids:
            try:
                self.order(utterance)
            except DataDirError as error:
                found.append(str(error))
        return sorted(set(found))[:20]


def check_sorted(table: Mapping[str, str], path: Path) -> None:
    """Raise DataDirError unless the ids of a table stand in the order of their bytes."""
    encoded = [key.encode() for key in table]
    for number, (before, after) in enumerate(zip(encoded, encoded[1:], strict=False), start=2):
        if after < before:
            what = f"{after.decode()!r} stands after {before.decode()!r}: not sorted by the bytes of the ids"
            raise DataDirError("E102", what, f"{path}:{number}", f"LC_ALL=C sort -k1,1 -o {path} {path}")


def _whole(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise ValueError("a whole number from 0")
    return int(text)


def _finite(text: str) -> float:
    try:
        value = float(text) if text.isascii() else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("a finite number")
    return value


def _told(code: str, what: str, where: object, fix: str) -> str:
    return str(DataDirError(code, what, where, fix))


def _lines(path: Path) -> list[str]:
    """The lines of a text file without their ends."""
    if not path.is_file():
        raise DataDirError("E106", "no such file", path, "run the stage that writes it (--stage 0 for data/)")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise DataDirError("E707", f"holds more than {MAX_TABLE_BYTES:,} bytes", path, "give a table, not data")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 (byte {error.start})"
        raise DataDirError("E105", what, path, "convert it with iconv -t utf-8") from error
    if not text:
        raise DataDirError("E105", "is empty", path, "run the stage that writes it again")
    if not text.endswith("\n"):
        raise DataDirError("E105", "the last line has no end; the file may have been cut", path, "make it again")
    return text[:-1].split("\n")
