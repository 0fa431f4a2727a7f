"""What every search over tokens is given (a step function), obeys (the rules), and gives back (tokens and counts)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from codecsep.decode.filters import Filter
from codecsep.decode.history import History
from codecsep.decode.options import DecodeOptions
from codecsep.errors import CodecsepError
from codecsep.tokens.vocab import Vocab

LARGEST = 1e30  # logits are kept inside +-this, so that an allowed token never looks like a forbidden one


class DecodeError(CodecsepError):
    """The network gave something that no token can be chosen from."""


def not_numbers(what: str) -> DecodeError:
    """The error of logits that are NaN. what: where."""
    fix = "its weights or its input hold NaN: train again (stages 4 and 5), or look at the mixture"
    return DecodeError("E531", f"the network gave NaN logits{what}", "decoding", fix)


class Step(Protocol):
    """One step of a network over the rows of a batch."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """tokens [B] int64, the latest of each row -> logits [B, V] of the next; the state moves on by one."""
        ...

    def keep(self, rows: Tensor) -> None:
        """From now on the state holds these rows ([B'] int64), in this order; beam search may name a row twice."""
        ...


@dataclass
class DecodeStats:
    """What happened to one row.

    fired: for each rule (blank, grammar, bound, loop) the number of steps in which it left only worse tokens than the
    rules before it had, i.e. forbade the best one (of several equally good ones all).
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
            "eos_missing": int(self.missing_eos),
            "loop_blocks": self.loop_blocks,
            "bound_hits": self.bound_hits,
        }


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


def apply_rules(logits: Tensor, history: History, chain: dict[str, Filter]) -> tuple[Tensor, Tensor, Tensor]:
    """All rules in turn, on logits [B, V].

    Returns the logits, in float32; for each rule whether the best token left is worse for it, [rules, B] bool; and
    whether the logits held NaN, [B] bool.

    By the best value, not its place: one reduction serves two rules, and torch finds a maximum about ten times faster
    than where it stands.
    """
    logits = logits.float().clamp(-LARGEST, LARGEST)
    best = [logits.amax(dim=-1)]
    for rule in chain.values():
        logits = rule(logits, history)
        best.append(logits.amax(dim=-1))
    values = torch.stack(best)
    return logits, values[1:] < values[:-1], best[0].isnan()


def finish(sequence: Tensor, vocab: Vocab) -> tuple[Tensor, DecodeStats]:
    """Cut after the first <eos> and count."""
    ends = (sequence == vocab.eos).nonzero().flatten()
    sequence = sequence[: int(ends[0]) + 1] if len(ends) else sequence
    num_speakers = int((sequence == vocab.sc).sum()) + 1
    return sequence.clone(), DecodeStats(len(sequence), num_speakers, missing_eos=not len(ends))
