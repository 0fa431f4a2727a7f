"""Batches of similar length under a frame budget, in an order that is a pure function of (seed, epoch).

Nothing here has a state: to resume in the middle of an epoch, make the same plan again and begin at its k-th step. A
plan is a few arrays; the lists of a step are made when it is asked for, so that a long epoch costs no more to resume
at its end than at its start.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from codecsep.errors import CodecsepError

Batch = list[int]
Step = list[list[Batch]]  # [rank][micro-batch] -> indices of examples


class BucketError(CodecsepError):
    """Batches that cannot be built; the message says which number to change."""


@dataclass
class BatchConfig:
    """The budget of one batch: codec frames after padding, and examples."""

    max_frames: int = 4000
    max_examples: int = 64


@dataclass(frozen=True)
class Batches(Sequence[Batch]):
    """Examples sorted by length, and cuts between them. `keys`: uint64, the index in the low bits of `mask`."""

    keys: np.ndarray
    mask: int
    starts: np.ndarray  # int64, of each batch, in the order that the batches are used
    sizes: np.ndarray  # int64

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> Batch:
        start = int(self.starts[number])
        return (self.keys[start : start + int(self.sizes[number])] & np.uint64(self.mask)).tolist()


@dataclass(frozen=True)
class Share(Sequence[Batch]):
    """The batches of one rank from one of its batches on: every `ranks`-th of `batches`."""

    batches: Batches
    ranks: int
    rank: int
    first: int

    def __len__(self) -> int:
        return max(0, len(self.batches) // self.ranks - self.first)

    def __getitem__(self, number: int) -> Batch:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self.batches[(self.first + number) * self.ranks + self.rank]


@dataclass(frozen=True)
class Plan(Sequence[Step]):
    """All optimiser steps of one epoch for all ranks; `steps(first)` starts at any of them at once."""

    batches: Batches
    ranks: int
    accum: int

    @property
    def _rounds(self) -> int:
        return len(self.batches) // self.ranks

    def __len__(self) -> int:
        return -(-self._rounds // self.accum)

    def __getitem__(self, step: int) -> Step:
        if not 0 <= step < len(self):
            raise IndexError(step)
        rounds = range(step * self.accum, min((step + 1) * self.accum, self._rounds))
        return [[self.batches[round_ * self.ranks + rank] for round_ in rounds] for rank in range(self.ranks)]

    def steps(self, first: int = 0) -> Iterator[Step]:
        """The steps from number `first` on."""
        return (self[step] for step in range(first, len(self)))

    def share(self, rank: int, first: int = 0) -> Share:
        """The batches of one rank from step `first` on."""
        return Share(self.batches, self.ranks, rank, first * self.accum)


def plan(lengths: Sequence[int], config: BatchConfig, seed: int, epoch: int, ranks: int, accum: int) -> Plan:
    """All optimiser steps of one epoch.

    Every example is in exactly one batch, and in each step every rank has the same number of batches (`accum`; fewer
    in the last step of the epoch). Only when batches of one example cannot be split further, up to ranks - 1 of them
    are left out of this epoch.

    Args:
        lengths: codec frames of each example.
        seed, epoch: at least 0.
    Raises BucketError when a single example is over the budget, or when there are fewer examples than ranks.
    """
    generator = np.random.default_rng([seed, epoch])
    found = _split_to_multiple(_pack(lengths, config, generator), ranks)
    order = generator.permutation(len(found))
    order = order[: len(order) - len(order) % ranks]
    shuffled = Batches(found.keys, found.mask, found.starts[order], found.sizes[order])
    return Plan(shuffled, ranks, accum)


def pack(lengths: Sequence[int], config: BatchConfig) -> list[Batch]:
    """Batches under the budget, shortest first, neighbours in length together; ties in the order of their index."""
    return list(_pack(lengths, config, None))


def _pack(lengths: Sequence[int], config: BatchConfig, generator: np.random.Generator | None) -> Batches:
    """Batches of neighbours in length; equal lengths stand in the order of random numbers, or of the index if None."""
    sizes = np.asarray(lengths, dtype=np.int64)
    if len(sizes) == 0:
        return Batches(np.zeros(0, np.uint64), 0, *np.zeros((2, 0), np.int64))
    longest = int(sizes.argmax())
    _check_fits(longest, int(sizes[longest]), config)
    keys, mask = _sorted_keys(sizes, generator)
    counts = np.bincount(sizes)
    cuts = _cuts(counts, config)
    return Batches(keys, mask, cuts[:-1], np.diff(cuts))


def _sorted_keys(sizes: np.ndarray, generator: np.random.Generator | None) -> tuple[np.ndarray, int]:
    """One number per example: length, random bits, index, from high to low; sorted. And the mask of the index."""
    low, high = len(sizes).bit_length(), int(sizes.max()).bit_length()
    keys = sizes.astype(np.uint64)
    keys <<= np.uint64(64 - high)
    if generator is not None:
        middle = generator.integers(0, 2 ** min(32, 64 - high - low), len(sizes), dtype=np.uint32, endpoint=False)
        keys |= middle.astype(np.uint64) << np.uint64(low)
    keys |= np.arange(len(sizes), dtype=np.uint64)
    keys.sort()
    return keys, 2**low - 1


def _cuts(counts: np.ndarray, config: BatchConfig) -> np.ndarray:
    """Where batches begin, and the end: counts[l] examples have the length l. One pass over lengths, not examples."""
    cuts, start, position = [np.zeros(1, np.int64)], 0, 0
    for length in np.flatnonzero(counts).tolist():
        # sorted: the newest example is the longest, so it decides the padded size
        room = min(config.max_examples, config.max_frames // max(1, length))
        end = position + int(counts[length])
        if position - start >= room and position > start:  # what is begun takes none of this length
            cuts.append(np.array([position]))
            start = position
        more = np.arange(start + room, end, room)
        cuts.append(more)
        start, position = int(more[-1]) if len(more) else start, end
    return np.concatenate([*cuts, [position]])


def _check_fits(index: int, length: int, config: BatchConfig) -> None:
    if length > config.max_frames:
        what = f"example {index} has {length} frames, over batch.max_frames = {config.max_frames}"
        raise BucketError("E808", what, "", "raise batch.max_frames or crop with data.max_frames")


def _split_to_multiple(batches: Batches, ranks: int) -> Batches:
    """Halve the batches with most examples until their number is a multiple of `ranks`."""
    starts, sizes = batches.starts, batches.sizes
    if not len(batches):
        raise BucketError("E808", "the training set has no examples", "", "check --train")
    if sizes.sum() < ranks:
        raise BucketError("E808", f"{sizes.sum()} examples for {ranks} processes", "", "start fewer processes")
    while len(starts) % ranks:
        largest = int(sizes.argmax())
        half = int(sizes[largest]) // 2
        if half == 0:
            break
        starts = np.append(starts, starts[largest] + half)
        sizes = np.append(sizes, sizes[largest] - half)
        sizes[largest] = half
    return Batches(batches.keys, batches.mask, starts, sizes)
