"""int8 products for decoding: the only file that knows how torch offers them.

On a CPU the inputs are quantised too, each row with its own scale, so that a row's result does not depend on the rows
beside it (torch's own dynamic quantisation takes one scale for the whole batch). The integer sums are exact, hence a
batch of one equals a batch of many bit for bit. On a GPU only the weights are int8: they are all that a small batch
has to read.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from codecsep.errors import CodecsepError

LARGEST = 127  # of a symmetric int8
MIDDLE = 128  # zero of the unsigned inputs
SMALLEST_SCALE = 1e-30  # of a row of zeros


class Int8Error(CodecsepError):
    """This build of torch, or this device, has no int8 products."""


def channel_scales(weight: Tensor) -> Tensor:
    """The scale of each row of a weight [O, I], float32 [O]."""
    return weight.detach().float().abs().amax(1).clamp_min(SMALLEST_SCALE) / LARGEST


class Int8Linear:
    """x float32 [B, I] -> float32 [B, O] with int8 weights [O, I] (a scale per output) and inputs (a scale per row)."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        try:
            self.multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default
            self.weight = _prepack(weight)
        except (AttributeError, RuntimeError) as error:
            raise _missing(f"torch {torch.__version__} on {weight.device}") from error
        self.bias = weight.new_zeros(len(weight)) if bias is None else bias.detach().float()

    def __call__(self, inputs: Tensor) -> Tensor:
        scales = inputs.abs().amax(1, keepdim=True).clamp_min_(SMALLEST_SCALE)
        return torch.addcmul(self.bias, self.multiply(inputs / scales, 1.0 / LARGEST, MIDDLE, self.weight), scales)


class WeightOnlyLinear:
    """x bfloat16 [B, I] -> bfloat16 [B, O] with int8 weights [O, I] and a scale per output."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        scales = channel_scales(weight)
        self.weight = (weight.detach().float() / scales[:, None]).round().to(torch.int8)
        self.scales = scales.bfloat16()
        self.bias = None if bias is None else bias.detach().bfloat16()
        try:
            torch._weight_int8pack_mm(weight.new_zeros(1, weight.shape[1]).bfloat16(), self.weight, self.scales)
        except (AttributeError, RuntimeError) as error:
            raise _missing(f"torch {torch.__version__} on {weight.device}") from error

    def __call__(self, inputs: Tensor) -> Tensor:
        product = torch._weight_int8pack_mm(inputs, self.weight, self.scales)
        return product if self.bias is None else product + self.bias


def _prepack(weight: Tensor) -> object:
    scales = channel_scales(weight)
    zeros = torch.zeros(len(weight), dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch means to remove it: then there is Int8Error
        quantised = torch.quantize_per_channel(weight.detach().float(), scales, zeros, 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(quantised, None)


def _missing(what: str) -> Int8Error:
    return Int8Error("E537", f"{what} has no int8 products", "--precision int8", "give --precision bf16 or fp32")
