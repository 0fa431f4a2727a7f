"""Where a step of a serialised sequence stands: its index, its time, or also the memory's frame of that time.

All take (steps, times, turns), int64 [B, S]: index in the sequence, frames since the speaker began, number of the
speaker; the memory [B, M, D] and its valid frames [B, M].  All return [B, S, D].

A decoder asks for one step at a time: `prepare` makes of a memory [.., M, D] what `at` needs per frame (None: nothing),
and `at` takes (steps, times, turns) [B], the prepared frames [B, M, D] and the last frame of each row [B], and returns
[B, D].  It never waits for the device: a step outside a table is the caller's business (`max_steps` of the decoder).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codecsep.nn.attention import init_weights
from codecsep.nn.positions import LearnedPositions, PositionError, SinusoidalPositions


@dataclass
class PositionConfig:
    """`max_positions` bounds "absolute"; `max_turns` the speakers; a step at time t is about memory frame
    floor(max(t + memory_offset, 0) * memory_ratio) of "aligned"."""

    kind: str = "absolute"
    width: int = 1024
    max_positions: int = 4800
    max_turns: int = 4
    memory_ratio: float = 1.0
    memory_offset: int = 0


class AbsolutePositions(nn.Module):
    """Step index in the sequence, from a learned table (SLM-SS, Whisper)."""

    def __init__(self, config: PositionConfig):
        super().__init__()
        self.table = LearnedPositions(config.max_positions, config.width)

    def forward(self, steps: Tensor, times: Tensor, turns: Tensor, memory: Tensor, valid: Tensor) -> Tensor:
        return self.table(steps)

    def prepare(self, memory: Tensor) -> None:
        return None

    def at(self, steps: Tensor, times: Tensor, turns: Tensor, frames: Tensor | None, last: Tensor) -> Tensor:
        table = self.table.table.weight
        return F.embedding(steps.clamp_max(len(table) - 1), table)  # beyond it stand rows that have ended only


class TimePositions(nn.Module):
    """Time within the speaker, as sinusoids, and the speaker's turn."""

    def __init__(self, config: PositionConfig):
        super().__init__()
        self.times = SinusoidalPositions(config.width)
        self.turns = nn.Embedding(config.max_turns + 1, config.width)
        self.turns.apply(init_weights)

    def forward(self, steps: Tensor, times: Tensor, turns: Tensor, memory: Tensor, valid: Tensor) -> Tensor:
        return self._time(times, turns)

    def prepare(self, memory: Tensor) -> Tensor | None:
        return None

    def at(self, steps: Tensor, times: Tensor, turns: Tensor, frames: Tensor | None, last: Tensor) -> Tensor:
        return self._time(times, turns)

    def _time(self, times: Tensor, turns: Tensor) -> Tensor:
        return self.times(times) + self.turns(turns.clamp_max(self.turns.num_embeddings - 1))


class AlignedPositions(TimePositions):
    """`TimePositions`, and a projection of the memory's frame that the step is about."""

    def __init__(self, config: PositionConfig):
        super().__init__(config)
        self.config = config
        self.frame = nn.Linear(config.width, config.width)

    def forward(self, steps: Tensor, times: Tensor, turns: Tensor, memory: Tensor, valid: Tensor) -> Tensor:
        index = self._frames(times, valid.sum(1, keepdim=True) - 1)
        frames = memory.gather(1, index[..., None].expand(-1, -1, memory.shape[2]))
        return super().forward(steps, times, turns, memory, valid) + self.frame(frames)

    def prepare(self, memory: Tensor) -> Tensor:
        return self.frame(memory)

    def at(self, steps: Tensor, times: Tensor, turns: Tensor, frames: Tensor, last: Tensor) -> Tensor:
        rows = torch.arange(len(times), device=times.device)
        return self._time(times, turns) + frames[rows, self._frames(times, last)]

    def _frames(self, times: Tensor, last: Tensor) -> Tensor:
        """The memory's frames that steps at these times are about: at most the row's own last, whatever its padding."""
        index = ((times + self.config.memory_offset).clamp_min(0) * self.config.memory_ratio).long()
        return index.minimum(last)


KINDS = {"absolute": AbsolutePositions, "time": TimePositions, "aligned": AlignedPositions}


def make_positions(config: PositionConfig) -> nn.Module:
    """The positions of `config.kind`; PositionError names the kinds when there is none of that name."""
    if config.kind not in KINDS:
        raise PositionError("E506", f"network.positions is '{config.kind}'", "", f"allowed: {', '.join(KINDS)}")
    return KINDS[config.kind](config)
