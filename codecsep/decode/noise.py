"""Random numbers of the sampler: a function of (seed, key of the row, step, token) and of nothing else.

Each row owns the SplitMix64 stream (Steele, Lea, Flood 2014) that starts at the SHA-256 of its seed and key; step n,
token v reads place n * V + v of it. So a row samples the same tokens alone, in any batch, after other rows have left,
and on any device; and there is no generator to carry or to reorder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed number; int64 arithmetic wraps around
MIXERS = ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15))  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
FRACTION_BITS = 52


class GumbelNoise:
    """Independent standard Gumbel noise per row; argmax(logits + noise) is a draw from softmax(logits)."""

    def __init__(self, seed: int, keys: Sequence[str], device: torch.device | str = "cpu") -> None:
        self.seed = seed
        self.starts = self._starts(keys).to(device)

    def at(self, step: int | Tensor, vocab_size: int, tokens: Tensor | None = None) -> Tensor:
        """The noise of one step, float32.

        step: one for all rows, or one per row ([B] int64), for rows that began at different times.
        tokens: [B, n] int64, the only tokens for which noise is wanted; all of 0 .. vocab_size - 1 when left out.
        Returns [B, V], or [B, n]: the same numbers, picked.
        """
        steps = torch.as_tensor(step, device=self.starts.device).reshape(-1, 1)
        return self.at_steps(steps, vocab_size, None if tokens is None else tokens[:, None]).squeeze(1)

    def at_steps(self, steps: Tensor, vocab_size: int, tokens: Tensor | None = None) -> Tensor:
        """The noise of several steps: steps [B or 1, n] int64, tokens None or [B, n, k] -> [B, n, V] or [B, n, k]."""
        if tokens is None:
            tokens = torch.arange(vocab_size, device=self.starts.device)
        places = steps[..., None] * vocab_size + 1 + tokens
        bits = _mix(self.starts[:, None, None] + places * GOLDEN)
        uniform = (_shift(bits, 64 - FRACTION_BITS).double() + 0.5) * 2.0**-FRACTION_BITS  # never 0, never 1
        return (-(-uniform.log()).log()).float()

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows ([B'] int64), in this order."""
        self.starts = self.starts[rows]

    def admit(self, slots: Tensor, keys: Sequence[str]) -> None:
        """New rows with these keys in the places `slots` ([n] int64); give `at` the steps of each row from now on."""
        self.starts.index_copy_(0, slots, self._starts(keys).to(self.starts.device))

    def _starts(self, keys: Sequence[str]) -> Tensor:
        return torch.tensor([_start(self.seed, key) for key in keys], dtype=torch.int64)


def _start(seed: int, key: str) -> int:
    digest = hashlib.sha256(f"{seed}\n{key}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def _shift(bits: Tensor, count: int) -> Tensor:
    """Logical shift to the right: torch's own one copies the sign."""
    return (bits >> count) & ((1 << (64 - count)) - 1)


def _mix(bits: Tensor) -> Tensor:
    for count, factor in MIXERS:
        bits = (bits ^ _shift(bits, count)) * factor
    return bits ^ _shift(bits, 31)
