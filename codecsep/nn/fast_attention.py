"""Attention of one query per row: whichever way of computing it is fastest on a device, all with the same result.

Queries [R, 1, E] of R = rows x heads, already scaled by 1 / sqrt(E); keys and values [R, M, E]; mask [R, 1, M] or
[1, 1, M], added, or None.  Returns R * E numbers in that order.  Three axes, because torch brings four to three at each
product.

One query per head is bound by memory, so what counts is how evenly keys and values are read. Measured on one core of an
AMD EPYC (Zen 4), 8 rows, 4 heads of 64, 448 positions (the core reads 22 GB/s): fused fp32 14 GB/s; products of matrix
and vector, the values of a memory turned so that their positions follow each other, 18 GB/s (16 rows: 10 against 18);
in bf16 the fused kernel 2 GB/s and plain products 12.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
FEW_HEADS = 128  # on a GPU: rows x heads below which one query each does not fill the chip with the fused kernel


def attend_fused(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """torch's own kernel, for which all are heads of one row."""
    mask = None if mask is None else mask[None]
    return F.scaled_dot_product_attention(queries[None], keys[None], values[None], attn_mask=mask, scale=1.0)


def attend_matmul(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Rows times matrices."""
    scores = torch.bmm(queries, keys.transpose(1, 2))
    return torch.bmm(torch.softmax(scores if mask is None else scores.add_(mask), -1), values)


def attend_matvec(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Matrices times columns; values that are not turned are multiplied from the left."""
    scores = torch.bmm(keys, queries.transpose(1, 2)).transpose(1, 2)
    weights = torch.softmax(scores if mask is None else scores.add_(mask), -1)
    if values.stride(-1) == 1:
        return torch.bmm(weights, values)
    return torch.bmm(values.transpose(1, 2), weights.transpose(1, 2))


KINDS: dict[str, Attend] = {"fused": attend_fused, "matmul": attend_matmul, "matvec": attend_matvec}


def choose(kind: str, device: torch.device, dtype: torch.dtype, heads: int) -> Attend:
    """The function named `kind`, or for "auto" the fastest; heads: rows x heads."""
    if kind != "auto":
        return KINDS[kind]
    if device.type == "cpu":
        return attend_matvec if dtype == torch.float32 else attend_matmul
    return attend_fused if heads >= FEW_HEADS else attend_matmul


def arranged(values: Tensor, kind: str) -> Tensor:
    """Values of a memory as the attention wants them in memory; its shape stays."""
    turn = values.device.type == "cpu" and values.dtype == torch.float32 and kind in ("auto", "matvec")
    return values.mT.contiguous().mT if turn else values.contiguous()
