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


def make_tables(num_levels: int, vocab_size: int, width: int, code_width: int) -> PlainTables | CodebookTables:
    """`code_width` 0: plain tables, as in the paper; otherwise the width of the codec's code vectors."""
    if code_width == 0:
        return PlainTables(num_levels, vocab_size, width)
    return CodebookTables(num_levels, vocab_size, width, code_width)
