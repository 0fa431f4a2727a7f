"""Multiply-accumulates of a module by two counters that know nothing of each other.

`torch_macs`: torch's FlopCounterMode, which sees every product that runs (convolutions, matrix products, recurrent
layers, attention). Fused kernels hide their products from it, so that attention and recurrent layers run in their plain
form. `thop_macs`: thop (optional), which adds up formulas of the modules that
it knows. It counts a transposed convolution by its output, which is too much by its stride, and does not see products
outside of a module (attention). FFTs, norms, activations and look-ups are not counted by either.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from codecsep.nn.transformer import count_parameters

Inputs = tuple[torch.Tensor, ...]
Made = tuple[nn.Module, Inputs]
Make = Callable[[float], Made]


@dataclass(frozen=True)
class Count:
    """Multiply-accumulates by both counters (thop: None where it is not installed), and the parameters."""

    torch: float
    thop: float | None
    parameters: int

    def __add__(self, other: Count) -> Count:
        both = self.thop is not None and other.thop is not None
        thop = self.thop + other.thop if both else None
        return Count(self.torch + other.torch, thop, self.parameters + other.parameters)

    def runs(self, times: int) -> Count:
        """The same network run so many times."""
        return Count(self.torch * times, None if self.thop is None else self.thop * times, self.parameters)


def count(make: Make, seconds: float, device: str = "meta") -> Count:
    """Of what `make` makes, in evaluation mode, over so many seconds of audio.

    On the meta device nothing is computed. A network that looks at values while it runs has to run on `cpu`.
    """
    with torch.device(device), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the weight norm that packages use
        module, inputs = make(seconds)
        module.eval()
        return Count(torch_macs(module, inputs), thop_macs(module, inputs), count_parameters(module))


def torch_macs(module: Callable, inputs: Inputs) -> float:
    """Multiply-accumulates of module(*inputs)."""
    with torch.no_grad(), plain_kernels(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops() / 2


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Attention as products, and neither oneDNN's LSTMs nor its convolutions."""
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mkldnn.enabled = before


def has_thop() -> bool:
    return importlib.util.find_spec("thop") is not None


def thop_macs(module: nn.Module, inputs: Inputs) -> float | None:
    """What thop counts of module(*inputs); None where it is not installed."""
    if not has_thop():
        return None
    from thop import profile
    from thop.profile import register_hooks

    # it looks a rule up by the very class, and weight norm makes a class of its own of every module
    normed = {type(part): type(part).__mro__[1] for part in module.modules() if parametrize.is_parametrized(part)}
    rules = {own: register_hooks[plain] for own, plain in normed.items() if plain in register_hooks}
    with torch.no_grad(), torch.device("cpu"):  # its sums are tensors; what it counts stays where it is
        return float(profile(module, inputs=inputs, custom_ops=rules, verbose=False)[0])
