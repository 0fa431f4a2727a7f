"""A queue of mixtures of any lengths through few slots: who is decoded with whom, and who takes a place that is free.

`compacted`: the queue in batches of similar length, the longest first; a row that has ended leaves and the batch goes
on smaller. `refilled` (continuous batching): a row that has ended makes room at once for the next in the queue.
Both give every mixture the tokens that it gets alone. Knows no model: it is given a `StepMaker`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from codecsep.decode import beam
from codecsep.decode.engine_options import EngineOptions
from codecsep.decode.graphs import make_runner
from codecsep.decode.options import DecodeOptions
from codecsep.decode.rows import Rows, without
from codecsep.decode.step import DecodeStats, Step, speaker_bounds, step_limit
from codecsep.tokens.vocab import Vocab

Decoded = tuple[Tensor, DecodeStats]
FEW = 0.5  # refilled: once the queue is empty, places are given up when less than this share of them is busy


@dataclass(frozen=True)
class Request:
    """One mixture in the queue."""

    key: str  # seeds its random numbers
    max_frames: int  # of the mixture: the bound on each of its speakers, and what the queue is sorted by
    given: Any = None  # what the step maker needs to know of it


class SlotStep(Step, Protocol):
    """A step whose rows have lengths of their own."""

    def plan(self) -> Hashable:
        """The host's part of the step to come: makes room. Steps of equal plans may be replayed as one graph, until
        `keep`, or a plan that has not been seen before."""
        ...

    def admit(self, places: Sequence[int], given: Sequence[Any]) -> None:
        """New rows, at their beginning, in these places."""
        ...

    def release(self, places: Sequence[int]) -> None:
        """What stands in these places is of no interest any more; it must cost as little as it can."""
        ...


class StepMaker(Protocol):
    """Makes the state of a network for rows of the queue."""

    device: torch.device

    def lockstep(self, given: Sequence[Any]) -> Step:
        """Fresh rows that begin together."""
        ...

    def slots(self, given: Sequence[Any]) -> SlotStep:
        """Fresh rows, the longest of the queue among them, whose places others may take later."""
        ...


@dataclass(frozen=True)
class _Ticket:
    """A request, which one it is, and its bound with the slack of the options."""

    index: int
    bound: int
    request: Request


@dataclass
class _Job:
    """One call of `decode_queue`."""

    maker: StepMaker
    vocab: Vocab
    options: DecodeOptions
    engine: EngineOptions
    queue: list[_Ticket]  # the longest first
    limit: int
    found: dict[int, Decoded] = field(default_factory=dict)

    @property
    def looks(self) -> int:
        return self.engine.looks(self.maker.device.type == "cuda", self.options.leave_every)

    def bounds_of(self, tickets: Sequence[_Ticket]) -> Tensor:
        return torch.tensor([ticket.bound for ticket in tickets], dtype=torch.int64, device=self.maker.device)

    def rows_of(self, tickets: Sequence[_Ticket]) -> Rows:
        return Rows(self.vocab, self.options, self.bounds_of(tickets), _keys(tickets), self.limit)


@torch.inference_mode()
def decode_queue(
    maker: StepMaker,
    requests: Sequence[Request],
    vocab: Vocab,
    options: DecodeOptions,
    engine: EngineOptions | None = None,
    max_steps: int | None = None,
) -> tuple[list[Tensor], list[DecodeStats]]:
    """Decode all requests, `engine.slots` of them at a time.

    max_steps: never more tokens than this, e.g. the size of a position table; a row that is cut has `missing_eos`.
    Returns, in the order of the requests, the tokens [S_i] int64 from <sos> to <eos> unless cut, and their DecodeStats.
    Raises ValueError when a bound is below 1, DecodeError on NaN logits.
    """
    frames = torch.tensor([request.max_frames for request in requests], dtype=torch.int64)
    bounds = speaker_bounds(options, frames, len(requests))
    tickets = [_Ticket(*pair) for pair in zip(range(len(requests)), bounds.tolist(), requests, strict=True)]
    queue = sorted(tickets, key=lambda ticket: -ticket.bound)
    limit = step_limit(options, bounds, max_steps)
    job = _Job(maker, vocab, options, engine or EngineOptions(), queue, limit)
    if requests:
        _policy(job)(job)
    pairs = [job.found[index] for index in range(len(requests))]
    return [tokens for tokens, _ in pairs], [stats for _, stats in pairs]


def _keys(tickets: Sequence[_Ticket]) -> list[str]:
    return [ticket.request.key for ticket in tickets]


def _given(tickets: Sequence[_Ticket]) -> list[Any]:
    return [ticket.request.given for ticket in tickets]


def _policy(job: _Job) -> Any:
    if job.options.strategy == "beam":  # its hypotheses change rows at every step: there is nothing to refill
        return _beams
    return POLICIES[job.engine.policy_of(job.maker.device.type == "cuda")]


def _compacted(job: _Job) -> None:
    for start in range(0, len(job.queue), job.engine.slots):
        batch = job.queue[start : start + job.engine.slots]
        _one_batch(job, batch, job.maker.lockstep(_given(batch)))


def _one_batch(job: _Job, batch: list[_Ticket], step: Step) -> None:
    """Decode rows that begin together until all have left."""
    rows = job.rows_of(batch)
    while True:
        gone = rows.ended()
        for place, decoded in zip(gone, rows.take(gone) if gone else [], strict=True):
            job.found[batch[place].index] = decoded
        if len(gone) == len(rows):
            return
        if gone:
            batch = _left(batch, rows, step, gone)
        for _ in range(job.looks):
            rows.advance(step)


def _left(batch: list, rows: Rows, step: Step, gone: Sequence[int]) -> list:
    """Close the gaps; the members of the batch as they stand now."""
    stay = without(len(rows), gone)
    places = torch.tensor(stay, dtype=torch.int64, device=rows.last.device)
    step.keep(places)
    rows.keep(places)
    return [batch[place] for place in stay]


def _beams(job: _Job) -> None:
    for start in range(0, len(job.queue), job.engine.slots):
        batch = job.queue[start : start + job.engine.slots]
        step = job.maker.lockstep(_given(batch))
        found = beam.search(step, job.vocab, job.options, job.bounds_of(batch), job.limit)
        job.found |= {ticket.index: pair for ticket, pair in zip(batch, zip(*found, strict=True), strict=True)}


def _refilled(job: _Job) -> None:
    _Slots(job).run()


class _Slots:
    """Places that are busy with a request, or free."""

    def __init__(self, job: _Job) -> None:
        self.job, self.runner = job, make_runner(job.maker.device)
        first = job.queue[: job.engine.slots]
        self.busy: list[_Ticket | None] = list(first)
        self.waiting = job.queue[job.engine.slots :][::-1]
        self.step, self.rows = job.maker.slots(_given(first)), job.rows_of(first)

    def run(self) -> None:
        """Until the queue is empty and all have ended."""
        while True:
            gone = [place for place in self.rows.ended() if self.busy[place] is not None]
            if gone:
                self._store(gone)
                self._fill(gone)
            if not any(self.busy):
                return
            for _ in range(self.job.looks):
                plan = (len(self.rows), self.step.plan())
                self.runner(plan, lambda: self.rows.advance(self.step))

    def _store(self, gone: Sequence[int]) -> None:
        for place, decoded in zip(gone, self.rows.take(gone), strict=True):
            self.job.found[self.busy[place].index] = decoded
            self.busy[place] = None

    def _fill(self, free: list[int]) -> None:
        """The next of the queue into the free places; what stays free is released."""
        places, idle = free[: len(self.waiting)], free[len(self.waiting) :]
        if places:
            fresh = [self.waiting.pop() for _ in places]
            self.step.admit(places, _given(fresh))
            index = torch.tensor(places, dtype=torch.int64, device=self.rows.last.device)
            self.rows.admit(index, self.job.bounds_of(fresh), _keys(fresh))
            for place, ticket in zip(places, fresh, strict=True):
                self.busy[place] = ticket
        if idle:
            self._give_up(idle)

    def _give_up(self, idle: list[int]) -> None:
        free = [place for place, ticket in enumerate(self.busy) if ticket is None]
        if len(free) < len(self.busy) and len(free) >= FEW * len(self.busy):
            self.runner.forget()  # its graphs write to the rows as they stood
            self.busy = _left(self.busy, self.rows, self.step, free)
        else:
            self.step.release(idle)


POLICIES = {"compacted": _compacted, "refilled": _refilled}
