"""A data directory as the set of its lists, whatever lists it holds: what each is keyed by, reading, writing.

The lists that users of Kaldi and ESPnet bring are known by name; any other text file whose ids are utterances (or
speakers) of utt2spk is one too. Hidden files, sub-directories and manifests of stages are no part of it.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from codecsep.data import datadir
from codecsep.data.datadir import DataDirError

Table = dict[str, str]
AUDIO = re.compile(r"(wav|(spk|noise|dereverb|enroll_spk)[0-9]*)\.scp")  # one recording a line
OF_SPEAKERS = re.compile(r"spk2(?!\.scp$).*|cmvn\.scp")  # spk2.scp is the audio of the second speaker
OF_RECORDINGS = re.compile(r"reco2.*")
OF_UTTERANCES = re.compile(r".*\.scp|utt2.*|text.*|sot_order|segments")
NO_LIST = re.compile(r"\..*|(.*\.)?manifest\.json|skipped\.tsv")
MADE_FROM = {"spk2utt": "utt2spk"}
BLANKS = re.compile("[ \t\r]+")


@dataclass
class ListDir:
    """The tables by file name: {id: rest of the line}.

    utterances: keyed by utterance; holds utt2spk. required: those of them in which every utterance should be.
    recordings: keyed by recording, in a directory with `segments`. others: files without ids, copied as they are.
    """

    path: Path
    utterances: dict[str, Table] = field(default_factory=dict)
    speakers: dict[str, Table] = field(default_factory=dict)
    recordings: dict[str, Table] = field(default_factory=dict)
    others: dict[str, Path] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)

    @property
    def utt2spk(self) -> Table:
        return self.utterances["utt2spk"]

    @property
    def tables(self) -> dict[str, Table]:
        """All tables, spk2utt made from utt2spk."""
        return {**self.utterances, **self.speakers, **self.recordings, "spk2utt": datadir.invert(self.utt2spk)}

    def recording_of(self, utterance: str) -> str:
        """The recording that an utterance is a part of."""
        return segment(self.utterances["segments"][utterance], self.path / "segments", utterance)[0]

    def write(self, folder: Path) -> None:
        """All lists that are not empty, sorted by bytes, and the other files."""
        for name, table in self.tables.items():
            if table:
                datadir.write_table(folder / name, table)
        for name, path in self.others.items():
            shutil.copyfile(path, folder / name)


def segment(value: str, where: Path, key: str) -> tuple[str, float, float]:
    """(recording, start, end) in s of a line of `segments`; end -1: to the end. Raises DataDirError."""
    words = value.split()
    try:
        recording, start, end = words[0], float(words[1]), float(words[2])
    except (IndexError, ValueError):
        recording, start, end = "", -1.0, -1.0
    if len(words) != 3 or not (0 <= start < end or (start >= 0 and end == -1)):
        what = f"{key} has {value[:80]!r}, which is no part of a recording"
        raise DataDirError(
            "E105", what, where, "write '<utterance> <recording> <start> <end>' in s, the end after the start"
        )
    return recording, start, end


def read(path: Path, read_one: Callable[[Path], Table], of_utterances: tuple[str, ...] = ()) -> ListDir:
    """Read all lists of a directory. of_utterances: names that are required lists of utterances in any case.

    read_one: `strictly`, or one that repairs. Raises DataDirError: no directory, no utt2spk, or what read_one raises.
    """
    if not path.is_dir():
        raise DataDirError("E106", "no such data directory", path, "give a directory that exists")
    if not (path / "utt2spk").is_file():
        raise DataDirError("E106", "has no utt2spk, so it is no data directory", path, "make utt2spk first")
    result = ListDir(path, {"utt2spk": read_one(path / "utt2spk")}, required={"utt2spk"})
    has_segments = (path / "segments").is_file()
    for file in _candidates(path):
        kind = _kind_of_name(file.name, has_segments)
        if file.name in of_utterances or kind == "utterances":
            result.required.add(file.name)
            result.utterances[file.name] = read_one(file)
        elif kind:
            getattr(result, kind)[file.name] = read_one(file)
        else:
            _place_by_content(result, file, read_one)
    return result


def _candidates(path: Path) -> Iterator[Path]:
    """Regular files that may be lists, in the order of their names."""
    for file in sorted(path.iterdir()):
        if file.is_file() and not NO_LIST.fullmatch(file.name) and file.name not in ("utt2spk", *MADE_FROM):
            yield file


def _kind_of_name(name: str, has_segments: bool) -> str:
    """What a list of this name is keyed by; "" when the name does not tell."""
    if OF_SPEAKERS.fullmatch(name):
        return "speakers"
    if OF_RECORDINGS.fullmatch(name) or AUDIO.fullmatch(name):
        return "recordings" if has_segments else "utterances"
    return "utterances" if OF_UTTERANCES.fullmatch(name) else ""


def _place_by_content(result: ListDir, file: Path, read_one: Callable[[Path], Table]) -> None:
    """A file of an unknown name: more than half of its first words are utterances, or speakers, or it is no list."""
    try:
        words = [line.split(maxsplit=1)[0] for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    except UnicodeDecodeError:
        words = []
    for kind, known in (("utterances", result.utt2spk), ("speakers", set(result.utt2spk.values()))):
        if 2 * sum(word in known for word in words) > len(words):
            getattr(result, kind)[file.name] = read_one(file)
            return
    result.others[file.name] = file


def strictly(path: Path) -> Table:
    """The table of a valid directory. Raises DataDirError when it is malformed or not sorted."""
    table = datadir.read_table(path, allow_empty=path.name.startswith("text"))
    datadir.check_sorted(table, path)
    return table


def loosely(path: Path, notes: list[str]) -> Table:
    """The table of a file that can be mended: sorted, of a double id the first line, no blank lines, no tabs.

    What was mended is appended to `notes`. Raises DataDirError on what has no obvious meaning: bytes that are not
    UTF-8, ids that are not allowed, `~` in the place of a path.
    """
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataDirError("E105", f"is not UTF-8 (byte {error.start})", path, "convert it with iconv") from error
    found = {"the last line had no end": [""] if lines[-1] else [], "blank line": [], "double id": [], "no value": []}
    table: Table = {}
    for number, line in enumerate(lines if lines[-1] else lines[:-1], start=1):
        key, value = (*BLANKS.split(line.strip(" \t\r"), maxsplit=1), "")[:2]
        if not key:
            found["blank line"].append(f"line {number}")
            continue
        datadir.check_id(key, f"{path}:{number}")
        if value.startswith("~") and path.suffix == ".scp":
            what = f"{value[:80]!r} is not a path: ~ is not expanded"
            raise DataDirError("E105", what, f"{path}:{number}", "write the path out")
        if key in table:
            found["double id"].append(key)
        elif not value and not path.name.startswith("text"):
            found["no value"].append(key)
        else:
            table[key] = BLANKS.sub(" ", value) if "\t" in value else value
    ordered = {key: table[key] for key in sorted(table, key=str.encode)}
    notes += [_note(path.name, what, where) for what, where in found.items() if where]
    notes += [f"{path.name}: was not sorted by bytes"] if list(ordered) != list(table) else []
    return ordered


def _note(name: str, what: str, where: list[str]) -> str:
    first = f", first {where[0]}" if where[0] else ""
    return f"{name}: {what}" + (f" ({len(where)}{first})" if first else "")


def check_ids(data: ListDir) -> None:
    """Raise DataDirError (E103) unless every required list holds the utterances of utt2spk, and no others."""
    for name in sorted(data.required):
        table, where = data.utterances[name], data.path / name
        missing = [key for key in data.utt2spk if key not in table]
        extra = [key for key in table if key not in data.utt2spk]
        if missing or extra:
            what = f"lacks {_some(missing)} of utt2spk and has {_some(extra)} more"
            raise DataDirError("E103", what, where, f"utils/fix_data_dir.sh {data.path}")
    for name, table in data.recordings.items():
        lost = sorted({data.recording_of(key) for key in data.utt2spk} - set(table)) if AUDIO.fullmatch(name) else []
        if lost:
            what = f"lacks {_some(lost)} recordings of segments"
            raise DataDirError("E103", what, data.path / name, f"utils/fix_data_dir.sh {data.path}")


def _some(keys: list[str]) -> str:
    return f"{len(keys)} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" if keys else "none"
