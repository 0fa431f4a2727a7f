"""Binary spherical quantisation (Zhao et al. 2024, arXiv 2406.07548): one bit for each dimension of a unit vector.

A latent of d dimensions is replaced by the corner of the cube on the unit sphere that is nearest: the signs of its
values, each 1/sqrt(d) long.  The code is the number those bits write, the first dimension being the most significant
bit; zero counts as negative.  There is nothing to learn and no table to keep.
"""

from __future__ import annotations

import torch
from torch import Tensor


def bit_values(num_bits: int, device: torch.device | None = None) -> Tensor:
    """What each bit is worth, the most significant first: 3 -> [4, 2, 1], int64."""
    return 1 << torch.arange(num_bits - 1, -1, -1, device=device)


def to_codes(latents: Tensor) -> Tensor:
    """latents [.., d], of any length -> codes [..] int64 in 0 .. 2**d - 1."""
    return ((latents > 0) * bit_values(latents.shape[-1], latents.device)).sum(-1)


def to_vectors(codes: Tensor, num_bits: int) -> Tensor:
    """codes [..] -> unit vectors [.., num_bits] float32 whose values are +-1/sqrt(num_bits)."""
    bits = (codes[..., None] & bit_values(num_bits, codes.device)) != 0
    return (bits.float() * 2 - 1) * num_bits**-0.5
