"""The gradient of one step on this rank, also where a batch does not fit into memory at once.

A batch that runs out of memory is taken in two halves, once; the step begins again with it, since a broken backward
pass leaves a part of its gradient behind. Each half counts by its number of examples, so that the gradient is that of
the whole batch for a loss that is a mean over examples (for a mean over tokens: that of two accumulated batches).
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from codecsep.faults import faultpoint
from codecsep.train.state import Meter

Batch = list[dict[str, Any]]
Forward = Callable[[Batch], tuple[Tensor, Mapping[str, float]]]
Backward = Callable[[Tensor, int], None]
MEMORY_TEXTS = ("DefaultCPUAllocator", "out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")


@dataclass
class Gradient:
    """What was computed on this rank: means of the parts, the parts of each batch, and what did not fit into memory."""

    seen: Meter = field(default_factory=Meter)
    parts: list[Mapping[str, float]] = field(default_factory=list)
    too_large: int = 0
    is_given_up: bool = False


class Buffers:
    """The buffers of a network before a step (running means, codebooks), to be put back when the step is left out."""

    def __init__(self, model: nn.Module):
        self.pairs = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]

    @torch.no_grad()
    def put_back(self) -> None:
        for buffer, before in self.pairs:
            buffer.copy_(before)


def compute(
    model: nn.Module, buffers: Buffers, batches: Sequence[Batch], forward: Forward, backward: Backward
) -> Gradient:
    """Forward and backward of all batches. Raises nothing for want of memory: see `Gradient.is_given_up`.

    buffers: of the model before the step. forward: examples -> (loss, parts); backward: (loss, number of examples) adds
    to the gradients. A network whose ranks talk to each other in `forward` is not tried again in halves: the others
    would wait for it.
    """
    pieces = [(batch, can_be_halved(model)) for batch in batches if batch]
    too_large = 0
    while True:
        model.zero_grad(set_to_none=True)
        result, failed = _run(pieces, forward, backward)
        if failed is None:
            result.too_large = too_large
            return result
        too_large += 1
        release_memory()
        buffers.put_back()
        batch, may_be_halved = pieces[failed]
        if not may_be_halved or len(batch) == 1:
            model.zero_grad(set_to_none=True)
            return Gradient(too_large=too_large, is_given_up=True)
        half = len(batch) // 2
        pieces[failed : failed + 1] = [(batch[:half], False), (batch[half:], False)]


def can_be_halved(model: nn.Module) -> bool:
    """May one rank compute a batch again, in two parts? Not where modules talk to other ranks."""
    alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
    return alone or not any(getattr(module, "couples_ranks", False) for module in model.modules())


def _run(pieces: list[tuple[Batch, bool]], forward: Forward, backward: Backward) -> tuple[Gradient, int | None]:
    """The gradient of all pieces, or the number of the one that did not fit."""
    result = Gradient()
    for number, (examples, _) in enumerate(pieces):
        try:
            faultpoint("train.forward")
            loss, parts = forward(examples)
            faultpoint("train.backward")
            backward(loss, len(examples))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return result, number
        result.seen.add(parts, len(examples))
        result.parts.append(dict(parts))
    return result, None


def is_out_of_memory(error: Exception) -> bool:
    """torch.OutOfMemoryError, MemoryError, and what torch's allocator for the CPU raises."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in MEMORY_TEXTS)


def release_memory() -> None:
    """What the broken pass still holds."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
