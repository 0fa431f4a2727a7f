"""What a decoding step must move and compute, by formula, and what this machine can do, measured.

A step of B rows reads every weight of the decoder once, each row's keys and values of the past and of the memory, and
multiplies every row with every weight. The shorter of two times no implementation can beat: bytes / bandwidth and
products / arithmetic; the larger of them is the floor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from codecsep.bin.bench_timing import Clock, median
from codecsep.nn.linears import make_linear

REPEATS = 5


@dataclass(frozen=True)
class StepSize:
    """A decoder in the wiring of nn/transformer.py and the state of its rows.

    cached: positions that a row reads in self-attention (the mean over the steps); value_bytes: of a cached number;
    weight_bytes: of a weight; head_bytes: of a weight of the output layer.
    """

    num_layers: int
    width: int
    ffn_width: int
    vocab_size: int
    memory: int
    cached: float
    batch: int
    weight_bytes: float = 4.0
    value_bytes: float = 4.0
    head_bytes: float = 4.0

    @property
    def layers(self) -> int:
        """Weights of the layers read in a step: q, k, v, o of self-attention, q and o of cross-attention (keys and
        values of the memory are computed once), both layers of the MLP. Biases and norms are left out."""
        return self.num_layers * (6 * self.width**2 + 2 * self.width * self.ffn_width)

    @property
    def head(self) -> int:
        """Weights of the output layer."""
        return self.vocab_size * self.width

    @property
    def values(self) -> float:
        """Cached numbers that a row reads: keys and values of the past and of the memory, in every layer."""
        return 2 * self.num_layers * self.width * (self.cached + self.memory)

    @property
    def bytes(self) -> float:
        weights = self.layers * self.weight_bytes + self.head * self.head_bytes
        return weights + self.batch * self.values * self.value_bytes

    @property
    def flops(self) -> float:
        """Two per product: of each row with each weight and with each cached number."""
        return 2.0 * self.batch * (self.layers + self.head + self.values)

    def floor(self, bandwidth: float, arithmetic: float = float("inf")) -> float:
        """Seconds that a step takes at least, with so many bytes/s and flop/s."""
        return max(self.bytes / bandwidth, self.flops / arithmetic)


def copy_bandwidth(num_bytes: float, device: str, clock: Clock) -> float:
    """Bytes/s read and written by copying so many bytes to and fro; the working set is num_bytes."""
    size = max(int(num_bytes) // 8, 4096)  # half of it is read, half written, four bytes each
    source, target = torch.zeros(size, device=device), torch.zeros(size, device=device)
    count = max(1, int(2**28 // (8 * size)))
    return 8 * size * count / _best(lambda: [target.copy_(source) for _ in range(count)], clock)


def product_rate(precision: str, size: int, device: str, clock: Clock) -> float:
    """Flop/s of [size, size] times [size, size] in the form in which our layers multiply at this precision.

    Raises Int8Error where there are no int8 products.
    """
    layer = make_linear(torch.eye(size, device=device), None, precision)
    is_wide = precision == "fp32" or (precision == "int8" and torch.device(device).type == "cpu")
    inputs = torch.ones(size, size, device=device, dtype=torch.float32 if is_wide else torch.bfloat16)
    flops = 2.0 * size**3
    count = max(1, int(2**31 // flops))
    return flops * count / _best(lambda: [layer(inputs) for _ in range(count)], clock)


def _best(work: Callable[[], object], clock: Clock) -> float:
    """Median seconds of REPEATS runs after one that warms up."""
    work()
    return median([clock(work) for _ in range(REPEATS)])
