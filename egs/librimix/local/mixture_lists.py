"""The lists of LibriMix: CSV files of which each line is one mixture, as the official metadata has them.

    mixture_ID,source_1_path,source_1_gain,source_2_path,source_2_gain,noise_path,noise_gain

Paths are relative to the LibriSpeech tree and to the WHAM noise tree. Noise may be empty where no noise is mixed.
"""

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from codecsep.data import atomic
from codecsep.data.datadir import CONTROL, check_id
from codecsep.data.digest import text_sha256
from codecsep.errors import CodecsepError

FIX = "take the official file, or make lists with --metadata made"


class ListError(CodecsepError):
    """A list of mixtures that cannot be used."""


@dataclass(frozen=True)
class Row:
    """One mixture: files of the sources and of the noise, and what each is multiplied by."""

    key: str
    sources: tuple[str, ...]
    gains: tuple[float, ...]
    noise: str = ""
    noise_gain: float = 0.0

    def digest(self) -> str:
        """SHA-256 over all that the row says."""
        return text_sha256(repr(asdict(self)))


def file_of(metadata: Path, num_spk: int, name: str) -> Path:
    """Where a list stands: metadata/Libri2Mix/libri2mix_<name>.csv, or directly in `metadata`."""
    file = f"libri{num_spk}mix_{name}.csv"
    places = [metadata / f"Libri{num_spk}Mix" / file, metadata / file]
    return next((place for place in places if place.is_file()), places[0])


def columns(num_spk: int) -> list[str]:
    """The columns of a list, in the order of the official files."""
    sources = [f"source_{j}_{what}" for j in range(1, num_spk + 1) for what in ("path", "gain")]
    return ["mixture_ID", *sources, "noise_path", "noise_gain"]


def read(path: Path, num_spk: int, needs_noise: bool) -> list[Row]:
    """The rows of a list. Raises ListError: missing (E126), of another form or with a gain that is none (E105), a
    mixture twice (E101), a path that leaves its tree (E105); DataDirError on an id that cannot be a file name."""
    if not path.is_file():
        raise ListError("E126", "no such list", path, "give --metadata DIR (LibriMix/metadata), or --metadata made")
    rows: dict[str, Row] = {}
    with open(path, encoding="utf-8", errors="strict", newline="") as file:
        try:
            reader = csv.DictReader(file, strict=True)
            _check_columns(reader.fieldnames or [], num_spk, path)
            for line in reader:
                row = _row(line, num_spk, needs_noise, f"{path}:{reader.line_num}")
                if row.key in rows:
                    raise ListError("E101", f"{row.key!r} is there twice", f"{path}:{reader.line_num}", FIX)
                rows[row.key] = row
        except (csv.Error, UnicodeDecodeError) as error:
            raise ListError("E105", f"is no CSV in UTF-8 ({error})", path, FIX) from error
    if not rows:
        raise ListError("E105", "holds no mixtures", path, FIX)
    return list(rows.values())


def write(path: Path, rows: Iterable[Row], num_spk: int) -> None:
    """Write a list, whole or not at all; numbers so that reading them gives the same ones."""
    with atomic.replacing(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns(num_spk))
        for row in rows:
            sources = [part for pair in zip(row.sources, row.gains, strict=True) for part in pair]
            writer.writerow([row.key, *sources, row.noise, row.noise_gain if row.noise else ""])


def _check_columns(found: Iterable[str], num_spk: int, path: Path) -> None:
    found, wanted = list(found), columns(num_spk)
    if sorted(found) != sorted(wanted):
        odd = sorted(set(found) ^ set(wanted)) or found
        what = f"the columns of a list of {num_spk} speakers are {', '.join(wanted)}; missing or too many: {odd[:6]}"
        raise ListError("E105", what, path, f"is --num_spk {num_spk} right? {FIX}")


def _row(line: Mapping[str, str], num_spk: int, needs_noise: bool, where: str) -> Row:
    if None in line or None in line.values():
        raise ListError("E105", "the line has too many or too few fields", where, FIX)
    check_id(line["mixture_ID"], where)
    numbers = range(1, num_spk + 1)
    sources = tuple(_inside(line[f"source_{j}_path"], f"source_{j}_path", where) for j in numbers)
    gains = tuple(_gain(line[f"source_{j}_gain"], f"source_{j}_gain", where) for j in numbers)
    if not needs_noise:
        return Row(line["mixture_ID"], sources, gains)
    noise = _inside(line["noise_path"], "noise_path", where)
    return Row(line["mixture_ID"], sources, gains, noise, _gain(line["noise_gain"], "noise_gain", where))


def _inside(text: str, column: str, where: str) -> str:
    """A path that stays inside the tree that it is relative to."""
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts or CONTROL.search(text) or text.strip() != text:
        what = f"{column} is {text[:80]!r}; a path relative to the corpus, without '..', is needed"
        raise ListError("E105", what, where, FIX)
    return text


def _gain(text: str, column: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ListError("E105", f"{column} is {text[:40]!r}; a number above 0 is needed", where, FIX)
    return value
