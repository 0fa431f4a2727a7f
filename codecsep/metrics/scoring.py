"""A set of systems over a data directory: utterances dealt to processes, runs that have not changed taken from disk."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from codecsep.data import atomic
from codecsep.metrics import judges as judges_module
from codecsep.metrics import table, utterance, weights
from codecsep.metrics.systems import MIXTURE, REFERENCE, References, Run, ScoreError, System

VERSION = 1  # counts changes of the scorer that change numbers; part of the key of what is kept
CHUNK = 2  # utterances that a process takes at a time


@dataclass(frozen=True)
class Options:
    """What is scored with what. asr_ids, mos_ids: utterances that words and DNSMOS are scored on."""

    data: str
    systems: tuple[System, ...]
    max_utts: int | None = None
    without: tuple[str, ...] = ()
    asr_ids: frozenset[str] = frozenset()
    mos_ids: frozenset[str] = frozenset()


class Worker:
    """What one process keeps: the judges, the references, the runs."""

    def __init__(self, options: Options, pending: tuple[tuple[str, str], ...]):
        torch.set_num_threads(1)
        self.options, self.pending = options, set(pending)
        self.references = References(options.data, options.max_utts)
        self.judges = judges_module.load(self.references.rate, options.without)
        self.runs = {name: Run(name) for system in options.systems for name in system.directories}

    def score(self, ids: list[str]) -> list[dict]:
        """Rows of all pending runs for these utterances."""
        return [row for one in ids for row in self._score_one(one)]

    def _score_one(self, one: str) -> Iterator[dict]:
        known = self._known(one)
        for system in self.options.systems:
            for run in system.directories or ("",):
                if (system.name, run) in self.pending:
                    for row in utterance.score(known, system, self._estimates(known, system, run), self.judges):
                        yield {"system": system.name, "run": run, "utt": one, **row}

    def _known(self, one: str) -> utterance.Utterance:
        nothing = [None] * len(self.references.speakers)
        texts = self.references.transcripts(one) if one in self.options.asr_ids else nothing
        mixture = utterance.Signal(self.references.mixture(one), self.judges)
        sources = [utterance.Signal(x, self.judges) for x in self.references.sources(one)]
        for signal in sources:
            if signal.samples.size != mixture.samples.size:
                raise ScoreError(f"{one}: mixture and sources differ in length; run stage 0 again")
        return utterance.Utterance(one, mixture, sources, texts, one in self.options.mos_ids)

    def _estimates(self, known: utterance.Utterance, system: System, run: str) -> list:
        if system.name == MIXTURE:
            return [known.mixture.samples] * len(known.sources)
        if system.name == REFERENCE:
            return [source.samples for source in known.sources]
        return self.runs[run].estimates(known.id, self.references.rate)


_worker: Worker | None = None


def _start(options: Options, pending: tuple[tuple[str, str], ...]) -> None:
    global _worker
    _worker = Worker(options, pending)


def _work(ids: list[str]) -> list[dict]:
    return _worker.score(ids)


def score(options: Options, ids: list[str], keep: Path, nj: int) -> dict[str, list[dict]]:
    """Rows per system. Finished runs are kept as TSV in `keep`, named by a key of all they depend on."""
    keys = _keys(options, ids)
    pending = tuple(pair for pair, key in keys.items() if not (keep / f"{key}.tsv").is_file())
    if pending:
        rows = _run(options, ids, pending, nj)
        for system, run in pending:
            mine = [row for row in rows if row["system"] == system and row["run"] == run]
            table.write_rows(keep / f"{keys[system, run]}.tsv", mine)
    result: dict[str, list[dict]] = {system.name: [] for system in options.systems}
    for (system, _), key in keys.items():
        result[system] += table.read_rows(keep / f"{key}.tsv")
    return result


def _run(options: Options, ids: list[str], pending: tuple, nj: int) -> list[dict]:
    chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
    if nj == 1:
        worker = Worker(options, pending)
        return _collect(map(worker.score, chunks), len(ids))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(nj, mp_context=spawn, initializer=_start, initargs=(options, pending)) as pool:
        return _collect(pool.map(_work, chunks), len(ids))


def _collect(results: Iterable[list[dict]], total: int) -> list[dict]:
    """All rows; says on stderr how far it is, at every tenth."""
    rows, done, told = [], 0, 0
    for part in results:
        rows += part
        done = min(done + CHUNK, total)
        if done * 10 // total > told:
            told = done * 10 // total
            print(f"scored {done}/{total} utterances", file=sys.stderr, flush=True)
    return rows


def _keys(options: Options, ids: list[str]) -> dict[tuple[str, str], str]:
    """{(system, run): SHA-256} over references, estimates, judges and options."""
    references = References(options.data, options.max_utts)
    judges = judges_module.load(references.rate, options.without)
    common = {
        "version": VERSION,
        "references": references.digest(),
        "judges": judges_module.describe(judges),
        "weights": [weight.sha256 for weight in weights.WEIGHTS],
        "asr": sorted(options.asr_ids),
        "mos": sorted(options.mos_ids),
    }
    keys = {}
    for system in options.systems:
        for run in system.directories or ("",):
            own = {**asdict(system), "directories": run, "content": Run(run).digest(ids) if run else ""}
            text = json.dumps([common, own], sort_keys=True)
            keys[system.name, run] = f"{system.name}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"
    return keys


def spread(ids: list[str], count: int) -> frozenset[str]:
    """`count` ids taken at even distances."""
    if count <= 0 or not ids:
        return frozenset()
    step = max(1.0, len(ids) / count)
    return frozenset(ids[int(i * step)] for i in range(min(count, len(ids))))


def write_json(path: Path, value: dict) -> None:
    """Indented JSON, whole or not at all."""
    atomic.write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict:
    """What `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))
