"""Stage 2 beside what others do: codecs and their own packages, token arks and kaldiio, several jobs and one."""

from __future__ import annotations

from dataclasses import dataclass, field

from codecsep.bin.bench_arks import ark_ratio
from codecsep.bin.bench_codecs import upstream_ratio
from codecsep.bin.bench_jobs import nj_ratio
from codecsep.bin.bench_page import Table
from codecsep.torch_audio import PackageError

__all__ = ["QUICK", "Settings", "ark_ratio", "nj_ratio", "run", "upstream_ratio"]
QUICK = ("--codecs=[encodec]", "--seconds=[0.1]", "--ark_utterances=20", "--jobs=1", "--rounds=1")
NOTE = "By the clock on this machine as it is; by processor time: as on a core for each job, with nothing else running"


@dataclass
class Settings:
    """codecs: to compare with their packages, on signals of `seconds`. ark_utterances: of 8 codebooks at 400 to 1,200
    frames. jobs: against one, on corpus_seconds of audio; 1 leaves that out."""

    codecs: list[str] = field(default_factory=lambda: ["encodec", "dac"])
    seconds: list[float] = field(default_factory=lambda: [2.0, 5.0, 8.0, 11.0, 14.0])
    ark_utterances: int = 2000
    jobs: int = 2
    corpus_seconds: float = 3600.0
    rounds: int = 5
    device: str = "cpu"


def run(settings: Settings) -> list[Table]:
    """Three tables; what lacks a package is left out, and said."""
    return [table for table in (codecs(settings), arks(settings), jobs(settings)) if table.rows or table.notes]


def codecs(settings: Settings) -> Table:
    table = Table("Encoding beside the package, file by file", ["codec", "times as fast", "codes equal"])
    for name in settings.codecs:
        try:
            found = upstream_ratio(name, settings.seconds, settings.rounds, settings.device)
            table.rows.append([name, str(found.speed), f"{found.equal:.4%}"])
        except PackageError as error:
            table.notes.append(f"{name}: left out, {error}")
    return table


def arks(settings: Settings) -> Table:
    table = Table("Token arks beside kaldiio's int32 vectors", ["work", "times as fast"])
    try:
        found = ark_ratio(settings.ark_utterances, settings.rounds)
        table.rows = [[name, str(times)] for name, times in found.items()]
    except PackageError as error:
        table.notes.append(f"left out, {error}")
    return table


def jobs(settings: Settings) -> Table:
    table = Table(f"{settings.jobs} jobs beside one", ["measured by", "times as fast"])
    if settings.jobs > 1:
        found = nj_ratio(settings.jobs, settings.corpus_seconds, settings.rounds)
        table.rows, table.notes = [[name, str(times)] for name, times in found.items()], [NOTE]
    return table
