"""Processes that read batches ahead. One that dies, or hangs, is noticed at once and named with what it was reading.

torch's DataLoader looks after its workers only every 5 s, knows neither batch nor utterance, and takes a StopIteration
for the end of the epoch. Here each worker has a pipe and a place in shared memory where it notes what it reads; the
parent waits for the pipe and for the end of the process at the same time. Batch i is read by worker i modulo their
number, so that the order of batches, and what is in them, does not depend on how many there are.
"""

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from codecsep.errors import CodecsepError
from codecsep.faults import faultpoint

AHEAD = 2  # batches that each worker reads in advance
PATIENCE = 5.0  # s, for a worker to end by itself at the end of an epoch
Read = Callable[[int], Any]
Name = Callable[[int], str]


class WorkerError(CodecsepError):
    """A process that reads data has died or hangs."""


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    given: list[list[int]]  # batches that it has not sent yet


def read_batches(read: Read, name: Name, plan: Sequence[list[int]], count: int, timeout: float) -> Iterator[list[Any]]:
    """`read` of every index of every batch of the plan, in order, by `count` processes (0: in this one).

    name: of the example of an index, for messages. timeout: seconds until a worker counts as hung.
    Raises WorkerError: a worker is dead (E601) or hangs (E602). What `read` raises in a worker kills it, so it should
    hand errors back as values.
    """
    if count == 0:
        yield from ([read(index) for index in batch] for batch in plan)
        return
    notes = multiprocessing.RawArray("q", [-1] * count)
    workers: list[_Worker] = []
    try:
        for number in range(count):
            workers.append(_start(read, notes, number, [worker.pipe for worker in workers]))
        yield from _in_order(workers, plan, notes, name, timeout)
    finally:
        _end(workers)


def _start(read: Read, notes: Any, number: int, others: list[Connection]) -> _Worker:
    context = multiprocessing.get_context("fork")  # the dataset is shared, not copied
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(read, notes, number, theirs, [*others, ours]), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours, [])


def _in_order(
    workers: list[_Worker], plan: Sequence[list[int]], notes: Any, name: Name, timeout: float
) -> Iterator[list[Any]]:
    todo = iter(enumerate(plan))

    def give() -> None:
        number, batch = next(todo, (0, None))
        if batch is not None:
            worker = workers[number % len(workers)]
            worker.given.append(batch)
            with suppress(OSError):  # a dead one is named when its batch is waited for
                worker.pipe.send(batch)

    for _ in range(AHEAD * len(workers)):
        give()
    for number in range(len(plan)):
        yield _receive(workers, number % len(workers), notes, name, timeout)
        give()


def _receive(workers: list[_Worker], turn: int, notes: Any, name: Name, timeout: float) -> list[Any]:
    """The next batch of the worker whose turn it is."""
    worker, end = workers[turn], time.monotonic() + timeout
    sentinels = {other.process.sentinel: number for number, other in enumerate(workers)}
    while True:
        ready = wait([worker.pipe, *sentinels], max(0.0, end - time.monotonic()))
        dead = [sentinels[found] for found in ready if found in sentinels]
        if dead:
            raise _dead(workers[dead[0]], dead[0], notes, name)
        if not ready:
            raise _hung(worker, turn, notes, name, timeout)
        try:
            examples = worker.pipe.recv()
        except (EOFError, OSError):
            raise _dead(worker, turn, notes, name) from None
        worker.given.pop(0)
        return examples


def _dead(worker: _Worker, number: int, notes: Any, name: Name) -> WorkerError:
    worker.process.join(PATIENCE)
    code = worker.process.exitcode or 0
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    what = f"{how} while reading {_reading(worker, number, notes, name)}"
    fix = "look at that utterance, and whether memory ran out; the same command goes on from the last checkpoint"
    return WorkerError("E601", what, f"worker {number} (process {worker.process.pid})", fix)


def _hung(worker: _Worker, number: int, notes: Any, name: Name, timeout: float) -> WorkerError:
    what = f"gave nothing for {timeout:g} s (data.loader_timeout), reading {_reading(worker, number, notes, name)}"
    fix = "look at that utterance and its disk, or raise data.loader_timeout"
    return WorkerError("E602", what, f"worker {number} (process {worker.process.pid})", fix)


def _reading(worker: _Worker, number: int, notes: Any, name: Name) -> str:
    """What a worker was about, from its note, and the batch that it is in."""
    batch = worker.given[0] if worker.given else []
    now = f"'{name(notes[number])}'" if notes[number] >= 0 else "nothing"
    return f"{now} of the batch {', '.join(name(index) for index in batch) or '(none)'}"


def _end(workers: list[_Worker]) -> None:
    """Workers end when their pipe is closed; one that does not is killed."""
    for worker in workers:
        worker.pipe.close()
    end = time.monotonic() + PATIENCE
    for worker in workers:
        if worker.given:  # in the middle of the epoch nobody waits for what is being read
            worker.process.kill()
        worker.process.join(max(0.0, end - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _work(read: Read, notes: Any, number: int, pipe: Connection, others: list[Connection]) -> None:
    """The life of a worker. It leaves signals to its parent, and dies with it."""
    for signal_number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(signal_number, signal.SIG_IGN)
    _die_with_parent()
    for other in others:  # so that a pipe ends when the parent does, whoever was started later
        other.close()
    torch.set_num_threads(1)
    with suppress(EOFError, OSError):
        while True:
            examples = []
            for index in pipe.recv():
                notes[number] = index
                faultpoint("loader.read")
                examples.append(read(index))
            pipe.send(examples)
            notes[number] = -1
    os._exit(0)  # nothing of the parent's is to be finished here


def _die_with_parent() -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, Linux
