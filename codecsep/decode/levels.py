"""Levels 1 .. K-1 one after the other, all steps of a level at once (NAR; SLM-SS section 2.3: argmax per level)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from codecsep.tokens.vocab import Vocab

LevelStep = Callable[[Tensor, int], Tensor]
LevelChoice = Callable[[Tensor, int], Tensor]


def argmax(logits: Tensor, level: int) -> Tensor:
    """The likeliest code: logits [B, S, size] of codes -> ids [B, S]."""
    return logits.argmax(dim=-1)


def nearest_to_mean(logits: Tensor, vectors: Tensor) -> Tensor:
    """The code whose vector is nearest to the expected vector: the choice of least expected squared error.

    Where the network is unsure its likeliest code is a random residual, which the decoder hears as noise; the mean is
    then near zero, and so is the code chosen here.  logits [B, S, size], vectors [size, D] -> ids [B, S].
    """
    mean = logits.float().softmax(-1) @ vectors
    return (mean @ vectors.T - 0.5 * vectors.square().sum(-1)).argmax(dim=-1)


def decode(
    level_step: LevelStep, level0: Tensor, vocab: Vocab, num_codebooks: int, choose: LevelChoice = argmax
) -> Tensor:
    """Fill in the higher levels of a padded batch of sequences.

    Args:
        level_step: (sequence [B, k, S], level k) -> logits [B, S, V] of level k at the same steps (no shift).
        level0: [B, S] int64, with specials and vocab.pad.
        num_codebooks: K, at least 1.
        choose: (logits of the codes [B, S, size], level) -> ids [B, S].

    Returns:
        [B, K, S]. The choice is among codes only; where level 0 holds a special or padding, every level copies it, so
        that all levels are cut at the same steps.

    Raises:
        ValueError: num_codebooks is below 1.
    """
    if num_codebooks < 1:
        raise ValueError(f"num_codebooks is {num_codebooks}; it must be at least 1")
    is_code = vocab.is_code(level0)
    sequence = level0[:, None]
    for level in range(1, num_codebooks):
        codes = choose(level_step(sequence, level)[..., : vocab.codebook_size], level)
        sequence = torch.cat([sequence, torch.where(is_code, codes, level0)[:, None]], dim=1)
    return sequence
