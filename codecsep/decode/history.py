"""What the rules know of the rows decoded so far, brought up to date by one token per row and step."""

from __future__ import annotations

import torch
from torch import Tensor

from codecsep.tokens.vocab import Vocab


class History:
    """The rows of a batch that are still being decoded; all of them have the same number of tokens.

    Attributes:
        num_tokens: tokens per row so far, <sos> included.
        num_sc [B]: speaker changes so far.
        frames [B]: frames of the speaker that is being written.
        runs [B, N]: column p-1 says for how many frames, up to the last one and within this speaker, every frame has
            equalled the one p frames before it. A block of p frames that followed itself r times has a run of r * p.
        max_frames [B]: the row's bound on the frames of one speaker.
    """

    def __init__(self, vocab: Vocab, max_frames: Tensor, capacity: int, max_period: int) -> None:
        batch, device = len(max_frames), max_frames.device
        self.vocab, self.max_period, self.num_tokens = vocab, max_period, 0
        self.max_frames = max_frames
        self.num_sc = torch.zeros(batch, dtype=torch.int64, device=device)
        self.frames = torch.zeros_like(self.num_sc)
        self.runs = torch.zeros(batch, max_period, dtype=torch.int64, device=device)
        # max_period columns of -1 stand before the first token, so that a look back never leaves the buffer
        self._buffer = torch.full((batch, max_period + capacity), -1, dtype=torch.int64, device=device)
        self._periods = torch.arange(1, max_period + 1, device=device)

    @property
    def batch_size(self) -> int:
        return len(self.max_frames)

    @property
    def tokens(self) -> Tensor:
        """The tokens so far, [B, num_tokens]."""
        return self._buffer[:, self.max_period : self.max_period + self.num_tokens]

    @property
    def recent(self) -> Tensor:
        """[B, N]: column p-1 is the token p steps back, i.e. the one that a loop of period p would put next."""
        return self._buffer[:, self.num_tokens : self.num_tokens + self.max_period].flip(1)

    def push(self, tokens: Tensor) -> None:
        """Append one token per row ([B] int64)."""
        is_code = ~self.vocab.is_special(tokens)
        if self.max_period:
            again = (self.recent == tokens[:, None]) & (self._periods <= self.frames[:, None])
            self.runs = torch.where(again & is_code[:, None], self.runs + 1, 0)
        self.frames = torch.where(is_code, self.frames + 1, 0)
        self.num_sc = self.num_sc + (tokens == self.vocab.sc)
        self._buffer[:, self.max_period + self.num_tokens] = tokens
        self.num_tokens += 1

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows ([B'] int64), in this order; a row may be named more than once."""
        self.max_frames, self.num_sc = self.max_frames[rows], self.num_sc[rows]
        self.frames, self.runs = self.frames[rows], self.runs[rows]
        self._buffer = self._buffer[rows]
