"""Which estimate belongs to which reference: one permutation per utterance (PIT, Kolbaek et al. 2017)."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import torch

from codecsep.errors import CodecsepError

MAX_SPEAKERS = 6  # 720 permutations; the losses of a batch are compared for all of them at once


class PermutationError(CodecsepError):
    """More speakers than can be assigned."""


def best_permutation(scores) -> list[int]:
    """The assignment of estimates to references with the greatest sum of scores.

    Args:
        scores: [N, E], score of reference n with estimate e, greater is better; nan counts as worse than any number.
            N and E may differ.
    Returns:
        N estimate indices; -1 where a reference has no estimate (E < N). Ties keep the given order.
    """
    from scipy.optimize import linear_sum_assignment

    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2:
        raise ValueError(f"best_permutation: scores must be [references, estimates], got shape {scores.shape}")
    assigned = [-1] * scores.shape[0]
    if scores.size == 0:
        return assigned
    rows, columns = linear_sum_assignment(_tie_broken(scores), maximize=True)
    for row, column in zip(rows, columns, strict=True):
        assigned[row] = int(column)
    return assigned


def _tie_broken(scores: np.ndarray) -> np.ndarray:
    """Finite scores; equal sums prefer the identity by a nudge far below any real difference."""
    finite = scores[np.isfinite(scores)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    span = max(high - low, 1.0)
    filled = np.nan_to_num(scores, nan=low - span, posinf=high + span, neginf=low - span)
    return filled + 1e-9 * span * np.eye(*scores.shape)


def unassigned(assigned: list[int], num_estimates: int) -> list[int]:
    """Indices of the estimates that no reference took (the extra speakers)."""
    return [e for e in range(num_estimates) if e not in assigned]


def pit_loss(pair_losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Permutation-invariant loss of a batch.

    Args:
        pair_losses: [B, N, N], loss of reference n (dim 1) with estimate m (dim 2).
    Returns:
        loss [B], the mean over speakers under the best permutation (differentiable), and permutation [B, N] int64:
        the estimate of each reference.
    Raises:
        ValueError: for a non-square shape. PermutationError: for more than 6 speakers.
    """
    if pair_losses.ndim != 3 or pair_losses.shape[1] != pair_losses.shape[2]:
        raise ValueError(f"pit_loss: pair losses must be [B, N, N], got {tuple(pair_losses.shape)}")
    num_speakers = pair_losses.shape[1]
    if num_speakers > MAX_SPEAKERS:
        what = f"{num_speakers} speakers, at most {MAX_SPEAKERS} are searched exhaustively"
        raise PermutationError("E803", what, "pit_loss", f"train with {MAX_SPEAKERS} speakers at most")
    orders = torch.tensor(list(permutations(range(num_speakers))), device=pair_losses.device)
    references = torch.arange(num_speakers, device=pair_losses.device)
    candidates = pair_losses[:, references, orders].mean(-1)
    loss, best = candidates.min(-1)
    return loss, orders[best]


def reorder(x: torch.Tensor, permutation: torch.Tensor) -> torch.Tensor:
    """Estimates [B, N, ...] put into the order of the references by permutation [B, N]."""
    rows = torch.arange(x.shape[0], device=x.device)[:, None]
    return x[rows, permutation]
