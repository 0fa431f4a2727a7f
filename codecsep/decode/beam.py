"""Beam search for a batch of rows, several hypotheses each (SLM-SS decodes so; width and length penalty are ours).

Score of a hypothesis: the sum of the log-probabilities that the network itself, at temperature 1, gave its tokens
(<eos> included, <sos> not), divided by (number of those tokens) ** length_penalty. A rule removes hypotheses; it does
not make the remaining tokens likelier. With length_penalty 0 long sequences lose, with 1 the score is the mean of the
tokens.

Search: at each step the `beam_size` best unfinished continuations of a row go on; those that end with <eos> among its
2 * beam_size best are set aside. A row is decided when beam_size hypotheses are finished and none that is unfinished
can still beat the worst of them, or when nothing is left to go on with.

All of it happens on the device; every `leave_every` steps the program looks which rows are decided and lets them go.
"""

from __future__ import annotations

import torch
from torch import Tensor

from codecsep.decode.filters import NEVER, rules
from codecsep.decode.history import NOTHING, History
from codecsep.decode.options import DecodeOptions
from codecsep.decode.step import DecodeStats, Step, apply_rules, finish, not_numbers
from codecsep.tokens.vocab import Vocab


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
    for number in range(limit - 1):
        if number % options.leave_every == 0 and not hypotheses.drop_decided():
            break
        hypotheses.advance()
    return hypotheses.results()


class _Finished:
    """The best finished hypotheses of each row, W places, the best first; score -inf: an empty place.

    scores [B, W] float64, tokens [B, W, limit], fired [rules, B, W].
    """

    def __init__(self, like: Tensor, limit: int, num_rules: int) -> None:
        self.scores = torch.full_like(like, NEVER, dtype=torch.float64)
        self.tokens = like.new_full((*like.shape, limit), NOTHING, dtype=torch.int64)
        self.fired = like.new_zeros((num_rules, *like.shape), dtype=torch.int64)

    def add(self, scores: Tensor, tokens: Tensor, fired: Tensor) -> None:
        """One new hypothesis per place (score -inf: none): scores [B, W], tokens [B, W, n], fired [rules, B, W].

        Of equal scores the one that has been here longer stays in front.
        """
        length, width = tokens.shape[-1], self.scores.shape[1]
        merged, order = torch.cat([self.scores, scores], dim=1).sort(dim=1, descending=True, stable=True)
        self.scores, order = merged[:, :width], order[:, :width]
        both = torch.cat([self.tokens[..., :length], tokens], dim=1)
        self.tokens[..., :length] = both.gather(1, order[..., None].expand(-1, -1, length))
        counts = torch.cat([self.fired, fired], dim=2)
        self.fired = counts.gather(2, order.expand(len(counts), -1, -1))

    def keep(self, rows: Tensor) -> None:
        self.scores, self.tokens, self.fired = self.scores[rows], self.tokens[rows], self.fired[:, rows]


