"""Running the same step again and again: on a GPU as a captured graph, which costs one launch instead of hundreds.

A step that may be captured changes its tensors in place, allocates nothing that must outlive it and never waits for the
device.  The first time with a key it runs as it is: that is a step like any other, and it lets libraries set themselves
up; the second time it is captured and replayed; from then on only replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

import torch

Work = Callable[[], None]


class Graph(Protocol):
    """What was captured."""

    def replay(self) -> None: ...


class Runner(Protocol):
    """Runs a step; steps with equal keys do the same to the same tensors."""

    def __call__(self, key: Hashable, work: Work) -> None: ...

    def forget(self) -> None:
        """The tensors are others from now on."""
        ...


class PlainRunner:
    """Runs the step each time, without graphs."""

    def __call__(self, key: Hashable, work: Work) -> None:
        work()

    def forget(self) -> None:
        """There is nothing to forget."""


class GraphRunner:
    """Captures the step once per key; `capture` makes a graph of it without running it.

    A key that was not seen before may come with tensors that were replaced by larger ones, so what was captured before
    is given up then; windows only grow between two refills, so that little is captured twice.
    """

    def __init__(self, capture: Callable[[Work], Graph]) -> None:
        self.capture = capture
        self.seen: set[Hashable] = set()
        self.graphs: dict[Hashable, Graph] = {}

    def __call__(self, key: Hashable, work: Work) -> None:
        if key not in self.seen:
            self.seen.add(key)
            work()
            return
        if key not in self.graphs:
            self.graphs[key] = self.capture(work)
        self.graphs[key].replay()

    def forget(self) -> None:
        self.seen.clear()
        self.graphs.clear()


def capture_on_gpu(work: Work) -> Graph:
    """A torch.cuda.CUDAGraph of `work`."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph


def make_runner(device: torch.device) -> Runner:
    """Graphs on a GPU, plain steps elsewhere."""
    return GraphRunner(capture_on_gpu) if device.type == "cuda" else PlainRunner()
