"""Beam search for a batch of rows, several hypotheses each (SLM-SS decodes so; width and length penalty are ours).

Score of a hypothesis: the sum of the log-probabilities that the network itself, at temperature 1, gave its tokens
(<eos> included, <sos> not), divided by (number of those tokens) ** length_penalty. A rule removes hypotheses; it does
not make the remaining tokens likelier. With length_penalty 0 long sequences lose, with 1 the score is the mean of the
tokens.

Search: at each step the `beam_size` best unfinished continuations of a row go on; those that end with <eos> among its
2 * beam_size best are set aside. A row is decided when beam_size hypotheses are finished and none that is unfinished
can still beat the worst of them, or when nothing is left to go on with.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from codecsep.decode.filters import NEVER, rules
from codecsep.decode.history import History
from codecsep.decode.options import DecodeOptions
from codecsep.decode.step import DecodeStats, Step, apply_rules, not_numbers
from codecsep.tokens.vocab import Vocab


@dataclass
class _Row:
    """The finished hypotheses of one row of the call, as (score, tokens, stats), the best first."""

    finished: list[tuple[float, Tensor, DecodeStats]] = field(default_factory=list)

    def add(self, score: float, tokens: Tensor, stats: DecodeStats, most: int) -> None:
        self.finished.append((score, tokens, stats))
        self.finished.sort(key=lambda entry: -entry[0])
        del self.finished[most:]


def search(
    step: Step, vocab: Vocab, options: DecodeOptions, bounds: Tensor, limit: int
) -> tuple[list[Tensor], list[DecodeStats]]:
    """The best hypothesis of each row and its DecodeStats.

    step: fresh, with one row per bound; bounds [B]: most frames of a speaker; limit: most tokens of any row.
    Called by `autoregressive.decode` for strategy "beam". Raises DecodeError on NaN logits.
    """
    if not len(bounds):
        return [], []
    hypotheses = _Search(step, vocab, options, bounds, limit)
    for _ in range(limit - 1):
        if not hypotheses.advance():
            break
    hypotheses.cut()
    return hypotheses.results()


class _Search:
    """B rows still searched, W hypotheses each, kept as B * W rows in the step and in the history."""

    def __init__(self, step: Step, vocab: Vocab, options: DecodeOptions, bounds: Tensor, limit: int) -> None:
        self.step, self.vocab, self.options, self.limit = step, vocab, options, limit
        self.width, device = options.beam_size, bounds.device
        self.rules = rules(options, vocab)
        self.rows = [_Row() for _ in bounds]
        self.open = list(range(len(bounds)))
        copies = torch.arange(len(bounds), device=device).repeat_interleave(self.width)
        step.keep(copies)
        self.history = History(vocab, bounds[copies], limit, options.loop_period)
        self.fired = torch.zeros(len(self.rules), len(copies), dtype=torch.int64, device=device)
        self.scores = torch.full((len(bounds), self.width), NEVER, device=device)
        self.scores[:, 0] = 0.0  # the copies are equal at first: only one of them counts
        self.last = torch.full_like(copies, vocab.sos)
        self.history.push(self.last)

    def advance(self) -> bool:
        """One token for every hypothesis; False when every row is decided."""
        if not self.open:
            return False
        logits = self.step(self.last)
        if bool(logits.isnan().any()):
            raise not_numbers("")
        allowed, fired, _ = apply_rules(logits, self.history, self.rules)
        self.fired += fired
        gains = logits.float().log_softmax(dim=-1).clamp(min=-1e30).masked_fill(allowed == NEVER, NEVER)
        totals = (self.scores[..., None] + gains.unflatten(0, self.scores.shape)).flatten(1)
        count = min(2 * self.width, totals.shape[1])
        best, places = totals.topk(count, dim=1)
        self._finish(best, places)
        self._go_on(best, places)
        return True

    def cut(self) -> None:
        """The step limit is reached: a row without a finished hypothesis gives its best unfinished one."""
        for place, row in enumerate(self.open):
            if not self.rows[row].finished:
                self._set_aside(row, place * self.width, self.history.tokens[place * self.width], NEVER, True)

    def results(self) -> tuple[list[Tensor], list[DecodeStats]]:
        """Tokens and stats of the best hypothesis of each row."""
        best = [row.finished[0] for row in self.rows]
        return [tokens for _, tokens, _ in best], [stats for _, _, stats in best]

    def _finish(self, best: Tensor, places: Tensor) -> None:
        """Set aside the continuations with <eos>."""
        size = self.vocab.size
        ends = (places % size == self.vocab.eos) & (best > NEVER)
        for place, column in ends.nonzero().tolist():
            source = place * self.width + int(places[place, column]) // size
            tokens = torch.cat([self.history.tokens[source], self.last.new_tensor([self.vocab.eos])])
            score = self._normalised(float(best[place, column]), len(tokens) - 1)
            self._set_aside(self.open[place], source, tokens, score, False)

    def _set_aside(self, row: int, source: int, tokens: Tensor, score: float, missing_eos: bool) -> None:
        speakers = int((tokens == self.vocab.sc).sum()) + 1
        fired = dict(zip(self.rules, self.fired[:, source].tolist(), strict=True))
        self.rows[row].add(score, tokens.clone(), DecodeStats(len(tokens), speakers, missing_eos, fired), self.width)

    def _go_on(self, best: Tensor, places: Tensor) -> None:
        """The W best continuations without <eos>, of the rows that are not decided."""
        tokens = places % self.vocab.size
        alive = best.masked_fill(tokens == self.vocab.eos, NEVER)
        scores, columns = alive.topk(self.width, dim=1)
        stay = [place for place, row in enumerate(self.open) if not self._decided(self.rows[row], scores[place, 0])]
        self.open = [self.open[place] for place in stay]
        if not stay:
            return
        kept = torch.tensor(stay, device=best.device)
        picked = columns[kept]
        sources = kept[:, None] * self.width + places[kept].gather(1, picked) // self.vocab.size
        self.scores, self.last = scores[kept], tokens[kept].gather(1, picked).flatten()
        self.step.keep(sources.flatten())
        self.history.keep(sources.flatten())
        self.fired = self.fired[:, sources.flatten()]
        self.history.push(self.last)

    def _decided(self, row: _Row, best: Tensor) -> bool:
        """No unfinished hypothesis is left, or the best one cannot beat the worst of W finished ones at any length."""
        if float(best) == NEVER:
            return True
        full = len(row.finished) == self.width
        return full and self._normalised(float(best), self.limit - 1) <= row.finished[-1][0]

    def _normalised(self, total: float, num_tokens: int) -> float:
        return total / num_tokens**self.options.length_penalty
