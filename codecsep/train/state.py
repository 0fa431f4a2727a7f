"""What a training needs besides weights to go on exactly: counters, random generators, averages, history."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch


@dataclass
class Meter:
    """Weighted means of named numbers; a name may be absent at times. JSON can hold it."""

    sums: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    def add(self, parts: Mapping[str, float], weight: float) -> None:
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * weight
            self.weights[name] = self.weights.get(name, 0.0) + weight

    def means(self) -> dict[str, float]:
        return {name: total / self.weights[name] for name, total in self.sums.items()}

    @classmethod
    def union(cls, values: list["Meter"]) -> "Meter":
        """One meter that saw what all of them saw."""
        result = cls()
        for value in values:
            for name, total in value.sums.items():
                result.sums[name] = result.sums.get(name, 0.0) + total
                result.weights[name] = result.weights.get(name, 0.0) + value.weights[name]
        return result


@dataclass
class State:
    """Counters of a training. `position`: steps done in this epoch. `best`: [{"step", "value"}], best first.

    `window`: what happened since the last validation. `stale`: validations since the last new best.
    `skipped...`: steps left out, in all, in a row, in this epoch, since the last validation. `too_large_in_epoch`:
    batches that did not fit into memory. `missing_in_epoch`: utterances that could not be read; `unreadable`: all of
    them, with code and reason.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    stale: int = 0
    skipped: int = 0
    skipped_in_row: int = 0
    skipped_in_epoch: int = 0
    skipped_in_window: int = 0
    too_large_in_epoch: int = 0
    missing_in_epoch: int = 0
    unreadable: dict[str, list[str]] = field(default_factory=dict)
    best: list[dict[str, float]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    window: Meter = field(default_factory=Meter)

    def next_epoch(self) -> None:
        self.epoch, self.position = self.epoch + 1, 0
        self.skipped_in_epoch = self.too_large_in_epoch = self.missing_in_epoch = 0

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "State":
        return cls(**{**values, "window": Meter(**values["window"])})


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """The generators of python, numpy and torch, as JSON can hold them."""
    numpy_state = np.random.get_state(legacy=False)
    numpy_state["state"] = numpy_state["state"] | {"key": numpy_state["state"]["key"].tolist()}
    cuda = _hex(torch.cuda.get_rng_state()) if torch.cuda.is_available() else None
    return {"python": random.getstate(), "numpy": numpy_state, "torch": _hex(torch.get_rng_state()), "cuda": cuda}


def set_random_state(state: dict[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    numpy_state = dict(state["numpy"])
    key = np.array(numpy_state["state"]["key"], dtype=np.uint32)
    np.random.set_state(numpy_state | {"state": numpy_state["state"] | {"key": key}})
    torch.set_rng_state(_from_hex(state["torch"]))
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(_from_hex(state["cuda"]))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` inside, leave the generators outside as they were."""
    before = random_state()
    seed_everything(seed)
    try:
        yield
    finally:
        set_random_state(before)


def _hex(state: torch.Tensor) -> str:
    return state.numpy().tobytes().hex()


def _from_hex(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8).clone()
