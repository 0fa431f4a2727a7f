"""Residual vector quantisation with codebooks that follow the data by exponential moving averages.

Facts: residual VQ and quantiser dropout as in SoundStream (Zeghidour et al. 2021), EMA updates as in VQ-VAE (van den
Oord et al. 2017, appendix), dead-code revival as in Jukebox (Dhariwal et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class QuantizeConfig:
    """Residual quantiser.  `dropout`: share of training examples that use only the first n ~ U{1..K} levels."""

    num_codebooks: int = 8
    codebook_size: int = 512
    width: int = 64
    decay: float = 0.98
    revive_below: float = 0.3
    dropout: float = 0.5


class Codebook(nn.Module):
    """One level: nearest code by Euclidean distance; the codes are EMA cluster means, not gradient-trained."""

    couples_ranks = True  # `update` sums over the ranks: one of them cannot compute a batch again alone

    def __init__(self, config: QuantizeConfig):
        super().__init__()
        self.config = config
        self.register_buffer("codes", torch.zeros(config.codebook_size, config.width))
        self.register_buffer("counts", torch.zeros(config.codebook_size))
        self.register_buffer("sums", torch.zeros(config.codebook_size, config.width))

    def nearest(self, vectors: Tensor) -> Tensor:
        """vectors [..., width] -> ids [...]."""
        scores = vectors @ self.codes.T - 0.5 * (self.codes**2).sum(1)
        return scores.argmax(-1)

    @torch.no_grad()
    def update(self, vectors: Tensor, ids: Tensor) -> None:
        """Move the codes towards the vectors [M, width] that chose them (ids [M]); revive codes nobody chooses."""
        config = self.config
        counts = torch.bincount(ids, minlength=config.codebook_size).to(vectors)
        sums = torch.zeros_like(self.sums).index_add_(0, ids, vectors)
        self.counts.mul_(config.decay).add_(sum_over_ranks(counts), alpha=1 - config.decay)
        self.sums.mul_(config.decay).add_(sum_over_ranks(sums), alpha=1 - config.decay)
        alive = self.counts > 1e-3
        self.codes[alive] = self.sums[alive] / self.counts[alive, None]
        self._revive(vectors)

    def _revive(self, vectors: Tensor) -> None:
        """Put codes whose moving count fell below `revive_below` onto random vectors of this batch."""
        dead = (self.counts < self.config.revive_below).nonzero()[:, 0]
        if not len(dead):
            return
        chosen = from_first_rank(vectors[torch.randint(len(vectors), (len(dead),), device=vectors.device)])
        self.codes[dead] = chosen
        self.counts[dead] = self.config.revive_below * 2
        self.sums[dead] = chosen * self.config.revive_below * 2

    @torch.no_grad()
    def start(self, vectors: Tensor, rounds: int = 8) -> None:
        """First codes by a few rounds of k-means on a batch of vectors [M, width]."""
        picks = torch.randint(len(vectors), (self.config.codebook_size,), device=vectors.device)
        self.codes.copy_(from_first_rank(vectors[picks]))
        for _ in range(rounds):
            ids = self.nearest(vectors)
            counts = torch.bincount(ids, minlength=self.config.codebook_size).to(vectors)
            sums = torch.zeros_like(self.sums).index_add_(0, ids, vectors)
            counts, sums = sum_over_ranks(counts), sum_over_ranks(sums)
            self.codes.copy_(torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1), self.codes))
        self.counts.copy_(counts)
        self.sums.copy_(self.codes * counts[:, None])


class ResidualQuantizer(nn.Module):
    """K codebooks, each quantising what the ones before left over."""

    def __init__(self, config: QuantizeConfig):
        super().__init__()
        self.config = config
        self.levels = nn.ModuleList(Codebook(config) for _ in range(config.num_codebooks))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def encode(self, latents: Tensor) -> Tensor:
        """latents [B, T, width] -> codes [B, K, T]."""
        residual, codes = latents, []
        for level in self.levels:
            codes.append(level.nearest(residual))
            residual = residual - F.embedding(codes[-1], level.codes)
        return torch.stack(codes, 1)

    def embed(self, codes: Tensor) -> Tensor:
        """codes [B, k, T] with k <= K -> sum of the code vectors [B, T, width]."""
        return sum(F.embedding(codes[:, i], self.levels[i].codes) for i in range(codes.shape[1]))

    def forward(self, latents: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Training pass: latents [B, T, width], valid [B, T] -> (quantised [B, T, width] with straight-through
        gradient, commitment loss scalar).  Updates the codebooks in training mode."""
        if self.training and not self.started:
            self._start(latents.detach()[valid])
        num_levels = self._draw_levels(len(latents), latents.device)
        residual, total, commitment = latents, torch.zeros_like(latents), latents.new_zeros(())
        for i, level in enumerate(self.levels):
            ids = level.nearest(residual.detach())
            chosen = F.embedding(ids, level.codes).detach()
            used = (num_levels > i)[:, None, None] & valid[..., None]
            commitment = commitment + ((residual - chosen) ** 2 * used).mean()
            if self.training:
                level.update(residual.detach()[valid], ids[valid])
            total = total + chosen * used
            residual = residual - chosen
        return latents + (total - latents).detach(), commitment / len(self.levels)

    def _start(self, vectors: Tensor) -> None:
        """Codebooks from the first batch, level after level."""
        for level in self.levels:
            level.start(vectors)
            vectors = vectors - F.embedding(level.nearest(vectors), level.codes)
        self.started.fill_(True)

    def _draw_levels(self, batch: int, device: torch.device) -> Tensor:
        """How many levels each example keeps: all in evaluation, quantiser dropout in training.  [B]"""
        full = len(self.levels)
        if not self.training:
            return torch.full((batch,), full, device=device)
        drawn = torch.randint(1, full + 1, (batch,), device=device)
        dropped = torch.rand(batch, device=device) < self.config.dropout
        return torch.where(dropped, drawn, torch.full_like(drawn, full))


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum over the processes of a distributed run; the values themselves in a single process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
    return values


def from_first_rank(values: Tensor) -> Tensor:
    """What rank 0 holds, on every rank, so that random choices agree."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        values = values.contiguous()
        torch.distributed.broadcast(values, 0)
    return values
