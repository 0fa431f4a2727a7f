"""The rows that are decoded together: what each has so far, which token it takes next, and whether it has ended.

`advance` changes its tensors in place and never waits for the device, so that one step of network, rules and choice can
be captured as a CUDA graph. What a row becomes depends on its own logits, its key and the options alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from codecsep.decode.chooser import Chooser
from codecsep.decode.history import History
from codecsep.decode.options import DecodeOptions
from codecsep.decode.step import DecodeStats, Step, finish, not_numbers
from codecsep.tokens.vocab import Vocab


class Rows:
    """Rows in greedy search or sampling; each begins with <sos>.

    bounds [B]: most frames of a speaker; keys: one name per row, which seeds its random numbers; limit: most tokens of
    any row, <sos> included.
    """

    def __init__(self, vocab: Vocab, options: DecodeOptions, bounds: Tensor, keys: Sequence[str], limit: int) -> None:
        self.vocab, self.limit = vocab, limit
        self.chooser = Chooser(options, vocab, keys, bounds.device)
        self.history = History(vocab, bounds, limit, options.loop_period)
        self.last = torch.full_like(bounds, vocab.sos)
        self.history.push(self.last)
        self.done = torch.full_like(bounds, limit <= 1, dtype=torch.bool)
        self.bad = torch.zeros_like(self.done)
        self.fired = torch.zeros(len(self.chooser.rules), len(bounds), dtype=torch.int64, device=bounds.device)

    def __len__(self) -> int:
        return len(self.last)

    def advance(self, step: Step) -> None:
        """One token for every row; one that has ended takes <eos> again, which nobody reads."""
        choice = self.chooser(step(self.last), self.history)
        self.bad.logical_or_(choice.bad & ~self.done)
        self.fired.add_(choice.fired & ~self.done)
        self.last.copy_(choice.tokens.masked_fill(self.done, self.vocab.eos))
        self.history.push(self.last)
        self.done.logical_or_((self.last == self.vocab.eos) | (self.history.lengths >= self.limit))

    def ended(self) -> list[int]:
        """The places of the rows that have ended; waits for the device.  Raises DecodeError on NaN logits."""
        done, bad = torch.stack([self.done, self.bad]).tolist()
        if any(bad):
            raise not_numbers(f" in {sum(bad)} of {len(bad)} rows")
        return [place for place, is_done in enumerate(done) if is_done]

    def take(self, places: Sequence[int]) -> list[tuple[Tensor, DecodeStats]]:
        """Tokens and stats of the rows at these places, as they are now."""
        index = torch.tensor(places, dtype=torch.int64, device=self.last.device)
        taken = [finish(sequence, self.vocab) for sequence in self.history.sequences(index)]
        for (_, stats), counts in zip(taken, self.fired.T[index].tolist(), strict=True):
            stats.fired = dict(zip(self.chooser.rules, counts, strict=True))
        return taken

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows (int64 [B']), in this order."""
        self.history.keep(rows)
        self.chooser.keep(rows)
        self.last, self.done, self.bad = self.last[rows], self.done[rows], self.bad[rows]
        self.fired = self.fired[:, rows]

    def admit(self, places: Tensor, bounds: Tensor, keys: Sequence[str]) -> None:
        """New rows in these places (int64 [n])."""
        self.history.admit(places, bounds)
        self.chooser.admit(places, keys)
        self.last.index_fill_(0, places, self.vocab.sos)
        for flags in (self.done, self.bad):
            flags.index_fill_(0, places, False)
        self.fired.index_fill_(1, places, 0)


def without(size: int, gone: Sequence[int]) -> list[int]:
    """Places that stay of 0 .. size - 1, ordered so that few rows move: the last ones take the places of `gone`."""
    left = set(gone)
    order = list(range(size - len(left)))
    movers = [place for place in range(len(order), size) if place not in left]
    for hole in (place for place in left if place < len(order)):
        order[hole] = movers.pop()
    return order
