"""Masked iterative decoding: all frames of a level at once, in a few steps, the most confident first.

As in MaskGIT (Chang et al. 2022), SoundStorm (Borsos et al. 2023) and MaskGCT (Wang et al. 2024), which SepALM's mask
variant follows. Level after level, a level given all codes below it. In a step every code that is still masked is
drawn; those in which the network has least confidence are masked again, fewer each time. What is known at the start
(a prompt, a level from elsewhere, the part of a recording that is not edited) is never masked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from codecsep.decode.noise import GumbelNoise
from codecsep.decode.options import MaskedOptions
from codecsep.decode.sampler import Sampling, candidates, pick
from codecsep.decode.step import not_numbers

MaskedStep = Callable[[Tensor, int], Tensor]
LONGEST = 2**20  # frames; a stride of the random numbers that does not depend on the batch
CURVES: dict[str, Callable[[float], float]] = {
    "sine": lambda t: math.sin(math.pi * t / 2),
    "cosine": lambda t: math.cos(math.pi * (1 - t) / 2),  # cos(pi u / 2) of the progress u = 1 - t: the same curve
    "linear": lambda t: t,
}


def num_masked(schedule: str, t: float, totals: Tensor) -> Tensor:
    """How many of `totals` ([B] int64) codes are masked at time t, from 1 (the start, all) to 0 (the end).

    At least one, so that there is always something to predict (and none of none).
    """
    counts = (CURVES[schedule](t) * totals.double()).floor().long()
    return torch.minimum(counts.clamp(min=1), totals)


def decode(
    step: MaskedStep,
    codes: Tensor,
    lengths: Tensor,
    codebook_size: int,
    options: MaskedOptions,
    keys: Sequence[str] | None = None,
) -> Tensor:
    """Fill in what is masked.

    Args:
        step: (codes [B, K, T], level) -> logits [B, T, >= codebook_size] of that level; the levels above it hold only
            what is known. `guidance.Guided` makes one with guidance.
        codes: [B, K, T] int64, known codes, and codebook_size (the mask) where one is wanted. Not changed.
        lengths: [B] int64, frames of each row. What a row becomes does not depend on T or on other rows, if the
            logits of `step` do not.
        keys: one name per row, which seeds its random numbers; row numbers when left out.

    Returns:
        [B, K, T] codes; the mask after the end of a row.

    Raises:
        DecodeError: NaN logits.
    """
    names = [str(row) for row in range(len(codes))] if keys is None else list(keys)
    valid = torch.arange(codes.shape[-1], device=codes.device) < lengths[:, None]
    codes = codes.masked_fill(~valid[:, None], codebook_size)
    filler = _Filler(step, codebook_size, options, names, codes.device)
    for level in range(codes.shape[1]):
        filler.fill(codes, level, valid)
    if bool(filler.bad):
        raise not_numbers(" for a masked code")
    return codes


def steps_of(options: MaskedOptions, level: int) -> int:
    """Steps of a level: the last number holds for all further levels."""
    return options.steps[min(level, len(options.steps) - 1)]


class _Filler:
    def __init__(self, step: MaskedStep, size: int, options: MaskedOptions, keys: list[str], device: torch.device):
        self.step, self.size, self.options = step, size, options
        self.top_k = math.ceil(options.top_share * size)
        self.code_noise = GumbelNoise(options.seed, keys, device)
        self.rank_noise = GumbelNoise(options.seed, [f"{key}\nconfidence" for key in keys], device)
        self.num_steps = 0  # of all levels so far: the place in the streams of random numbers
        self.bad = torch.zeros((), dtype=torch.bool, device=device)

    def fill(self, codes: Tensor, level: int, valid: Tensor) -> None:
        """Fill in one level of codes [B, K, T], in place."""
        here, count = codes[:, level], steps_of(self.options, level)
        masked = (here == self.size) & valid
        totals = masked.sum(dim=1)
        for number in range(count):
            time = 1.0 - number / count
            drawn, confidence = self._draw(self.step(codes, level), self._temperature(time, number, count), masked)
            here.copy_(torch.where(masked, drawn, here))
            if number < count - 1:
                amount = num_masked(self.options.schedule, 1.0 - (number + 1) / count, totals)
                masked = self._least_sure(confidence, time, masked, amount)
                here.masked_fill_(masked, self.size)
            self.num_steps += 1

    def _temperature(self, time: float, number: int, count: int) -> float:
        if count == 1:
            return self.options.single_temperature
        return 0.0 if number == count - 1 else self.options.temperature * time

    def _draw(self, logits: Tensor, temperature: float, masked: Tensor) -> tuple[Tensor, Tensor]:
        """logits [B, T, >= size] -> drawn codes [B, T] and what the network gave them among the candidates [B, T]."""
        logits = logits[..., : self.size].float()
        self.bad |= (logits.amax(dim=-1).isnan() & masked).any()
        values, ids = candidates(logits, Sampling(top_k=self.top_k))
        scores = values
        if temperature > 0.0:
            scores = values / temperature + self.code_noise.at_steps(self._steps(logits.shape[1]), self.size, ids)
        place = scores.argmax(dim=-1)
        return pick(ids, place), values.softmax(dim=-1).gather(-1, place[..., None]).squeeze(-1)

    def _least_sure(self, confidence: Tensor, time: float, masked: Tensor, amount: Tensor) -> Tensor:
        """Of the masked frames [B, T] those `amount` [B] that are masked once more; of equals the earlier ones."""
        if self.options.confidence_noise:
            noise = self.rank_noise.at_steps(self._steps(masked.shape[1]), 1).squeeze(-1)
            confidence = confidence + self.options.confidence_noise * time * noise
        order = confidence.masked_fill(~masked, float("inf")).argsort(dim=1, stable=True)
        return (order.argsort(dim=1) < amount[:, None]) & masked

    def _steps(self, num_frames: int) -> Tensor:
        return self.num_steps * LONGEST + torch.arange(num_frames, device=self.bad.device)[None]
