"""One token after the other for a batch of rows that stop and leave on their own.

Knows no model: it is given a `Step`. What a row becomes depends on its own logits, its key and the options, never on
which rows share the batch with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from codecsep.decode import beam
from codecsep.decode.chooser import Chooser
from codecsep.decode.history import History
from codecsep.decode.options import DecodeOptions
from codecsep.decode.step import DecodeStats, Step, finish, not_numbers, speaker_bounds, step_limit
from codecsep.tokens.vocab import Vocab


def decode(
    step: Step,
    batch_size: int,
    vocab: Vocab,
    options: DecodeOptions,
    max_frames: Tensor,
    keys: Sequence[str] | None = None,
    max_steps: int | None = None,
) -> tuple[list[Tensor], list[DecodeStats]]:
    """Decode `batch_size` rows, greedily, by sampling or by beam search as `options.strategy` says.

    Args:
        step: fresh state of batch_size rows; it is fed <sos> first.
        max_frames: [batch_size] int64, frames of each mixture: the bound on each of its speakers (options.length_slack
            is added). The tokens live on its device.
        keys: one name per row (the utterance id), which seeds its random numbers; row numbers when left out.
        max_steps: never more tokens than this, e.g. the size of a position table; a row that is cut has `missing_eos`.

    Returns:
        Per row the tokens [S_i] int64, from <sos> to <eos> unless cut, and its DecodeStats.

    Raises:
        ValueError: the sizes of the arguments disagree, or a bound is below 1.
        DecodeError: NaN logits.
    """
    bounds = speaker_bounds(options, max_frames, batch_size)
    if keys is not None and len(keys) != batch_size:
        raise ValueError(f"{len(keys)} keys for {batch_size} rows; give one per row")
    names = list(keys) if keys is not None else [str(row) for row in range(batch_size)]
    limit = step_limit(options, bounds, max_steps)
    if options.strategy == "beam":
        return beam.search(step, vocab, options, bounds, limit)
    loop = _Loop(step, vocab, options, bounds, names, limit)
    for _ in range(limit - 1):
        if not loop.advance():
            break
    loop.leave()
    return loop.results()


class _Loop:
    """The state of one call of `decode`: the rows still inside, and what those that left have taken along."""

    def __init__(
        self, step: Step, vocab: Vocab, options: DecodeOptions, bounds: Tensor, keys: list[str], limit: int
    ) -> None:
        self.step, self.vocab, self.options = step, vocab, options
        self.chooser = Chooser(options, vocab, keys, bounds.device)
        self.history = History(vocab, bounds, limit, options.loop_period)
        self.rows = torch.arange(len(bounds), device=bounds.device)  # which row of the call stands where now
        self.done = torch.zeros_like(self.rows, dtype=torch.bool)
        self.bad = torch.zeros_like(self.done)
        self.fired = torch.zeros(len(self.chooser.rules), len(bounds), dtype=torch.int64, device=bounds.device)
        self.finished: dict[int, tuple[Tensor, DecodeStats]] = {}
        self.last = torch.full_like(self.rows, vocab.sos)
        self.history.push(self.last)

    def advance(self) -> bool:
        """One token for every row; False when no row is left."""
        if self.history.num_tokens % self.options.leave_every == 0:
            self._drop_done()
        if not len(self.rows):
            return False
        choice = self.chooser(self.step(self.last), self.history)
        self.bad |= choice.bad & ~self.done
        self.fired[:, self.rows] += choice.fired & ~self.done
        self.last = choice.tokens.masked_fill(self.done, self.vocab.eos)
        self.history.push(self.last)
        self.done = self.done | (self.last == self.vocab.eos)
        return True

    def leave(self) -> None:
        """Take every row out, whether it has ended or not."""
        self._store(torch.arange(len(self.rows), device=self.rows.device))

    def results(self) -> tuple[list[Tensor], list[DecodeStats]]:
        """Tokens and stats in the order of the call."""
        counts = dict(zip(self.chooser.rules, self.fired.tolist(), strict=True))
        for row, (_, stats) in self.finished.items():
            stats.fired = {name: count[row] for name, count in counts.items()}
        pairs = [self.finished[row] for row in range(len(self.finished))]
        return [tokens for tokens, _ in pairs], [stats for _, stats in pairs]

    def _drop_done(self) -> None:
        gone = self.done.nonzero().flatten()
        if not len(gone):
            return
        self._store(gone)
        self._keep((~self.done).nonzero().flatten())

    def _keep(self, stay: Tensor) -> None:
        if len(stay):
            self.step.keep(stay)
        self.history.keep(stay)
        self.chooser.keep(stay)
        self.rows, self.done, self.bad, self.last = (
            self.rows[stay], self.done[stay], self.bad[stay], self.last[stay]
        )  # fmt: skip

    def _store(self, places: Tensor) -> None:
        if bool(self.bad.any()):
            raise not_numbers(f" in {int(self.bad.sum())} of {len(self.bad)} rows")
        tokens = self.history.tokens[places]
        for row, sequence in zip(self.rows[places].tolist(), tokens, strict=True):
            self.finished[row] = finish(sequence, self.vocab)
