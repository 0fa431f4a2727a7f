"""One token after the other through a network over serialised sequences: the step function that `decode` asks for.

`SequenceStep` computes as the network itself does; `sequence_engine` does the same faster.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from codecsep.nn.transformer import Decoder
from codecsep.tokens import sot
from codecsep.tokens.vocab import Vocab


class SequenceNetwork(Protocol):
    """What a step needs of a network over serialised sequences."""

    vocab: Vocab
    decoder: Decoder
    positions: nn.Module  # of nn.sequence_positions

    def embed(self, level: int, ids: Tensor) -> Tensor: ...

    def head(self, hidden: Tensor, level: int) -> Tensor: ...

    def open_turn(self, times: Tensor, ids: Tensor) -> Tensor: ...


class SequenceStep:
    """Level 0 of a network over serialised sequences as a decoder's step function, with cached keys and values."""

    def __init__(self, part: SequenceNetwork, memory: Tensor, memory_valid: Tensor):
        self.part = part
        self.memory, self.valid = memory, memory_valid
        self.state = part.decoder.start(memory, memory_valid)
        self.counter = sot.PositionCounter(len(memory), part.vocab, memory.device)
        self.turns = torch.zeros(len(memory), dtype=torch.int64, device=memory.device)
        self.num_steps = 0

    def __call__(self, tokens: Tensor) -> Tensor:
        """tokens [B] -> logits [B, V] of the next token."""
        steps = torch.full_like(tokens, self.num_steps)
        times = self.part.open_turn(self.counter.step(tokens), tokens)
        self.turns = self.turns + (tokens == self.part.vocab.sc)
        places = self.part.positions(steps[:, None], times[:, None], self.turns[:, None], self.memory, self.valid)
        hidden = self.part.embed(0, tokens)[:, None] + places
        self.num_steps += 1
        return self.part.head(self.part.decoder.step(hidden, self.state)[:, 0], 0)

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows of the state, in this order."""
        self.state.keep(rows)
        self.counter.keep(rows)
        self.turns = self.turns[rows]
        self.memory, self.valid = self.memory[rows], self.valid[rows]
