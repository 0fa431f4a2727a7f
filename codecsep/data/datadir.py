"""Kaldi-style tables (`<id> <value>` per line) and data directories made of them.

    data/<set>/          wav.scp spk1.scp spk2.scp [spk3.scp ...] utt2spk spk2utt text_spk1 ... utt2num_samples
                         sot_order
    data/<set>_sources/  wav.scp utt2spk spk2utt text utt2num_samples utt2lufs utt2peak utt2onset

Tables are UTF-8, sorted by the bytes of the id (LC_ALL=C). Paths in *.scp are relative to the recipe directory.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from codecsep.data import atomic

ID_PATTERN = re.compile(r"(?![-.])(?!.*\.\.)[\w.+=@%,:#~-]{1,200}")
ID_RULE = "1 to 200 letters, digits or _ . + = @ % , : # ~ -, not starting with - or ., without '..'"
SPEAKER_FILE = re.compile(r"spk([1-9][0-9]*)\.scp")
NOT_PER_UTTERANCE = {"spk2utt"}


class DataDirError(ValueError):
    """A table or data directory that cannot be used; one line per problem."""


def read_table(path: str | Path, allow_empty: bool = False) -> dict[str, str]:
    """Read `<id> <value>` lines in the order of the file; the value is the rest of the line.

    allow_empty: take a line that holds an id only (value ""), as recognised text may be.
    Raises DataDirError with file and line: missing file, not UTF-8, no lines, blank line, bad or double id, no value,
    last line without its end (a file that was cut).
    """
    path = Path(path)
    table: dict[str, str] = {}
    for number, line in enumerate(_lines(path), start=1):
        where = f"{path}:{number}"
        key, _, value = line.replace("\t", " ").partition(" ")
        value = value.strip()
        if not line.strip():
            raise DataDirError(f"{where}: blank line; remove it")
        check_id(key, where)
        if key in table:
            raise DataDirError(f"{where}: id {key!r} is there twice, first in line {list(table).index(key) + 1}")
        if not value and not allow_empty:
            raise DataDirError(f"{where}: id {key!r} has no value; a line is '<id> <value>'")
        table[key] = value
    return table


def write_table(path: str | Path, mapping: Mapping[str, object]) -> None:
    """Write `<id> <value>` lines sorted by the bytes of the id, whole or not at all. Raises DataDirError on bad ids."""
    lines = []
    for key in sorted(mapping, key=str.encode):
        check_id(key, str(path))
        value = str(mapping[key])
        if "\n" in value or "\r" in value:
            raise DataDirError(f"{path}: the value of {key!r} holds a line break; a value is one line")
        lines.append(f"{key} {value}".rstrip() + "\n")
    atomic.write_text(path, "".join(lines))


def check_id(key: str, where: str) -> None:
    """Raise DataDirError unless `key` can safely be an utterance or speaker id and a file name."""
    if not ID_PATTERN.fullmatch(key):
        raise DataDirError(f"{where}: id {key!r} is not allowed; an id is {ID_RULE}")


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
            raise DataDirError(f"{self.path}: no such data directory; run stage 0 (data preparation)")
        self._tables: dict[str, dict[str, str]] = {}

    def table(self, name: str) -> dict[str, str]:
        """The table of this file name, {id: value}. Raises DataDirError when it is missing or malformed."""
        if name not in self._tables:
            self._tables[name] = read_table(self.path / name, allow_empty=name.startswith("text"))
        return self._tables[name]

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
            raise DataDirError(f"{self.path}: holds {names}; speakers are numbered 1, 2, ... without gaps")
        return [f"spk{number}" for number in found]

    def order(self, utterance: str) -> list[int]:
        """Speaker indices from 0 in SOT order, e.g. "2 1" in the file sot_order -> [1, 0]."""
        line = self.table("sot_order").get(utterance)
        if line is None:
            raise DataDirError(f"{self.path}/sot_order: has no line for {utterance!r}; run stage 0 again")
        indices = [int(word) - 1 if word.isdigit() else -1 for word in line.split()]
        if sorted(indices) != list(range(len(self.speakers()))):
            raise DataDirError(f"{self.path}/sot_order: {utterance} {line!r} is no order of {self.speakers()}")
        return indices

    def problems(self) -> list[str]:
        """Everything that is wrong with the tables (audio is not opened), one line each; [] when all is well."""
        try:
            self.speakers()
            ids = self.ids
        except DataDirError as error:
            return [str(error)]
        found = [f"{self.path}/{name}: missing" for name in self._required() if not self.has(name)]
        for name in self._utterance_files():
            found += self._table_problems(name, ids)
        return found + self._speaker_map_problems() + self._order_problems()

    def validate(self) -> None:
        """Raise DataDirError that lists the problems, one line each, when there are any."""
        found = self.problems()
        if found:
            raise DataDirError("\n".join(found))

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
        found = []
        if keys != sorted(keys, key=str.encode):
            found.append(f"{self.path}/{name}: not sorted by bytes; run: LC_ALL=C sort -o {self.path}/{name} ...")
        missing, extra = sorted(set(ids) - set(keys)), sorted(set(keys) - set(ids))
        if missing:
            found.append(f"{self.path}/{name}: {len(missing)} ids of wav.scp are missing, first {missing[:3]}")
        if extra:
            found.append(f"{self.path}/{name}: {len(extra)} ids are not in wav.scp, first {extra[:3]}")
        return found

    def _speaker_map_problems(self) -> list[str]:
        if not (self.has("utt2spk") and self.has("spk2utt")):
            return []
        try:
            same = invert(self.table("utt2spk")) == self.table("spk2utt")
        except DataDirError as error:
            return [str(error)]
        return [] if same else [f"{self.path}/spk2utt: does not agree with utt2spk; make it from utt2spk"]

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


def _lines(path: Path) -> list[str]:
    """The lines of a text file without their ends."""
    if not path.is_file():
        raise DataDirError(f"{path}: no such file; run the stage that writes it (stage 0 for data/)")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataDirError(f"{path}: is not UTF-8 (byte {error.start}); convert it with iconv") from error
    if not text:
        raise DataDirError(f"{path}: is empty; run the stage that writes it again")
    if not text.endswith("\n"):
        raise DataDirError(f"{path}: the last line has no end; the file may have been cut, make it again")
    return text[:-1].split("\n")
