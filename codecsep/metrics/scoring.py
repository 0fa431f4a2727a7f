"""A set of systems over a data directory: utterances dealt to processes, runs that have not changed taken from disk."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from codecsep.data.digest import text_sha256
from codecsep.data.downloads import JUDGES
from codecsep.faults import faultpoint
from codecsep.metrics import judges as judges_module
from codecsep.metrics import kept, signals, table, utterance
from codecsep.metrics.systems import MIXTURE, REFERENCE, References, Run, ScoreError, System

VERSION = 3  # counts changes of the scorer that change numbers; part of the key of what is kept
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CHUNK = 2  # utterances that a process takes at a time


@dataclass(frozen=True)
class Transmitted:
    """What the codec makes of the data: directories with spk<j>.scp; delay: samples by which it lags."""

    sources: str
    mixture: str
    delay: int

    def of(self, known: signals.Utterance, rate: int, judges: judges_module.Judges) -> signals.Coded:
        """That of one utterance."""
        runs = [Run(name).estimates(known.id, rate) for name in (self.sources, self.mixture)]
        sources, mixtures = ([signals.Signal(samples, judges) for samples in run] for run in runs)
        return signals.Coded(sources, mixtures[0], self.delay)

    def digests(self, ids: list[str]) -> list:
        """What the scores depend on."""
        return [Run(self.sources).digest(ids), Run(self.mixture).digest(ids), self.delay]


@dataclass(frozen=True)
class Options:
    """What is scored with what.

    asr_ids, mos_ids, pesq_ids: utterances that words, DNSMOS and PESQ beyond its first column are scored on.
    transmitted: what the codec makes of the data; None without one.
    """

    data: str
    systems: tuple[System, ...]
    max_utts: int | None = None
    without: tuple[str, ...] = ()
    asr_ids: frozenset[str] = frozenset()
    mos_ids: frozenset[str] = frozenset()
    pesq_ids: frozenset[str] = frozenset()
    transmitted: Transmitted | None = None


class Worker:
    """What one process keeps: the judges, the references, the runs."""

    def __init__(self, options: Options, pending: tuple[tuple[str, str], ...]):
        torch.set_num_threads(1)
        self.options, self.pending = options, set(pending)
        self.references = References(options.data, options.max_utts)
        self.judges = judges_module.load(self.references.rate, options.without)
        self.runs = {name: Run(name) for system in options.systems for name in system.directories}

    def keep(self, path: Path, ids: list[str]) -> int:
        """Score these utterances in all pending runs and keep the rows in `path`; how many utterances they are."""
        rows = [row for one in ids for row in self._score_one(one)]
        faultpoint("score.before_keep")
        kept.keep_rows(path, rows)
        faultpoint("score.after_keep")
        return len(ids)

    def _score_one(self, one: str) -> Iterator[dict]:
        known = self._known(one)
        for system in self.options.systems:
            for run in system.directories or ("",):
                if (system.name, run) in self.pending:
                    for row in utterance.score(known, system, self._estimates(known, system, run), self.judges):
                        yield {"system": system.name, "run": run, "utt": one, **row}

    def _known(self, one: str) -> signals.Utterance:
        nothing = [None] * len(self.references.speakers)
        texts = self.references.transcripts(one) if one in self.options.asr_ids else nothing
        mixture = signals.Signal(self.references.mixture(one), self.judges)
        sources = [signals.Signal(x, self.judges) for x in self.references.sources(one)]
        for signal in sources:
            if signal.samples.size != mixture.samples.size:
                raise ScoreError("E540", "mixture and sources differ in length", one, "run --stage 0 again")
        known = signals.Utterance(one, mixture, sources, texts, one in self.options.mos_ids)
        known.with_all_pesq = one in self.options.pesq_ids
        if self.options.transmitted:
            known.coded = self.options.transmitted.of(known, self.references.rate, self.judges)
        return known

    def _estimates(self, known: signals.Utterance, system: System, run: str) -> list:
        if system.name == MIXTURE:
            return [known.mixture.samples] * len(known.sources)
        if system.name == REFERENCE:
            return [source.samples for source in known.sources]
        return self.runs[run].estimates(known.id, self.references.rate)


_worker: Worker | None = None


def _start(options: Options, pending: tuple[tuple[str, str], ...]) -> None:
    global _worker
    _worker = Worker(options, pending)


def _work(part: tuple[Path, list[str]]) -> int:
    return _worker.keep(*part)


def score(options: Options, ids: list[str], keep: Path, nj: int) -> dict[str, list[dict]]:
    """Rows per system. Finished runs are kept as TSV in `keep`, named by a key of all they depend on.

    So are, while the work goes on, the rows of every few utterances: a scoring that was killed goes on there.
    """
    keys = _keys(options, ids)
    pending = tuple(pair for pair, key in keys.items() if not kept.are_kept(keep / f"{key}.tsv"))
    if pending:
        parts = _parts([keys[pair] for pair in pending], ids, keep / "parts")
        rows = _run(options, parts, pending, nj)
        for system, run in pending:
            mine = [row for row in rows if row["system"] == system and row["run"] == run]
            kept.keep_rows(keep / f"{keys[system, run]}.tsv", mine)
    shutil.rmtree(keep / "parts", ignore_errors=True)
    result: dict[str, list[dict]] = {system.name: [] for system in options.systems}
    for (system, _), key in keys.items():
        result[system] += table.read_rows(keep / f"{key}.tsv")
    return result


def _parts(keys: list[str], ids: list[str], folder: Path) -> dict[Path, list[str]]:
    """Every few utterances, and where their rows are kept: named by what they depend on."""
    chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
    return {folder / f"{text_sha256(json.dumps([keys, chunk]))[:20]}.tsv": chunk for chunk in chunks}


def _run(options: Options, parts: dict[Path, list[str]], pending: tuple, nj: int) -> list[dict]:
    missing = [(path, ids) for path, ids in parts.items() if not kept.are_kept(path)]
    if len(missing) < len(parts):
        print(f"{len(parts) - len(missing)} of {len(parts)} parts are there", file=sys.stderr)
    if nj == 1 or len(missing) == 1:
        worker = Worker(options, pending)
        _tell([worker.keep(*part) for part in missing])
    elif missing:
        _spread_over(min(nj, len(missing)), options, pending, missing)
    return [row for path in parts for row in table.read_rows(path)]


def _spread_over(nj: int, options: Options, pending: tuple, missing: list[tuple[Path, list[str]]]) -> None:
    """Score the missing parts in `nj` processes. Raises ScoreError when one of them dies."""
    spawn = multiprocessing.get_context("spawn")
    try:
        with one_thread_each(), ProcessPoolExecutor(nj, spawn, _start, (options, pending)) as pool:
            _tell(pool.map(_work, missing), sum(len(ids) for _, ids in missing))
    except BrokenProcessPool as error:
        fix = "run the same command again (what is scored is kept), with a smaller --nj when memory is short"
        raise ScoreError("E548", "a process died; was it killed for want of memory?", "scoring", fix) from error


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes that are started in this block compute on one thread each, NumPy's libraries too: several threads of
    several processes on the same cores take 8 % more of their time."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name in THREADS:
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _tell(counts: Iterable[int], total: int = 0) -> None:
    """Say on stderr how far it is, at every tenth."""
    done, told = 0, 0
    for count in counts:
        done += count
        if total and done * 10 // total > told:
            told = done * 10 // total
            print(f"scored {done}/{total} utterances", file=sys.stderr, flush=True)


def _keys(options: Options, ids: list[str]) -> dict[tuple[str, str], str]:
    """{(system, run): SHA-256} over references, estimates, judges and options."""
    references = References(options.data, options.max_utts)
    judges = judges_module.load(references.rate, options.without)
    common = {
        "version": VERSION,
        "references": references.digest(),
        "judges": judges_module.describe(judges),
        "weights": [weight.sha256 for weight in JUDGES],
        "asr": sorted(options.asr_ids),
        "mos": sorted(options.mos_ids),
        "pesq": sorted(options.pesq_ids),
        "transmitted": options.transmitted.digests(ids) if options.transmitted else [],
    }
    keys = {}
    for system in options.systems:
        for run in system.directories or ("",):
            own = {**asdict(system), "directories": run, "content": Run(run).digest(ids) if run else ""}
            text = json.dumps([common, own], sort_keys=True)
            keys[system.name, run] = f"{system.name}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"
    return keys
