"""Multiply-accumulates of a module by two counters that know nothing of each other.

`torch_macs`: torch's FlopCounterMode, which sees every product that runs (convolutions, matrix products, recurrent
layers, attention), on the meta device, where nothing is computed. The fused attention kernels hide their products from
it, so that attention runs in its plain form. `thop_macs`: thop (optional), which adds up formulas of the modules that
it knows. It counts a transposed convolution by its output, which is too much by its stride, and does not see products
outside of a module (attention). FFTs, norms, activations and look-ups are not counted by either.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

Inputs = tuple[torch.Tensor, ...]


def torch_macs(module: Callable, inputs: Inputs) -> float:
    """Multiply-accumulates of module(*inputs)."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops() / 2


def has_thop() -> bool:
    return importlib.util.find_spec("thop") is not None


def thop_macs(module: nn.Module, inputs: Inputs) -> float | None:
    """What thop counts of module(*inputs); None where it is not installed."""
    if not has_thop():
        return None
    from thop import profile

    with torch.no_grad(), torch.device("cpu"):  # its sums are tensors; what it counts stays where it is
        return float(profile(module, inputs=inputs, verbose=False)[0])
