"""What the rules know of the rows decoded so far, brought up to date by one token per row and step.

Every row counts its own tokens, so rows of a batch need not have begun together: `admit` puts a new row into the place
of one that has ended. All changes happen in place and on the device: nothing here waits for it but `sequences`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from codecsep.tokens.vocab import Vocab

NOTHING = -1  # stands where a row has no token


class History:
    """The rows of a batch that are still being decoded.

    Attributes:
        num_tokens: the most tokens that any row can have so far, <sos> included; at most the capacity.
        lengths [B]: tokens per row so far, <sos> included.
        num_sc [B]: speaker changes so far.
        frames [B]: frames of the speaker that is being written.
        recent [B, N]: column p-1 is the token p steps back, i.e. the one that a loop of period p would put next.
        runs [B, N]: column p-1 says for how many frames, up to the last one and within this speaker, every frame has
            equalled the one p frames before it. A block of p frames that followed itself r times has a run of r * p.
        max_frames [B]: the row's bound on the frames of one speaker.
    """

    def __init__(self, vocab: Vocab, max_frames: Tensor, capacity: int, max_period: int) -> None:
        batch, device = len(max_frames), max_frames.device
        self.vocab, self.max_period, self.capacity, self.num_tokens = vocab, max_period, capacity, 0
        self.max_frames = max_frames.clone()
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self.num_sc, self.frames = torch.zeros_like(self.lengths), torch.zeros_like(self.lengths)
        self.recent = torch.full((batch, max_period), NOTHING, dtype=torch.int64, device=device)
        self.runs = torch.zeros_like(self.recent)
        # one column more than the capacity: what is pushed after the end of a row falls into it
        self._buffer = torch.full((batch, capacity + 1), NOTHING, dtype=torch.int64, device=device)
        self._periods = torch.arange(1, max_period + 1, device=device)

    @property
    def batch_size(self) -> int:
        return len(self.max_frames)

    @property
    def tokens(self) -> Tensor:
        """The tokens so far, [B, num_tokens]; NOTHING after the end of a row that came later."""
        return self._buffer[:, : self.num_tokens]

    def push(self, tokens: Tensor) -> None:
        """Append one token per row ([B] int64); a row that is at its capacity only counts it."""
        is_code = ~self.vocab.is_special(tokens)
        if self.max_period:
            again = (self.recent == tokens[:, None]) & (self._periods <= self.frames[:, None]) & is_code[:, None]
            self.runs.add_(1).mul_(again)
            self.recent.copy_(torch.cat([tokens[:, None], self.recent[:, :-1]], dim=1))
        self.frames.add_(1).mul_(is_code)
        self.num_sc.add_(tokens == self.vocab.sc)
        self._buffer.scatter_(1, self.lengths.clamp(max=self.capacity)[:, None], tokens[:, None])
        self.lengths.add_(1)
        self.num_tokens = min(self.num_tokens + 1, self.capacity)

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows ([B'] int64), in this order; a row may be named more than once."""
        self.max_frames, self.num_sc, self.frames = self.max_frames[rows], self.num_sc[rows], self.frames[rows]
        self.lengths, self.recent, self.runs = self.lengths[rows], self.recent[rows], self.runs[rows]
        self._buffer = self._buffer[rows]

    def admit(self, slots: Tensor, max_frames: Tensor) -> None:
        """New rows in the places `slots` ([n] int64, no place twice), each with <sos> and its bound ([n] int64).

        Such a row is from now on as if it had been alone in a fresh history into which <sos> was pushed.
        """
        self.max_frames.index_copy_(0, slots, max_frames)
        for count in (self.num_sc, self.frames, self.runs):
            count.index_fill_(0, slots, 0)
        self._buffer.index_fill_(0, slots, NOTHING)
        self._buffer[:, 0].index_fill_(0, slots, self.vocab.sos)
        self.lengths.index_fill_(0, slots, 1)
        if self.max_period:
            self.recent.index_fill_(0, slots, NOTHING)
            self.recent[:, 0].index_fill_(0, slots, self.vocab.sos)
        self.num_tokens = max(self.num_tokens, 1)

    def sequences(self, rows: Tensor) -> list[Tensor]:
        """The tokens of these rows ([n] int64), each as long as it is; waits for the device."""
        lengths = self.lengths[rows].clamp(max=self.capacity).tolist()
        return [tokens[:length] for tokens, length in zip(self._buffer[rows], lengths, strict=True)]
