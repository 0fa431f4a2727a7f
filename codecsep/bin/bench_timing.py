"""Contenders timed side by side: in one process, in turn, round after round; what is reported are ratios.

On a CPU a contender is charged the processor time of this process (all its threads), which neighbours on the machine
disturb far less than the wall clock; on CUDA the time between two events. A ratio is taken within each round, where
both contenders met the same machine, and printed as median [least .. largest].
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

Clock = Callable[[Callable[[], object]], float]


@dataclass
class Contender:
    """Something to be timed: one call of `run` is one round's work; `warm` (a shorter call) comes once before.

    measure: how a round's seconds are found where running all of the work would take too long.
    """

    run: Callable[[], object]
    warm: Callable[[], object] = field(default=lambda: None)
    measure: Callable[[Clock], float] | None = None

    def seconds(self, clock: Clock) -> float:
        """Of one round."""
        return clock(self.run) if self.measure is None else self.measure(clock)


@dataclass(frozen=True)
class Ratio:
    """How many times faster: median over the rounds, and the spread."""

    median: float
    least: float
    largest: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.least:.2f} .. {self.largest:.2f}]"


def cpu_clock(work: Callable[[], object]) -> float:
    """Seconds of processor time that `work` takes in this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def cuda_clock(work: Callable[[], object]) -> float:
    """Seconds between an event before and one after `work`, the device idle at both ends."""
    torch.cuda.synchronize()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000


def clock_of(device: str) -> Clock:
    """The clock of a device: events on CUDA, else processor time."""
    return cuda_clock if torch.device(device).type == "cuda" else cpu_clock


def interleave(contenders: Mapping[Hashable, Contender], rounds: int, clock: Clock) -> dict[Any, list[float]]:
    """Seconds of each contender in each round. Every round begins with another contender, so that none has always the
    same neighbour. Raises ValueError on less than one round."""
    if rounds < 1:
        raise ValueError(f"{rounds} rounds; give at least 1")
    for contender in contenders.values():
        contender.warm()
    names, seconds = list(contenders), {name: [] for name in contenders}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(contenders[name].seconds(clock))
    return seconds


def ratio(slower: Sequence[float], faster: Sequence[float]) -> Ratio:
    """How many times `faster` is faster than `slower`, round by round."""
    found = [a / max(b, 1e-9) for a, b in zip(slower, faster, strict=True)]
    return Ratio(statistics.median(found), min(found), max(found))


def median(seconds: Sequence[float]) -> float:
    return statistics.median(seconds)
