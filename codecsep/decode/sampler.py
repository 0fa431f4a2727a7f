"""The sampler: which tokens stay in the choice, and the draw among them. Pure functions of logits.

A draw is the argmax of logits + Gumbel noise (a sample of their softmax), so its randomness comes in as numbers that
belong to the token, not to the order in which tokens stand. Top-k comes before top-p, as in Hugging Face's chain, and
top-p then works on the k values that are left: it needs no sort of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NEVER = float("-inf")
NoiseOf = Callable[[Tensor | None], Tensor]


@dataclass(frozen=True)
class Sampling:
    """temperature: logits are divided by it; top_k: 0 = all; top_p: 1 = all. Checked where options are made."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


def draw(logits: Tensor, sampling: Sampling, noise_of: NoiseOf) -> Tensor:
    """logits [.., V] -> ids [..] int64; a token of -inf is never drawn.

    noise_of: ids [.., k] of the candidates, or None for all in order -> their Gumbel noise, [.., k] or [.., V].
    """
    values, ids = candidates(logits, sampling)
    place = (values + noise_of(ids)).argmax(dim=-1)
    return pick(ids, place)


def pick(ids: Tensor | None, place: Tensor) -> Tensor:
    """The ids at these places ([..] int64) of the candidates; None: all tokens in order."""
    return place if ids is None else ids.gather(-1, place[..., None]).squeeze(-1)


def candidates(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor | None]:
    """The tokens that stay in the choice.

    logits [.., V] -> tempered logits (-inf: dropped) and ids: with top-k [.., k] both, the best first, else all tokens
    in order and None. Of tokens that tie with the k-th as many stay as there is room for; of those that tie with the
    last of top-p all.
    """
    values, ids = logits / sampling.temperature, None
    if 0 < sampling.top_k < logits.shape[-1]:
        values, ids = values.topk(sampling.top_k, dim=-1)
    if sampling.top_p < 1.0:
        falling = values if ids is not None else _falling(values)
        values = values.masked_fill(values < _nucleus_floor(falling, sampling.top_p), NEVER)
    return values, ids


def _nucleus_floor(falling: Tensor, p: float) -> Tensor:
    """The worst of the fewest best values whose probabilities reach p (at least one): [.., k] -> [.., 1]."""
    probabilities = falling.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # what the better tokens hold already
    last = (before < p).sum(dim=-1, keepdim=True).clamp(min=1) - 1
    return falling.gather(-1, last)


def _falling(values: Tensor) -> Tensor:
    """Sorted along the last axis. On a CPU by numpy, which sorts a vocabulary five times faster than torch."""
    if values.device.type != "cpu":
        return values.sort(dim=-1, descending=True).values
    return torch.from_numpy(np.sort(values.detach().float().numpy(), axis=-1)).flip(-1)
