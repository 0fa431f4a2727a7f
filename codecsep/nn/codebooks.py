"""Token tables: vectors of token ids going in, and the tied output layer that turns vectors into logits.

`PlainTables` are those of SLM-SS (section 2.3): one full-width table per level.  `CodebookTables` (ours) factor each
table into the codec's own code vectors and one projection shared by all levels, after ALBERT's factorised embedding
(Lan et al. 2020): codes that sound alike start with like logits, and the sum of the lower levels' vectors is the partly
quantised latent itself, so that little data goes a long way.  Load the code vectors with the training's `init`:

    init: [{file: exp/codec/mini.safetensors, source: quantizer.levels, target: part.tables.codebooks}]
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codecsep.nn.attention import init_weights

NUM_SPECIALS = 3
INPUT_GAIN = 8.0  # brings the vectors of tied tables, small as an output layer wants them, to the size of positions


class PlainTables(nn.Module):
    """One table [V, width] per level, used as embedding and as output layer."""

    def __init__(self, num_levels: int, vocab_size: int, width: int):
        super().__init__()
        self.levels = nn.ModuleList(nn.Embedding(vocab_size, width) for _ in range(num_levels))
        self.apply(init_weights)

    def embed(self, level: int, ids: Tensor) -> Tensor:
        """ids [...] in 0..V-1 -> [..., width]."""
        return self.levels[level](ids)

    def output(self, level: int) -> tuple[Tensor, Tensor | None]:
        """Weight [V, width] and bias of the level's output layer."""
        return self.levels[level].weight, None


class Codes(nn.Module):
    """The code vectors of one level, under the name that codecs store them by."""

    def __init__(self, codebook_size: int, code_width: int):
        super().__init__()
        self.codes = nn.Parameter(torch.randn(codebook_size, code_width))

    def rms(self) -> Tensor:
        """Root mean square of the entries, a constant for the gradient."""
        return self.codes.detach().square().mean().sqrt().clamp_min(1e-3)


class CodebookTables(nn.Module):
    """Tables whose code rows are projections of the codec's code vectors; the specials have rows of their own."""

    def __init__(self, num_levels: int, vocab_size: int, width: int, code_width: int):
        super().__init__()
        codebook_size = vocab_size - NUM_SPECIALS
        self.codebooks = nn.ModuleList(Codes(codebook_size, code_width) for _ in range(num_levels))
        self.widen = nn.Linear(code_width, width, bias=False)
        nn.init.normal_(self.widen.weight, std=0.08 / code_width**0.5)
        self.specials = nn.Parameter(0.02 * torch.randn(NUM_SPECIALS, width))
        self.biases = nn.Parameter(torch.zeros(num_levels, vocab_size))

    def rows(self, level: int, scale: Tensor) -> Tensor:
        """[V, width]: projected code vectors divided by `scale`, then the specials."""
        return torch.cat([self.widen(self.codebooks[level].codes / scale), self.specials])

    def embed(self, level: int, ids: Tensor) -> Tensor:
        """ids [...] in 0..V-1 -> [..., width].  All levels share level 0's scale, so that sums of levels are sums of
        code vectors."""
        return F.embedding(ids, INPUT_GAIN * self.rows(level, self.codebooks[0].rms()))

    def output(self, level: int) -> tuple[Tensor, Tensor | None]:
        """Weight [V, width] and bias [V] of the level's output layer, at the level's own scale."""
        return self.rows(level, self.codebooks[level].rms()), self.biases[level]

    def vectors(self, level: int) -> Tensor:
        """The level's code vectors [codebook_size, code_width], without gradient."""
        return self.codebooks[level].codes.detach()

    @torch.no_grad()
    def confuse(self, codes: Tensor, spread: Tensor) -> Tensor:
        """Codes as they might be after mistakes in level 0, with higher levels that make up for them.

        Level 0 becomes a code drawn with probability exp(-d^2 / (2 spread^2 D)), where d is its distance to the latent
        and D the mean squared length of level 0's vectors; where it changed, each higher level quantises anew what the
        levels below have left over.  codes [B, K, S], spread [B] (0 changes nothing) -> [B, K, S].
        """
        latents = sum(F.embedding(codes[:, k], self.vectors(k)) for k in range(codes.shape[1]))
        first = self.vectors(0)
        closeness = _negative_distance(latents, first) / first.square().sum(-1).mean()
        logits = closeness / (2 * spread.clamp_min(1e-3)[:, None, None] ** 2)
        drawn = (logits - torch.empty_like(logits).exponential_().log()).argmax(-1)
        changed = (drawn != codes[:, 0]) & (spread > 0)[:, None]
        levels = [torch.where(changed, drawn, codes[:, 0])]
        for k in range(1, codes.shape[1]):
            latents = latents - F.embedding(levels[-1], self.vectors(k - 1))
            nearest = _negative_distance(latents, self.vectors(k)).argmax(-1)
            levels.append(torch.where(changed, nearest, codes[:, k]))
        return torch.stack(levels, 1)


def _negative_distance(points: Tensor, vectors: Tensor) -> Tensor:
    """-|p - v|^2 + |p|^2 for points [.., D] and vectors [V, D] -> [.., V]; the constant does not matter to a choice."""
    return 2 * points @ vectors.T - vectors.square().sum(-1)


def make_tables(num_levels: int, vocab_size: int, width: int, code_width: int) -> PlainTables | CodebookTables:
    """`code_width` 0: plain tables, as in the paper; otherwise the width of the codec's code vectors."""
    if code_width == 0:
        return PlainTables(num_levels, vocab_size, width)
    return CodebookTables(num_levels, vocab_size, width, code_width)
