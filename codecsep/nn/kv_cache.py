"""Keys and values of past steps, so that a decoding step costs one position instead of all."""

from __future__ import annotations

import torch
from torch import Tensor


class KVCache:
    """Room for `capacity` steps of B rows, taken once and doubled when it runs out; rows can be dropped or reordered.

    All rows advance together; a row that has ended leaves through `keep`.
    """

    def __init__(self, capacity: int = 256):
        self.capacity = capacity
        self.length = 0
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add steps [B, H, s, D] and return all steps so far [B, H, length, D]."""
        if self._keys is None:
            self.capacity = max(self.capacity, keys.shape[2])
            self._keys, self._values = self._room(keys, self.capacity), self._room(values, self.capacity)
        while self.length + keys.shape[2] > self.capacity:
            self._keys = torch.cat([self._keys, torch.empty_like(self._keys)], 2)
            self._values = torch.cat([self._values, torch.empty_like(self._values)], 2)
            self.capacity *= 2
        end = self.length + keys.shape[2]
        self._keys[:, :, self.length : end] = keys
        self._values[:, :, self.length : end] = values
        self.length = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows (int64 [B']), in this order; a row may be named twice (beam search)."""
        if self._keys is not None:
            self._keys, self._values = self._keys[rows], self._values[rows]

    @staticmethod
    def _room(like: Tensor, capacity: int) -> Tensor:
        return like.new_empty(like.shape[0], like.shape[1], capacity, like.shape[3])
