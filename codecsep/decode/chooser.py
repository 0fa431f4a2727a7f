"""Logits of a step -> the next token of every row: the rules, then the best token or a draw. No search, no loop.

Nothing here waits for the device, so that a GPU can run ahead of the program; what went wrong comes back as a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codecsep.decode.filters import rules
from codecsep.decode.history import History
from codecsep.decode.noise import GumbelNoise
from codecsep.decode.options import DecodeOptions
from codecsep.decode.sampler import Sampling, draw
from codecsep.decode.step import apply_rules
from codecsep.tokens.vocab import Vocab


@dataclass
class Choice:
    """tokens [B] int64; fired [rules, B] bool: the rule left only worse tokens; bad [B] bool: the logits held NaN."""

    tokens: Tensor
    fired: Tensor
    bad: Tensor


class Chooser:
    """Chooses for the rows of a History; both are told when rows leave (`keep`) or enter (`admit`).

    What a row is given depends on its own logits, history and key, never on the other rows.
    """

    def __init__(self, options: DecodeOptions, vocab: Vocab, keys: Sequence[str], device: torch.device | str) -> None:
        self.rules = rules(options, vocab)
        self.sampling = Sampling(options.temperature, options.top_k, options.top_p)
        self.noise = GumbelNoise(options.seed, keys, device) if options.strategy == "sample" else None

    def __call__(self, logits: Tensor, history: History) -> Choice:
        """logits [B, V] -> Choice."""
        allowed, fired, bad = apply_rules(logits, history, self.rules)
        return Choice(self._best(allowed, history), fired, bad)

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows ([B'] int64), in this order."""
        if self.noise is not None:
            self.noise.keep(rows)

    def admit(self, slots: Tensor, keys: Sequence[str]) -> None:
        """New rows with these keys in the places `slots` ([n] int64)."""
        if self.noise is not None:
            self.noise.admit(slots, keys)

    def _best(self, logits: Tensor, history: History) -> Tensor:
        noise, size = self.noise, logits.shape[-1]
        if noise is None:
            return logits.argmax(dim=-1)
        return draw(logits, self.sampling, lambda ids: noise.at(history.lengths, size, ids))
