"""Batches of similar length under a frame budget, in an order that is a pure function of (seed, epoch).

Nothing here has a state: to resume in the middle of an epoch, make the same plan again and skip the steps done.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

Batch = list[int]
Step = list[list[Batch]]  # [rank][micro-batch] -> indices of examples


class BucketError(ValueError):
    """Batches that cannot be built; the message says which number to change."""


@dataclass
class BatchConfig:
    """The budget of one batch: codec frames after padding, and examples."""

    max_frames: int = 4000
    max_examples: int = 64


def plan(lengths: Sequence[int], config: BatchConfig, seed: int, epoch: int, ranks: int, accum: int) -> list[Step]:
    """All optimiser steps of one epoch.

    Every example is in exactly one batch, and in each step every rank has the same number of batches (`accum`; fewer
    in the last step of the epoch). Only when batches of one example cannot be split further, up to ranks - 1 of them
    are left out of this epoch.

    Args:
        lengths: codec frames of each example.
    Raises BucketError when a single example is over the budget, or when there are fewer examples than ranks.
    """
    generator = random.Random(f"{seed} {epoch}")
    batches = _split_to_multiple(pack(lengths, config, generator), ranks)
    generator.shuffle(batches)
    batches = batches[: len(batches) - len(batches) % ranks]
    rounds = [batches[i : i + ranks] for i in range(0, len(batches), ranks)]
    groups = [rounds[i : i + accum] for i in range(0, len(rounds), accum)]
    return [[[round_[rank] for round_ in group] for rank in range(ranks)] for group in groups]


def pack(lengths: Sequence[int], config: BatchConfig, generator: random.Random | None = None) -> list[Batch]:
    """Batches under the budget, neighbours in length together; ties are broken by `generator` (by index if None)."""
    order = list(range(len(lengths)))
    if generator is not None:
        generator.shuffle(order)
    order.sort(key=lambda index: lengths[index])
    batches: list[Batch] = []
    for index in order:
        _check_fits(index, lengths[index], config)
        # sorted: the newest example is the longest, so it decides the padded size
        full = not batches or len(batches[-1]) >= config.max_examples
        if full or (len(batches[-1]) + 1) * lengths[index] > config.max_frames:
            batches.append([])
        batches[-1].append(index)
    return batches


def _check_fits(index: int, length: int, config: BatchConfig) -> None:
    if length > config.max_frames:
        raise BucketError(
            f"example {index} has {length} frames, over batch.max_frames = {config.max_frames}; "
            "raise batch.max_frames or crop with data.max_frames"
        )


def _split_to_multiple(batches: list[Batch], ranks: int) -> list[Batch]:
    """Halve the batches with most examples until their number is a multiple of `ranks`."""
    batches = list(batches)
    if not batches:
        raise BucketError("the training set has no examples; check --train")
    if sum(map(len, batches)) < ranks:
        raise BucketError(f"{sum(map(len, batches))} examples for {ranks} processes; start fewer processes")
    while len(batches) % ranks:
        largest = max(range(len(batches)), key=lambda i: len(batches[i]))
        batch = batches[largest]
        if len(batch) == 1:
            break
        batches[largest] = batch[: len(batch) // 2]
        batches.append(batch[len(batch) // 2 :])
    return batches
