"""Random draws that training needs: samples of logits, and ids of which a share is replaced."""

from __future__ import annotations

import torch
from torch import Tensor


def sample(logits: Tensor) -> Tensor:
    """One id per distribution, logits [.., V] -> [..]: the argmax of logits plus Gumbel noise."""
    return (logits.float() - torch.empty_like(logits, dtype=torch.float32).exponential_().log()).argmax(-1)


def replace_share(ids: Tensor, others: Tensor, share: float, allowed: Tensor) -> Tensor:
    """A random `share` of the ids [..] where `allowed` [..] becomes what stands in `others` [..]."""
    if share == 0:
        return ids
    return torch.where((torch.rand(ids.shape, device=ids.device) < share) & allowed, others, ids)


def draw_levels(batch: int, num_levels: int, decay: float, device: torch.device) -> Tensor:
    """A level 1..num_levels for each row [B]; level i + 1 is drawn `decay` times as often as level i (1: uniform)."""
    chances = decay ** torch.arange(num_levels, device=device, dtype=torch.float32)
    return torch.multinomial(chances, batch, replacement=True) + 1


def levels_in_turn(batch: int, num_levels: int, device: torch.device) -> Tensor:
    """A level 1..num_levels for each row [B], one after the other, so that a validation is repeatable."""
    return torch.arange(batch, device=device) % num_levels + 1
