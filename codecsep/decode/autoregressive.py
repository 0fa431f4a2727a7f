"""One token after the other for a batch of rows that stop and leave on their own.

Knows no model: it is given a `Step`. What a row becomes depends on its own logits, its key and the options, never on
which rows share the batch with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from codecsep.decode.filters import NEVER, Filter, rules, truncation
from codecsep.decode.history import History
from codecsep.decode.noise import GumbelNoise
from codecsep.decode.options import DecodeOptions
from codecsep.tokens.vocab import Vocab

LARGEST = 1e30  # logits are kept inside +-this, so that an allowed token never looks like a forbidden one


class DecodeError(RuntimeError):
    """The network gave something that no token can be chosen from."""


class Step(Protocol):
    """One step of a network over the rows of a batch."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """tokens [B] int64, the latest of each row -> logits [B, V] of the next; the state moves on by one."""
        ...

    def keep(self, rows: Tensor) -> None:
        """From now on the state holds only these rows ([B'] int64), in this order."""
        ...


@dataclass
class DecodeStats:
    """What happened to one row.

    fired: for each rule (blank, grammar, bound, loop) the number of steps in which it forbade the best token that the
    rules before it had left.
    """

    num_tokens: int = 0  # with <sos> and <eos>
    num_speakers: int = 0
    missing_eos: bool = False  # cut by max_steps
    fired: dict[str, int] = field(default_factory=dict)

    @property
    def loop_blocks(self) -> int:
        return self.fired.get("loop", 0)

    @property
    def bound_hits(self) -> int:
        return self.fired.get("bound", 0)

    def as_dict(self) -> dict[str, int]:
        """What a decoding table shows of a row."""
        return {
            "num_tokens": self.num_tokens,
            "missing_eos": int(self.missing_eos),
            "loop_blocks": self.loop_blocks,
            "bound_hits": self.bound_hits,
        }


def decode(
    step: Step,
    batch_size: int,
    vocab: Vocab,
    options: DecodeOptions,
    max_frames: Tensor,
    keys: Sequence[str] | None = None,
    max_steps: int | None = None,
) -> tuple[list[Tensor], list[DecodeStats]]:
    """Decode `batch_size` rows, greedily or by sampling as `options.strategy` says.

    Args:
        step: fresh state of batch_size rows; it is fed <sos> first.
        max_frames: [batch_size] int64, frames of each mixture: the bound on each of its speakers (options.length_slack
            is added). The tokens live on its device.
        keys: one name per row (the utterance id), which seeds its random numbers; row numbers when left out.
        max_steps: never more tokens than this, e.g. the size of a position table; a row that is cut has `missing_eos`.

    Returns:
        Per row the tokens [S_i] int64, from <sos> to <eos> unless cut, and its DecodeStats.

    Raises:
        ValueError: the sizes of the arguments disagree, a bound is below 1, or the strategy is beam (see beam.py).
        DecodeError: NaN logits.
    """
    bounds = speaker_bounds(options, max_frames, batch_size)
    if options.strategy == "beam":
        raise ValueError("strategy is 'beam'; autoregressive.decode does greedy and sample, beam.decode does beam")
    if keys is not None and len(keys) != batch_size:
        raise ValueError(f"{len(keys)} keys for {batch_size} rows; give one per row")
    names = list(keys) if keys is not None else [str(row) for row in range(batch_size)]
    limit = step_limit(options, bounds, max_steps)
    loop = _Loop(step, vocab, options, bounds, names, limit)
    for _ in range(limit - 1):
        if not loop.advance():
            break
    loop.leave()
    return loop.results()


def speaker_bounds(options: DecodeOptions, max_frames: Tensor, batch_size: int) -> Tensor:
    """The most frames of a speaker, [B], with the slack of the options; ValueError on a bad bound."""
    if max_frames.shape != (batch_size,):
        raise ValueError(f"max_frames has shape {list(max_frames.shape)}; it must be [{batch_size}], one per row")
    if batch_size and int(max_frames.min()) < 1:
        raise ValueError(f"a bound of {int(max_frames.min())} frames: every mixture must have at least 1 frame")
    return max_frames.long() + (options.length_slack if options.length_rule == "bound" else 0)


def step_limit(options: DecodeOptions, bounds: Tensor, max_steps: int | None) -> int:
    """The most tokens that any row can have, <sos> included."""
    longest = int(bounds.max()) if len(bounds) else 0
    own = 1 + options.speakers_limit * (longest + 1)
    return own if max_steps is None else min(own, max(max_steps, 1))


def apply_rules(logits: Tensor, history: History, chain: dict[str, Filter]) -> tuple[Tensor, Tensor]:
    """All rules in turn: logits [B, V] and, per rule, whether it forbade the best token left, [rules, B] bool."""
    logits, fired = logits.float().clamp(-LARGEST, LARGEST), []
    for rule in chain.values():
        best = logits.argmax(dim=-1, keepdim=True)
        logits = rule(logits, history)
        fired.append(logits.gather(-1, best).squeeze(-1) == NEVER)
    return logits, torch.stack(fired)


class _Loop:
    """The state of one call of `decode`: the rows still inside, and what those that left have taken along."""

    def __init__(
        self, step: Step, vocab: Vocab, options: DecodeOptions, bounds: Tensor, keys: list[str], limit: int
    ) -> None:
        self.step, self.vocab, self.options = step, vocab, options
        self.rules, self.truncation = rules(options, vocab), truncation(options)
        self.noise = GumbelNoise(options.seed, keys, bounds.device) if options.strategy == "sample" else None
        self.history = History(vocab, bounds, limit, options.loop_period)
        self.rows = torch.arange(len(bounds), device=bounds.device)  # which row of the call stands where now
        self.done = torch.zeros_like(self.rows, dtype=torch.bool)
        self.bad = torch.zeros_like(self.done)
        self.fired = torch.zeros(len(self.rules), len(bounds), dtype=torch.int64, device=bounds.device)
        self.finished: dict[int, tuple[Tensor, DecodeStats]] = {}
        self.last = torch.full_like(self.rows, vocab.sos)
        self.history.push(self.last)

    def advance(self) -> bool:
        """One token for every row; False when no row is left."""
        if self.history.num_tokens % self.options.leave_every == 0:
            self._drop_done()
        if not len(self.rows):
            return False
        logits = self.step(self.last)
        self.bad |= logits.isnan().any(dim=-1) & ~self.done
        logits, fired = apply_rules(logits, self.history, self.rules)
        self.fired[:, self.rows] += fired & ~self.done
        self.last = torch.where(self.done, self.vocab.eos, self._choose(logits))
        self.history.push(self.last)
        self.done = self.done | (self.last == self.vocab.eos)
        return True

    def leave(self) -> None:
        """Take every row out, whether it has ended or not."""
        self._store(torch.arange(len(self.rows), device=self.rows.device))

    def results(self) -> tuple[list[Tensor], list[DecodeStats]]:
        """Tokens and stats in the order of the call."""
        counts = dict(zip(self.rules, self.fired.tolist(), strict=True))
        for row, (_, stats) in self.finished.items():
            stats.fired = {name: count[row] for name, count in counts.items()}
        pairs = [self.finished[row] for row in range(len(self.finished))]
        return [tokens for tokens, _ in pairs], [stats for _, stats in pairs]

    def _choose(self, logits: Tensor) -> Tensor:
        """[B, V] -> [B]: the best token, of the sampler after adding its noise (Gumbel-max)."""
        for narrow in self.truncation:
            logits = narrow(logits, self.history)
        if self.noise is not None:
            logits = logits + self.noise.at(self.history.num_tokens, logits.shape[-1])
        return logits.argmax(dim=-1)

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
        if self.noise is not None:
            self.noise.keep(stay)
        self.rows, self.done, self.bad, self.last = (
            self.rows[stay], self.done[stay], self.bad[stay], self.last[stay]
        )  # fmt: skip

    def _store(self, places: Tensor) -> None:
        if bool(self.bad.any()):
            raise DecodeError(
                f"the network gave NaN logits in {int(self.bad.sum())} of {len(self.bad)} rows; "
                "its weights or its input hold NaN"
            )
        tokens = self.history.tokens[places]
        for row, sequence in zip(self.rows[places].tolist(), tokens, strict=True):
            self.finished[row] = _finish(sequence, self.vocab)


def _finish(sequence: Tensor, vocab: Vocab) -> tuple[Tensor, DecodeStats]:
    """Cut after the first <eos> and count."""
    ends = (sequence == vocab.eos).nonzero().flatten()
    sequence = sequence[: int(ends[0]) + 1] if len(ends) else sequence
    num_speakers = int((sequence == vocab.sc).sum()) + 1
    return sequence.clone(), DecodeStats(len(sequence), num_speakers, missing_eos=not len(ends))
