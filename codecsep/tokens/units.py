"""Runs of equal units <-> single units: SpeechGPT reads units with consecutive duplicates merged."""

import torch
from torch import Tensor


def merged(units: Tensor) -> tuple[Tensor, Tensor]:
    """units [T] -> (units without consecutive duplicates [S], length of each run [S]).

    >>> merged(torch.tensor([5, 5, 5, 2, 5]))
    (tensor([5, 2, 5]), tensor([3, 1, 1]))
    """
    return torch.unique_consecutive(units, return_counts=True)


def spread(units: Tensor, counts: Tensor) -> Tensor:
    """The inverse of `merged`: units [S], run lengths [S] -> [T]."""
    return units.repeat_interleave(counts)
