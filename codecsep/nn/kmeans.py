"""k-means and residual k-means on vectors in memory: the same points and seed give the same centres.

k-means++ start (Arthur and Vassilvitskii 2007) on a sample, then Lloyd's rounds over all points; a centre that nobody
chooses is put onto the point that is served worst.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 1 << 12  # points whose distances to all centres are in memory at once
SAMPLE = 16  # points per centre from which the start is drawn


@dataclass
class KMeansConfig:
    """`rounds`: of Lloyd at most; they end when the mean squared distance falls by less than `tolerance` (relative)."""

    num_centres: int = 1024
    rounds: int = 30
    tolerance: float = 1e-4
    seed: int = 0


def kmeans(points: Tensor, config: KMeansConfig) -> Tensor:
    """points [M, D] float32 -> centres [num_centres, D].  ValueError when the centres are more than the points."""
    if len(points) < config.num_centres:
        raise ValueError(f"{len(points)} points cannot have {config.num_centres} centres")
    generator = torch.Generator().manual_seed(config.seed)
    shift = points.mean(0)  # distances are differences of squares: near the origin they lose no digits
    points = points - shift
    sample = torch.randperm(len(points), generator=generator)[: SAMPLE * config.num_centres]
    centres = spread_out(points[sample], config.num_centres, generator)
    before = float("inf")
    for _ in range(config.rounds):
        ids, distances = assign(points, centres)
        centres = means(points, ids, distances, centres)
        now = float(distances.double().mean())
        if before - now <= config.tolerance * now:
            break
        before = now
    return centres + shift


def spread_out(points: Tensor, num_centres: int, generator: torch.Generator) -> Tensor:
    """The k-means++ start: each centre [D] is a point drawn in proportion to its squared distance to those before."""
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    nearest = (points - points[chosen[0]]).square().sum(1)
    while len(chosen) < num_centres:
        total = nearest.double().cumsum(0)
        if float(total[-1]) <= 0:  # no point is left that is not a centre: repeat some, Lloyd's rounds part them
            chosen += [index % len(points) for index in range(num_centres - len(chosen))]
            break
        drawn = torch.rand((), generator=generator, dtype=torch.float64) * total[-1]
        chosen.append(min(int(torch.searchsorted(total, drawn)), len(points) - 1))
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).square().sum(1))
    return points[chosen].clone()


def assign(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """points [M, D], centres [C, D] -> (index of the nearest centre [M], its squared distance [M])."""
    ids, distances = [], []
    half = 0.5 * centres.square().sum(1)
    for block in points.split(BLOCK):
        score, index = (block @ centres.T - half).max(1)
        ids.append(index)
        distances.append((block.square().sum(1) - 2 * score).clamp_min(0))
    return torch.cat(ids), torch.cat(distances)


def means(points: Tensor, ids: Tensor, distances: Tensor, centres: Tensor) -> Tensor:
    """The mean of each centre's points [C, D]; a centre without points goes to one of the worst served points."""
    counts = torch.bincount(ids, minlength=len(centres))
    sums = torch.zeros(centres.shape, dtype=torch.float64).index_add_(0, ids, points.double())
    moved = (sums / counts.clamp_min(1)[:, None]).to(points)
    empty = (counts == 0).nonzero()[:, 0]
    moved[empty] = points[distances.topk(len(empty)).indices]
    return moved


def residual_kmeans(points: Tensor, num_levels: int, config: KMeansConfig) -> tuple[list[Tensor], list[float]]:
    """Level after level, k-means of what the levels before left over.

    points [M, D] -> ([num_levels] centres [C, D], [num_levels] share of the variance that is left after each level).
    """
    variance = float((points - points.mean(0)).square().double().sum(1).mean()) or 1.0
    centres, left, residual = [], [], points
    for _ in range(num_levels):
        centres.append(kmeans(residual, config))
        ids, distances = assign(residual, centres[-1])
        residual = residual - centres[-1][ids]
        left.append(float(distances.double().mean()) / variance)
    return centres, left
