"""The validation pass, and which checkpoints are the best by it."""

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from codecsep.data import buckets
from codecsep.faults import faultpoint
from codecsep.train.batches import Failure, TrainingSet, load_batches
from codecsep.train.distributed import World
from codecsep.train.ema import MovingAverage
from codecsep.train.guard import TrainingError
from codecsep.train.report import Report
from codecsep.train.settings import TrainConfig
from codecsep.train.state import Meter, State, seeded

PartsOf = Callable[[list[dict[str, Any]]], Mapping[str, float]]


class Validation:
    """Validates a network on this rank's share of a set, always with the same random numbers."""

    def __init__(self, valid_set: TrainingSet, settings: TrainConfig, world: World, report: Report):
        self.valid_set, self.settings, self.world, self.report = valid_set, settings, world, report

    @torch.no_grad()
    def meter(self, model: nn.Module, ema: MovingAverage | None, parts_of: PartsOf) -> Meter:
        """Sums of the named parts. The caller puts the network back into training mode.

        Raises ExampleError (E604) on an utterance that cannot be read: what is best is measured here.
        """
        lengths, batch = self.valid_set.lengths, self.settings.batch
        budget = buckets.BatchConfig(max(batch.max_frames, max(lengths)), batch.max_examples)
        mine = buckets.pack(lengths, budget)[self.world.rank :: self.world.size]
        meter = Meter()
        model.eval()
        with ema.in_place_of(model) if ema is not None else nullcontext(), seeded(self.settings.train.seed):
            for examples in load_batches(self.valid_set, mine, self.settings.data):
                faultpoint("train.validation")
                good = [_read(example) for example in examples]
                parts = parts_of(good)
                meter.add(parts, len(good))
                self._tell_nonfinite(good, parts)
        return meter

    def _tell_nonfinite(self, examples: list[dict[str, Any]], parts: Mapping[str, float]) -> None:
        bad = [name for name, value in parts.items() if not math.isfinite(value)]
        if bad:
            ids = ", ".join(example["id"] for example in examples[:8])
            self.report.say(f"warning: validation: {', '.join(bad)} not finite in a batch with {ids}")


def _read(example: dict[str, Any] | Failure) -> dict[str, Any]:
    if isinstance(example, Failure):
        raise example.raised("validation")
    return example


def criterion(name: str, valid: Mapping[str, float]) -> float:
    """The part that chooses the best. Raises TrainingError (E503) when there is none of that name."""
    if name not in valid:
        what = f"train.criterion '{name}' is none of the parts {sorted(valid)}"
        raise TrainingError("E503", what, "", "name one of them")
    return valid[name]


def rank_best(state: State, value: float, keep: int) -> None:
    """Put the newest validation among the best; NaN never gets before a number."""
    value = value if math.isfinite(value) else math.inf
    entries = [*state.best, {"step": state.step, "value": value}]
    state.best = sorted(entries, key=lambda entry: (entry["value"], entry["step"]))[:keep]
    state.stale = 0 if state.best[0]["step"] == state.step else state.stale + 1