class _Search:
    """B rows still searched, W hypotheses each, kept as B * W rows in the step and in the history."""

    def __init__(self, step: Step, vocab: Vocab, options: DecodeOptions, bounds: Tensor, limit: int) -> None:
        self.step, self.vocab, self.options, self.width = step, vocab, options, options.beam_size
        self.rules, device = rules(options, vocab), bounds.device
        self.rows = torch.arange(len(bounds), device=device)  # which row of the call stands where now
        self.limits = (1 + options.speakers_limit * (bounds + 1)).clamp(max=limit)
        copies = self.rows.repeat_interleave(self.width)
        step.keep(copies)
        self.history = History(vocab, bounds[copies], limit, options.loop_period)
        self.scores = torch.full((len(bounds), self.width), NEVER, device=device)
        self.scores[:, 0] = 0.0  # the copies are equal at first: only one of them counts
        self.finished = _Finished(self.scores, limit, len(self.rules))
        self.fired = torch.zeros_like(self.finished.fired)
        self.decided = torch.zeros_like(self.rows, dtype=torch.bool)
        self.bad = torch.zeros_like(self.decided)
        self.last = torch.full_like(copies, vocab.sos)
        self.history.push(self.last)
        self.stored: dict[int, tuple[Tensor, DecodeStats]] = {}

    def advance(self) -> None:
        """One token for every hypothesis; nothing changes any more in a row that is decided."""
        logits = self.step(self.last)
        allowed, fired, bad = apply_rules(logits, self.history, self.rules)
        self.bad |= bad.view_as(self.scores).any(dim=1) & ~self.decided
        self.fired += fired.view_as(self.fired)
        gains = logits.float().log_softmax(dim=-1).clamp(min=-1e30).masked_fill(allowed == NEVER, NEVER)
        totals = (self.scores[..., None] + gains.unflatten(0, self.scores.shape)).flatten(1)
        best, places = totals.topk(min(2 * self.width, totals.shape[1]), dim=1)
        sources, tokens = places // self.vocab.size, places % self.vocab.size
        self._set_aside(best, sources, tokens)
        self._go_on(best, sources, tokens)

    def drop_decided(self) -> bool:
        """Let the decided rows go; False when no row is left. Waits for the device."""
        decided, bad = torch.stack([self.decided, self.bad]).tolist()
        if any(bad):
            raise not_numbers("")
        gone = [place for place, is_decided in enumerate(decided) if is_decided]
        if gone:
            self._store(gone)
            self._keep([place for place, is_decided in enumerate(decided) if not is_decided])
        return len(gone) < len(decided)

    def results(self) -> tuple[list[Tensor], list[DecodeStats]]:
        """Tokens and stats of the best hypothesis of each row; of a row without any, the best unfinished one."""
        if self.drop_decided():
            self._store(list(range(len(self.rows))))
        best = [self.stored[row] for row in range(len(self.stored))]
        return [tokens for tokens, _ in best], [stats for _, stats in best]

    def _set_aside(self, best: Tensor, sources: Tensor, tokens: Tensor) -> None:
        """The continuations with <eos>: at most one of each hypothesis."""
        ends = best.masked_fill((tokens != self.vocab.eos) | self.decided[:, None], NEVER)
        scores = torch.full_like(self.scores, NEVER).scatter_reduce_(1, sources, ends, "amax")
        sequences = torch.cat([self.history.tokens, torch.full_like(self.last, self.vocab.eos)[:, None]], dim=1)
        lengths = self.history.num_tokens
        self.finished.add(self._normalised(scores, lengths), sequences.unflatten(0, self.scores.shape), self.fired)

    def _go_on(self, best: Tensor, sources: Tensor, tokens: Tensor) -> None:
        """The W best continuations without <eos>."""
        self.scores, columns = best.masked_fill(tokens == self.vocab.eos, NEVER).topk(self.width, dim=1)
        self.decided = self.decided | self._cannot_win(self.scores[:, 0])
        starts = torch.arange(len(self.scores), device=best.device)[:, None] * self.width
        origin = (starts + sources.gather(1, columns)).flatten()
        self.step.keep(origin)
        self.history.keep(origin)
        self.fired = self.fired.flatten(1)[:, origin].view_as(self.fired)
        self.last = tokens.gather(1, columns).flatten()
        self.history.push(self.last)

    def _cannot_win(self, best: Tensor) -> Tensor:
        """No unfinished hypothesis is left, or the best one cannot beat the worst of W finished ones at any length."""
        worst = self.finished.scores[:, -1]
        return (best == NEVER) | ((worst > NEVER) & (self._normalised(best, self.limits - 1) <= worst))

    def _normalised(self, totals: Tensor, num_tokens: Tensor | int) -> Tensor:
        return totals.double() / num_tokens**self.options.length_penalty

    def _keep(self, stay: list[int]) -> None:
        if not stay:
            return
        rows = torch.tensor(stay, device=self.rows.device)
        copies = (rows[:, None] * self.width + torch.arange(self.width, device=rows.device)).flatten()
        self.step.keep(copies)
        self.history.keep(copies)
        self.finished.keep(rows)
        self.rows, self.limits, self.scores = self.rows[rows], self.limits[rows], self.scores[rows]
        self.decided, self.bad, self.last = self.decided[rows], self.bad[rows], self.last[copies]
        self.fired = self.fired[:, rows]

    def _store(self, places: list[int]) -> None:
        rows, ended = self.rows.tolist(), (self.finished.scores[:, 0] > NEVER).tolist()
        for place in places:
            done = ended[place]
            tokens = self.finished.tokens[place, 0] if done else self.history.tokens[place * self.width]
            counts = (self.finished.fired if done else self.fired)[:, place, 0].tolist()
            sequence, stats = finish(tokens, self.vocab)
            stats.fired = dict(zip(self.rules, counts, strict=True))
            self.stored[rows[place]] = (sequence, stats)
