"""What is scored: rows of the table, each of one or more runs (seeds), each run a directory with spk<j>.scp files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from codecsep.data import audio
from codecsep.data.datadir import DataDir, read_table

MIXTURE, REFERENCE, CEILING = "mixture", "reference", "codec_ceiling"
BUILT_IN = (MIXTURE, REFERENCE, CEILING)
CRITERIA = ("si_sdr", "estoi", "speaker")


class ScoreError(ValueError):
    """A system, or its directory, that cannot be scored; one line."""


@dataclass(frozen=True)
class System:
    """One row. directories: one per run; criterion: what chooses its permutation; delay: samples at the data's rate."""

    name: str
    directories: tuple[str, ...]
    criterion: str
    delay: int = 0


def parse(text: str) -> tuple[str, tuple[str, ...]]:
    """ "name=dir,dir" or "dir" (named after it) -> name, directories. Raises ScoreError."""
    name, equals, rest = text.partition("=")
    directories = tuple(part for part in (rest if equals else name).split(",") if part)
    if not directories or (equals and not name):
        raise ScoreError(f"--hyp {text!r}: write name=directory, or name=directory,directory for several seeds")
    name = name if equals else Path(directories[0]).name
    if name in BUILT_IN:
        raise ScoreError(f"--hyp {text!r}: the name {name!r} is taken; rows of that name are made by the scorer")
    return name, directories


class Run:
    """The estimates of one directory."""

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        if not (self.directory / "spk1.scp").is_file():
            raise ScoreError(f"{self.directory}: holds no spk1.scp; run the stage that writes it (stage 6, decode)")

    @cached_property
    def tables(self) -> list[dict[str, str]]:
        """One {utterance: path} per spk<j>.scp, as many as there are."""
        paths = []
        while (path := self.directory / f"spk{len(paths) + 1}.scp").is_file():
            paths.append(path)
        return [read_table(path) for path in paths]

    def check(self, ids: list[str]) -> None:
        """Raises ScoreError when an utterance has no estimate at all (a job that died), naming the first three."""
        absent = [utterance for utterance in ids if not any(utterance in table for table in self.tables)]
        if absent:
            first = ", ".join(absent[:3])
            raise ScoreError(f"{self.directory}: {len(absent)} of {len(ids)} utterances are missing ({first}, ...)")

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
        """decode.json of the separation stage ({} when there is none): seeds, time, how decoding ended."""
        path = self.directory / "decode.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


class References:
    """The data directory as the scorer needs it."""

    def __init__(self, path: str | Path, max_utts: int | None = None):
        self.data = DataDir(path)
        self.speakers = self.data.speakers()
        if not self.speakers:
            raise ScoreError(f"{path}: holds no spk1.scp; scoring needs mixtures with their sources")
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
