"""skipped.tsv: the utterances that a stage could not use. Nothing that a stage is given is lost in silence.

One line per utterance, sorted by the bytes of the id, without a header: id, stage, code of the error, reason; between
them tabs. How many may be skipped depends on the set: of a set that is scored, none.
"""

import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from codecsep.data import atomic
from codecsep.errors import CodecsepError

NAME = "skipped.tsv"
SHARE = 0.01
SCORED_SET = re.compile(r"(^|[^a-z])(test|eval|tt)[0-9]*([^a-z]|$)")


class SkippedError(CodecsepError):
    """More utterances than allowed could not be used."""


@dataclass(frozen=True)
class Skipped:
    """One utterance, the stage that left it out, the code of the error and what it said."""

    key: str
    stage: str
    code: str
    reason: str


def because(key: str, stage: str, error: CodecsepError) -> Skipped:
    """The line of an utterance that failed with `error`."""
    place = f"{error.where}: " if error.where else ""
    return Skipped(key, stage, error.code, place + error.what)


def write(path: Path, rows: Iterable[Skipped]) -> None:
    """Write the list, whole or not at all; with no rows it is empty."""
    lines = ["\t".join(" ".join(part.split()) for part in astuple(row)) + "\n" for row in rows]
    atomic.write_text(path, "".join(sorted(lines, key=str.encode)))


def read(path: Path) -> list[Skipped]:
    """The rows of a list. Raises SkippedError (E105) on a line of another form."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        parts = line.split("\t")
        if len(parts) != 4:
            what = f"expected id, stage, code and reason with tabs between them, got {line[:80]!r}"
            raise SkippedError("E105", what, f"{path}:{number}", "run the stage that writes it again")
        rows.append(Skipped(*parts))
    return rows


def allowed_share(folder: Path) -> float:
    """The share of a set's utterances that may be skipped: 0 where its name says that it is scored (test, eval, tt)."""
    return 0.0 if SCORED_SET.search(Path(folder).name.lower()) else SHARE


def check_share(given: int, rows: list[Skipped], allowed: float, listed_in: Path, fix: str) -> None:
    """Raise SkippedError (E123) when nothing is left or more than the share `allowed` of `given` is skipped."""
    if len(rows) < given and len(rows) <= allowed * given:
        return
    first = min(rows, key=lambda row: row.key.encode(), default=None)
    told = f"; first: {first.key}: {first.code} {first.reason}" if first else ""
    what = f"{len(rows)} of {given} utterances cannot be used, allowed are {allowed:.1%}{told}"
    raise SkippedError("E123", what, listed_in, fix)
