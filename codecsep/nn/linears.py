"""Linear layers for inference alone: the weight is brought once into the form that the machine multiplies fastest.

Measured on one core of an AMD EPYC (Zen 4), 8 rows, layers of 256 x 1024: torch's own fp32 product takes 160-230 us,
oneDNN's with a prepacked weight 80-120, in bf16 50-65, int8 with a scale per row 40-50.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from codecsep.nn.int8 import Int8Linear, WeightOnlyLinear

Linear = Callable[[Tensor], Tensor]
Added = Callable[[Tensor, Tensor], Tensor]  # inputs [B, I] and what is added to the product [B, O]


class PlainLinear:
    """x [B, I] -> [B, O], as torch multiplies."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self.weight, self.bias = weight, bias

    def __call__(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs, self.weight, self.bias)


class PrepackedLinear:
    """x [B, I] -> [B, O] by oneDNN, the weight [O, I] reordered once (what torch.compile does when it freezes).

    activation: "none", or "gelu" (exact), applied before the result goes to memory.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "none"):
        self.weight, self.bias = torch.ops.mkldnn._reorder_linear_weight(weight, None), bias
        self.activation = activation
        self.multiply = torch.ops.mkldnn._linear_pointwise.default

    def __call__(self, inputs: Tensor) -> Tensor:
        return self.multiply(inputs, self.weight, self.bias, self.activation, [], "none")

    def add(self, inputs: Tensor, others: Tensor) -> Tensor:
        """others + product, in one operation; without activation."""
        return torch.ops.mkldnn._linear_pointwise.binary(inputs, others, self.weight, self.bias, "add")


def can_prepack() -> bool:
    """Does this build of torch multiply with prepacked weights?  These operators are torch's own business and may go:
    then everything works, only slower."""
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        unit = torch.eye(8)
        layer, wanted = PrepackedLinear(unit, None, "gelu"), F.gelu(unit)
        return torch.allclose(layer(unit), wanted, atol=1e-6) and torch.equal(layer.add(unit, unit), unit + unit)
    except (AttributeError, RuntimeError):
        return False


def make_linear(weight: Tensor, bias: Tensor | None, precision: str) -> Linear:
    """The fastest form of a layer with weight [O, I] and bias [O] on the weight's own device.

    precision: "fp32" or "bf16" (inputs and outputs too), or "int8": int8 products of fp32 inputs on a CPU, int8 weights
    and bf16 inputs on a GPU.  Raises Int8Error where that cannot be had.
    """
    if precision == "int8":
        return Int8Linear(weight, bias) if weight.device.type == "cpu" else WeightOnlyLinear(weight, bias)
    kind = PrepackedLinear if weight.device.type == "cpu" and can_prepack() else PlainLinear
    return kind(*_cast(weight, bias, precision))


def make_gelu_linear(weight: Tensor, bias: Tensor | None, precision: str) -> Linear:
    """As `make_linear`, with exact GELU afterwards."""
    if precision != "int8" and weight.device.type == "cpu" and can_prepack():
        return PrepackedLinear(*_cast(weight, bias, precision), "gelu")
    layer = make_linear(weight, bias, precision)
    return lambda inputs: F.gelu(layer(inputs))


def make_added_linear(weight: Tensor, bias: Tensor | None, precision: str) -> Added:
    """As `make_linear`, as a branch of a residual network: the product is added to a second argument."""
    layer = make_linear(weight, bias, precision)
    return layer.add if isinstance(layer, PrepackedLinear) else lambda inputs, others: others + layer(inputs)


def _cast(weight: Tensor, bias: Tensor | None, precision: str) -> tuple[Tensor, Tensor | None]:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return weight.detach().to(dtype).contiguous(), None if bias is None else bias.detach().to(dtype)
