"""What is scored: rows of the table, each of one or more runs (seeds), each run a directory with spk<j>.scp files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from codecsep.data import audio
from codecsep.data.datadir import DataDir, read_table
from codecsep.errors import CodecsepError

MIXTURE, REFERENCE, CEILING, CODED_MIXTURE = "mixture", "reference", "codec_ceiling", "codec_mixture"
BUILT_IN = (MIXTURE, REFERENCE, CODED_MIXTURE, CEILING)
CRITERIA = ("si_sdr", "estoi", "speaker")


class ScoreError(CodecsepError):
    """A system, or its directory, that cannot be scored; one line."""


@dataclass(frozen=True)
class System:
    """One row. directories: one per run; criterion: what chooses its permutation.

    delay: samples at the data's rate by which its estimates lag the sources, known beforehand (what a codec adds).
    """

    name: str
    directories: tuple[str, ...]
    criterion: str
    delay: int = 0


def parse(text: str) -> tuple[str, tuple[str, ...]]:
    """ "name=dir,dir" or "dir" (named after it) -> name, directories. Raises ScoreError."""
    name, equals, rest = text.partition("=")
    directories = tuple(part for part in (rest if equals else name).split(",") if part)
    if not directories or (equals and not name):
        fix = "write name=directory, or name=directory,directory for several seeds"
        raise ScoreError("E862", f"{text!r} names no directory", "--hyp", fix)
    name = name if equals else Path(directories[0]).name
    if name in BUILT_IN:
        what = f"the name {name!r} is taken: rows of that name are made by the scorer"
        raise ScoreError("E862", what, f"--hyp {text}", "choose another name")
    return name, directories


class Run:
    """The estimates of one directory."""

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        if not (self.directory / "spk1.scp").is_file():
            raise ScoreError("E541", "holds no spk1.scp", self.directory, "run the stage that writes it: --stage 6")

    @cached_property
    def tables(self) -> list[dict[str, str]]:
        """One {utterance: path} per spk<j>.scp, as many as there are."""
        paths = []
        while (path := self.directory / f"spk{len(paths) + 1}.scp").is_file():
            paths.append(path)
        return [read_table(path) for path in paths]

    def check(self, ids: list[str], known: Collection[str], num_speakers: int, max_wrong: float) -> None:
        """Raise ScoreError unless there are estimates of all of `ids` (to be scored) and of nothing outside `known`.

        An utterance without estimates (a job that died), one that lacks the estimate of a lower speaker number (a line
        that was lost), and more than the share `max_wrong` with another number than `num_speakers` are errors: what is
        averaged must not be fewer files in silence. The first three are named.
        """
        self._check_ids(ids, known)
        counts = {one: [one in table for table in self.tables] for one in ids}
        gaps = [one for one, there in counts.items() if not all(there[: sum(there)])]
        if gaps:
            what = f"{len(gaps)} utterances lack the estimate of a lower speaker number ({_first(gaps)})"
            raise ScoreError("E542", what, self.directory, "run --stage 6 again")
        wrong = [one for one, there in counts.items() if sum(there) != num_speakers]
        if len(wrong) > max_wrong * len(ids):
            what = f"{len(wrong)} of {len(ids)} utterances have not {num_speakers} estimates ({_first(wrong)})"
            fix = "decode with --num_speakers, or give a larger --max_wrong_speakers: a missing one then counts as such"
            raise ScoreError("E544", what, self.directory, fix)

    def _check_ids(self, ids: list[str], known: Collection[str]) -> None:
        having = {one for table in self.tables for one in table}
        absent, extra = [one for one in ids if one not in having], sorted(having - set(known))
        if absent:
            what = f"{len(absent)} of {len(ids)} utterances are missing ({_first(absent)})"
            raise ScoreError("E542", what, self.directory, "run --stage 6 again")
        if extra:
            what = f"{len(extra)} utterances are not in the data ({_first(extra)})"
            raise ScoreError("E543", what, self.directory, "give the --data that was decoded, or run --stage 6 again")

    def estimates(self, utterance: str, rate: int) -> list[np.ndarray]:
        """The estimates that are there, [L'] each, resampled to `rate` when theirs differs."""
        paths = [table[utterance] for table in self.tables if utterance in table]
        return [audio.read_audio(path, rate)[0] for path in paths]

    def digest(self, ids: list[str]) -> str:
        """SHA-256 over the bytes of every file: what a cached score depends on."""
        total = hashlib.sha256()
        for table in self.tables:
            for utterance in ids:
                total.update(utterance.encode())
                if utterance in table:
                    total.update(Path(table[utterance]).read_bytes())
        return total.hexdigest()

    def decode_info(self) -> dict:
        """decode.json of the separation stage ({} when there is none): seeds, how decoding ended."""
        return self._json("decode.json")

    def timing(self) -> dict:
        """timing.json of the separation stage ({} when there is none): what depends on the clock."""
        return self._json("timing.json")

    def _json(self, name: str) -> dict:
        path = self.directory / name
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except ValueError as error:
            raise ScoreError("E545", f"is no JSON ({error})", path, "run --stage 6 again") from error


class References:
    """The data directory as the scorer needs it."""

    def __init__(self, path: str | Path, max_utts: int | None = None):
        self.data = DataDir(path)
        self.speakers = self.data.speakers()
        if not self.speakers:
            raise ScoreError("E540", "holds no spk1.scp", path, "give a data directory of mixtures with their sources")
        self.ids = self.data.ids[:max_utts]
        self.rate = audio.sample_rate(self.data.table("wav.scp")[self.ids[0]])

    def mixture(self, utterance: str) -> np.ndarray:
        return audio.read_audio(self.data.table("wav.scp")[utterance], self.rate)[0]

    def sources(self, utterance: str) -> list[np.ndarray]:
        return [audio.read_audio(self.data.table(f"{s}.scp")[utterance], self.rate)[0] for s in self.speakers]

    @cached_property
    def cut(self) -> bool:
        """Were the mixtures made in min mode? Then a transcript may say more than what is heard."""
        path = self.data.path / "options.json"
        return path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("mode") == "min"

    def is_english(self, utterance: str, speaker: str) -> bool:
        """By the table utt2lang_<speaker>; English when there is none."""
        name = f"utt2lang_{speaker}"
        return not self.data.has(name) or self.data.table(name).get(utterance) == "en"

    def transcripts(self, utterance: str) -> list[str | None]:
        """Per speaker: the English transcript, "" when English but not known (or cut), None for other languages."""
        return [self._transcript(utterance, s) if self.is_english(utterance, s) else None for s in self.speakers]

    def _transcript(self, utterance: str, speaker: str) -> str:
        name = f"text_{speaker}"
        return self.data.table(name).get(utterance, "") if self.data.has(name) and not self.cut else ""

    def digest(self) -> str:
        """SHA-256 over mixtures, sources and texts."""
        total = hashlib.sha256()
        for utterance in self.ids:
            total.update(f"{utterance} {self.transcripts(utterance)}".encode())
            for name in ["wav.scp", *(f"{speaker}.scp" for speaker in self.speakers)]:
                total.update(Path(self.data.table(name)[utterance]).read_bytes())
        return total.hexdigest()


def spread(ids: list[str], count: int) -> frozenset[str]:
    """`count` ids taken at even distances."""
    if count <= 0 or not ids:
        return frozenset()
    step = max(1.0, len(ids) / count)
    return frozenset(ids[int(i * step)] for i in range(min(count, len(ids))))


def _first(ids: list[str]) -> str:
    return ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
