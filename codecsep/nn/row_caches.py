"""Keys and values of the rows that are decoded together, for all layers: room is taken ahead, rows move in place.

`LockstepCache`: all rows have begun together and have the same length; nothing needs a mask.
`SlotCache`: every row has a length of its own and a new row may take the place of one that has ended; lengths live on
the device and the shapes change only when the window grows, so that a step can be captured as a CUDA graph.
`Memories`: what cross-attention reads, projected once per row.

A layer of a cache is one tensor [2, B, H, room, D / H], keys and values; of a memory it is two, since its values may
lie in another order (`fast_attention`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NEVER = float("-inf")


@dataclass(frozen=True)
class CacheShape:
    """What all caches of a decoder share."""

    num_layers: int
    num_heads: int
    head_width: int
    dtype: torch.dtype
    device: torch.device

    def layer(self, rows: int, room: int) -> Tensor:
        """Zeros: what a mask hides is multiplied by 0 all the same, and must not be NaN."""
        size = (2, rows, self.num_heads, room, self.head_width)
        return torch.zeros(size, dtype=self.dtype, device=self.device)


def moved(buffer: Tensor, rows: Tensor, dim: int = 0) -> Tensor:
    """The rows `rows` (int64 [B']) of `buffer`, in this order, at the front of the same memory where they fit.

    Only rows that change their place are copied: when a batch loses a row and the last one takes its place, one.
    """
    if len(rows) > buffer.shape[dim]:
        return buffer.index_select(dim, rows)
    places = (rows != torch.arange(len(rows), device=rows.device)).nonzero().flatten()
    if len(places):
        buffer.index_copy_(dim, places, buffer.index_select(dim, rows[places]))
    return buffer.narrow(dim, 0, len(rows))


def grown(buffer: Tensor, room: int, used: int) -> Tensor:
    """The same tensor [.., room, E] with space for `room` positions, of which the first `used` are copied; its strides
    in the same order."""
    *leading, _, width = buffer.shape
    is_turned = buffer.stride(-2) == 1 < buffer.stride(-1)
    larger = buffer.new_zeros(*leading, width, room).mT if is_turned else buffer.new_zeros(*leading, room, width)
    larger[..., :used, :] = buffer[..., :used, :]
    return larger


class LockstepCache:
    """Rows of one length.

    bucket: what is read is a multiple of so many positions, those after the length hidden by a mask, and there is never
    more room than that.  1: no mask, room ahead.  In bf16 on a CPU oneDNN makes a kernel for every new length, which
    takes longer than the step, and copies what does not lie in one piece.
    """

    def __init__(self, shape: CacheShape, rows: int, room: int, bucket: int = 1):
        self.length, self.room, self.bucket = 0, room if bucket == 1 else bucket, bucket
        self.window, self.mask = 0, None
        self.hidden = torch.full((1, 1, self.room), NEVER, dtype=shape.dtype, device=shape.device)
        room = self.room
        self.layers = [shape.layer(rows, room) for _ in range(shape.num_layers)]
        self.flat = [_flat(*layer) for layer in self.layers]

    def advance(self) -> None:
        """One position more; half as much room again where there was none left."""
        if self.length == self.room:
            self.room += max(self.room // 2, 1) if self.bucket == 1 else self.bucket
            self.layers = [grown(layer, self.room, self.length) for layer in self.layers]
            self.flat = [_flat(*layer) for layer in self.layers]
            self.hidden = torch.cat([self.hidden, self.hidden.new_full((1, 1, self.room - self.length), NEVER)], 2)
        self.length += 1
        self.window = _ceil(self.length, self.bucket)
        if self.bucket > 1:
            self.hidden.select(2, self.length - 1).zero_()
            self.mask = self.hidden.narrow(2, 0, self.window)

    def write(self, layer: int, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """Query, key and value [B, 3 D] of this position -> keys and values so far, [B * H, window, D / H]."""
        buffer = self.layers[layer]
        buffer.select(3, self.length - 1).copy_(_pairs(qkv, buffer).transpose(0, 1))
        keys, values = self.flat[layer]
        return keys.narrow(1, 0, self.window), values.narrow(1, 0, self.window)

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows (int64 [B']), in this order; a row may be named more than once."""
        self.layers = [self._kept(layer, rows) for layer in self.layers]
        self.flat = [_flat(*layer) for layer in self.layers]

    def _kept(self, layer: Tensor, rows: Tensor) -> Tensor:
        if len(rows) > layer.shape[1]:
            return layer.index_select(1, rows)
        moved(layer[:, :, :, : self.window], rows, 1)
        return layer[:, : len(rows)]


class SlotCache:
    """Rows of lengths of their own.

    plan() is the host's part of a step: it makes room and says how many positions the step will look at, a multiple of
    `bucket`.  advance() is the device's part; it never waits for the host.
    """

    def __init__(self, shape: CacheShape, rows: int, room: int, bucket: int):
        self.bucket, self.room = bucket, _ceil(room, bucket)
        self.counts = [0] * rows
        self.window = bucket
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=shape.device)
        self.layers = [shape.layer(rows, self.room) for _ in range(shape.num_layers)]
        self.flat = [_flat(*layer) for layer in self.layers]
        self.rows = torch.arange(rows, device=shape.device)
        self.mask: Tensor | None = None
        self.places = self.lengths

    def plan(self) -> int:
        """The window of the step to come; takes more room when it is needed."""
        self.counts = [count + 1 for count in self.counts]
        self.window = _ceil(max(self.counts, default=1), self.bucket)
        if self.window > self.room:
            used, self.room = self.room, _ceil(self.window + self.window // 2, self.bucket)
            self.layers = [grown(layer, self.room, used) for layer in self.layers]
            self.flat = [_flat(*layer) for layer in self.layers]
        return self.window

    def advance(self) -> None:
        """One position more for every row, and the mask of what each may read."""
        self.places = self.lengths.clone()
        self.lengths.add_(1)
        self.mask = padding_mask(self.lengths, self.window, self.layers[0].shape[2], self.layers[0].dtype)

    def write(self, layer: int, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """Query, key and value [B, 3 D] at each row's own position -> keys and values, [B * H, window, D / H]."""
        buffer = self.layers[layer]
        buffer[:, self.rows, :, self.places] = _pairs(qkv, buffer).to(buffer.dtype)
        keys, values = self.flat[layer]
        return keys[:, : self.window], values[:, : self.window]

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows (int64 [B']), in this order; a row may be named more than once."""
        self.layers = [moved(layer, rows, 1) for layer in self.layers]
        self.flat = [_flat(*layer) for layer in self.layers]
        self.counts = [self.counts[row] for row in rows.tolist()]
        self.lengths = self.lengths[rows]
        self.rows = torch.arange(len(rows), device=self.lengths.device)

    def restart(self, slots: Sequence[int]) -> None:
        """The rows at these places begin anew."""
        for slot in slots:
            self.counts[slot] = 0
        self.lengths.index_fill_(0, torch.tensor(slots, device=self.lengths.device), 0)


class Memories:
    """Projected memories of B rows, padded to a common number of frames; `mask` hides the padding."""

    def __init__(self, layers: list[tuple[Tensor, Tensor]], lengths: Tensor):
        """layers: keys and values [B, H, M, D / H] each; lengths: [B] int64, frames of each row."""
        self.layers, self.lengths = layers, lengths
        self.flat = [_flat(*layer) for layer in layers]
        self.mask = self._mask()

    @property
    def room(self) -> int:
        return self.layers[0][0].shape[2]

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows (int64 [B']), in this order; a row may be named more than once."""
        self.layers = [(moved(keys, rows), moved(values, rows)) for keys, values in self.layers]
        self.flat = [_flat(*layer) for layer in self.layers]
        self.lengths = self.lengths[rows]
        self.mask = None if self.mask is None else self._full_mask()

    def put(self, slots: Tensor, other: Memories) -> None:
        """The rows of `other`, which is not longer, in the places `slots` (int64 [n]), in place."""
        for pair, new in zip(self.layers, other.layers, strict=True):
            for mine, fresh in zip(pair, new, strict=True):
                mine[slots, :, : other.room] = fresh
        self.lengths.index_copy_(0, slots, other.lengths)
        if self.mask is not None:
            self.mask.copy_(self._full_mask())

    def widen(self, room: int) -> None:
        """Space for `room` frames, and a mask from now on: rows that come later may be shorter."""
        if room > self.room:
            used = self.room
            self.layers = [(grown(keys, room, used), grown(values, room, used)) for keys, values in self.layers]
            self.flat = [_flat(*layer) for layer in self.layers]
        self.mask = self._full_mask()

    def _mask(self) -> Tensor | None:
        """None where no row is padded: attention without a mask is faster."""
        return None if bool((self.lengths == self.room).all()) else self._full_mask()

    def _full_mask(self) -> Tensor:
        keys = self.layers[0][0]
        return padding_mask(self.lengths, self.room, keys.shape[1], keys.dtype)


def padding_mask(lengths: Tensor, room: int, num_heads: int, dtype: torch.dtype) -> Tensor:
    """lengths [B] -> [B * H, 1, room]: 0 before the end of the row, -inf after it."""
    hidden = torch.arange(room, device=lengths.device) >= lengths[:, None]
    mask = torch.zeros(hidden.shape, dtype=dtype, device=lengths.device).masked_fill_(hidden, NEVER)
    return mask[:, None].expand(-1, num_heads, -1).reshape(-1, 1, room)


def _flat(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """[B, H, M, E] -> [B * H, M, E], of the same memory."""
    return keys.flatten(0, 1), values.flatten(0, 1)


def _pairs(qkv: Tensor, buffer: Tensor) -> Tensor:
    """[B, 3 D] -> keys and values [B, 2, H, E]."""
    return qkv.view(len(qkv), 3, buffer.shape[2], buffer.shape[4]).narrow(1, 1, 2)


def _ceil(size: int, step: int) -> int:
    return -(-size // step) * step
