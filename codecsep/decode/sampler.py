"""The sampler: which tokens stay in the choice, and the draw among them. Pure functions of logits.

A draw is the argmax of logits + Gumbel noise (a sample of their softmax), so its randomness comes in as numbers that
belong to the token, not to the order in which tokens stand. Top-k comes before top-p, as in Hugging Face's chain, and
top-p then works on the k values that are left: it needs no sort of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

NEVER = float("-inf")
NoiseOf = Callable[[Tensor | None], Tensor]


@dataclass(frozen=True)
class Sampling:
    """temperature: logits are divided by it; top_k: 0 = all; top_p: 1 = all. Checked where options are made."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def keeps_all(self, vocab_size: int) -> bool:
        return self.top_p >= 1.0 and not 0 < self.top_k < vocab_size


def draw(logits: Tensor, sampling: Sampling, noise_of: NoiseOf) -> Tensor:
    """logits [.., V] -> ids [..] int64; a token of -inf is never drawn.

    noise_of: ids [.., k] of the candidates, or None for all in order -> their Gumbel noise, [.., k] or [.., V].
    """
    if sampling.keeps_all(logits.shape[-1]):
        return (logits / sampling.temperature + noise_of(None)).argmax(dim=-1)
    values, ids = candidates(logits, sampling)
    place = (values + noise_of(ids)).argmax(dim=-1, keepdim=True)
    return ids.gather(-1, place).squeeze(-1)


def candidates(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """The tokens that stay: logits [.., V] -> values [.., k] (tempered logits, falling; -inf: dropped), ids [.., k].

    Exactly top_k stay: of tokens that tie with the k-th, as many as there is room for.
    """
    size = logits.shape[-1]
    count = min(sampling.top_k or size, size)
    values, ids = logits.topk(count, dim=-1) if count < size else logits.sort(dim=-1, descending=True, stable=True)
    values = values / sampling.temperature
    return (values if sampling.top_p >= 1.0 else nucleus(values, sampling.top_p)), ids


def nucleus(values: Tensor, p: float) -> Tensor:
    """Top-p: of falling logits [.., k] only the fewest whose probabilities reach p (at least one), the others -inf.

    Those that tie with the last of them stay too.
    """
    probabilities = values.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # what the better tokens hold already
    last = (before < p).sum(dim=-1, keepdim=True).clamp(min=1) - 1
    return values.masked_fill(values < values.gather(-1, last), NEVER)
