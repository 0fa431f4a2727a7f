"""Classifier-free guidance: away from what the network says without its condition (Ho & Salimans 2022).

The conditional and the unconditional logits come from one call of one network, on twice the rows: rows 0 .. B-1 have
the condition, rows B .. 2B-1 the same tokens without it. So both share the caches of the step, and whatever is done to
a row is done to its shadow. With weight 0 the result is right but the shadows are work for nothing: leave them out.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from codecsep.decode.options import GuidanceOptions
from codecsep.decode.queue import SlotStep, StepMaker
from codecsep.decode.sampler import NEVER


class DoubleStep(Protocol):
    """A network over 2B rows: a `Step`, or a function of the tokens [2B, ..] and the level."""

    def __call__(self, tokens: Tensor, *level: int) -> Tensor: ...

    def keep(self, rows: Tensor) -> None: ...


def combine(conditional: Tensor, unconditional: Tensor, options: GuidanceOptions) -> Tensor:
    """Logits [.., V] of both kinds -> [.., V]; weight 0 gives `conditional` itself.

    A token that either forbids (-inf) stays forbidden. The rescaling (MaskGCT) is done for each row and step on its
    own, over the vocabulary: over the batch, as there, a result would depend on its neighbours.
    """
    if options.weight == 0.0:
        return conditional
    allowed = (conditional > NEVER) & (unconditional > NEVER)
    base, other = (logits.float().masked_fill(~allowed, 0.0) for logits in (conditional, unconditional))
    guided = base + options.weight * (base - other)
    if options.rescale:
        factor = _spread(base, allowed) / _spread(guided, allowed).clamp(min=1e-12)
        guided = guided * (options.rescale * factor + 1.0 - options.rescale)
    return guided.masked_fill(~allowed, NEVER)


class Guided:
    """A step of B rows over a step of 2B rows; for `autoregressive`, `masked` and `levels` alike."""

    def __init__(self, step: DoubleStep, batch_size: int, options: GuidanceOptions) -> None:
        self.step, self.batch_size, self.options = step, batch_size, options

    def __call__(self, tokens: Tensor, *level: int) -> Tensor:
        """tokens [B, ..] -> guided logits [B, .., V]; level: as `step` takes it."""
        conditional, unconditional = self.step(torch.cat([tokens, tokens]), *level).chunk(2)
        return combine(conditional, unconditional, self.options)

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows ([B'] int64) with their shadows, in this order; a row may be named more than once."""
        self.step.keep(torch.cat([rows, rows + self.batch_size]))
        self.batch_size = len(rows)


class GuidedSlots(Guided):
    """The same over a step whose places others may take; the shadow of place p is place p + B."""

    step: SlotStep

    def plan(self) -> Hashable:
        """See `SlotStep`."""
        return self.step.plan()

    def admit(self, places: Sequence[int], given: Sequence[Any]) -> None:
        """given: pairs, see `GuidedMaker`."""
        self.step.admit(self._both(places), _both_kinds(given))

    def release(self, places: Sequence[int]) -> None:
        """See `SlotStep`."""
        self.step.release(self._both(places))

    def _both(self, places: Sequence[int]) -> list[int]:
        return [*places, *(place + self.batch_size for place in places)]


class GuidedMaker:
    """For `queue.decode_queue`: a step maker whose requests are given pairs (with the condition, without it)."""

    def __init__(self, maker: StepMaker, options: GuidanceOptions) -> None:
        self.maker, self.options, self.device = maker, options, maker.device

    def lockstep(self, given: Sequence[Any]) -> Guided:
        """Fresh rows that begin together."""
        return Guided(self.maker.lockstep(_both_kinds(given)), len(given), self.options)

    def slots(self, given: Sequence[Any]) -> GuidedSlots:
        """Fresh rows whose places others may take later."""
        return GuidedSlots(self.maker.slots(_both_kinds(given)), len(given), self.options)


def _both_kinds(given: Sequence[Any]) -> list[Any]:
    return [pair[0] for pair in given] + [pair[1] for pair in given]


def _spread(logits: Tensor, allowed: Tensor) -> Tensor:
    """Standard deviation over the allowed tokens: [.., V] -> [.., 1]."""
    count = allowed.sum(dim=-1, keepdim=True).clamp(min=1)
    mean = logits.sum(dim=-1, keepdim=True) / count  # what is not allowed is 0
    return (((logits - mean) * allowed).square().sum(dim=-1, keepdim=True) / count).sqrt()
