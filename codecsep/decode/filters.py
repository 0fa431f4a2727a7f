"""Rules on the next token: one class, one rule; each a pure function (logits [B, V], history) -> logits [B, V].

A forbidden token gets -inf, everything else is left as it is. `rules` are what a sequence must obey, in every
strategy; `truncation` is how the sampler narrows its choice. It comes after the rules, so that it never drops the last
token that they allow.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from codecsep.decode.history import History
from codecsep.decode.options import DecodeOptions
from codecsep.tokens.vocab import Vocab

Filter = Callable[[Tensor, History], Tensor]
NEVER = float("-inf")


class Temperature:
    """Divide the logits by the temperature."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        return logits / self.temperature


class TopK:
    """Only the k best tokens; those that tie with the k-th stay too. k above V keeps all."""

    def __init__(self, k: int) -> None:
        self.k = k

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        if self.k >= logits.shape[-1]:
            return logits
        worst = logits.topk(self.k, dim=-1).values[:, -1:]
        return logits.masked_fill(logits < worst, NEVER)


class TopP:
    """Only the fewest best tokens whose probabilities reach p (at least one); those that tie with the last stay too.

    `candidates` (0 = all) is the number of tokens that a TopK before it has left: sorting those only is about three
    times faster than sorting the vocabulary.
    """

    def __init__(self, p: float, candidates: int = 0) -> None:
        self.p, self.candidates = p, candidates

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        if self.p >= 1.0:
            return logits
        count = min(self.candidates or logits.shape[-1], logits.shape[-1])
        best = logits.topk(count, dim=-1).values
        probabilities = best.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities  # what the better tokens hold already
        last = (before < self.p).sum(dim=-1, keepdim=True).clamp(min=1) - 1
        return logits.masked_fill(logits < best.gather(-1, last), NEVER)


class BlankSuppression:
    """No <sc> and no <eos> as the first token nor directly after <sc>: no speaker is empty.

    Whisper's SuppressBlank carried over to a vocabulary without a blank (SLM-SS names the rule, not its meaning).
    """

    def __init__(self, vocab: Vocab) -> None:
        self.vocab = vocab

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        return logits.masked_fill((history.frames == 0)[:, None] & _is_end(logits, self.vocab), NEVER)


class LoopBlocking:
    """No block of p frames (shortest <= p <= history.max_period) more than `repeats` times directly after itself.

    SLM-SS blocks N-grams without saying how. Classic N-gram blocking forbids every repeated N-gram, and codec streams
    repeat for good reasons: a pause or a held vowel is one token for many frames. So only immediate loops are cut, a
    block that is one held token is no loop unless shortest is 1, and nothing is compared across <sc>. A row in which
    everything else is forbidden already is left alone.

    Measured on 97,000 frames of single speakers (codebook 0, 50 Hz): with shortest 2 and 2 repeats the rule never
    forbids the true token, with 1 repeat 13 times; with shortest 1 and 4 repeats 1,660 times, up to 2.3 % of a set.
    """

    def __init__(self, repeats: int, shortest: int = 2) -> None:
        self.repeats, self.shortest = repeats, shortest

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        periods = torch.arange(1, history.max_period + 1, device=logits.device)
        full = (history.runs >= self.repeats * periods) & (periods >= self.shortest)
        if self.shortest > 1:
            full &= history.runs[:, :1] < periods - 1  # the block holds at least two different tokens
        hits = torch.zeros(logits.shape, dtype=torch.int64, device=logits.device)
        hits.scatter_add_(1, history.recent.clamp(min=0), full.long())
        filtered = logits.masked_fill(hits > 0, NEVER)
        stuck = (filtered == NEVER).all(dim=-1, keepdim=True)
        return torch.where(stuck, logits, filtered)


class SotGrammar:
    """Never <sos>; <eos> only once the fewest speakers have been written, <sc> only while another one may follow."""

    def __init__(self, vocab: Vocab, fewest: int, most: int) -> None:
        self.vocab, self.fewest, self.most = vocab, fewest, most

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        vocab, filtered, speakers = self.vocab, logits.clone(), history.num_sc + 1
        filtered[:, vocab.sos] = NEVER
        filtered[:, vocab.eos] = logits[:, vocab.eos].masked_fill(speakers < self.fewest, NEVER)
        filtered[:, vocab.sc] = logits[:, vocab.sc].masked_fill(speakers >= self.most, NEVER)
        return filtered


class LengthBounds:
    """A speaker has at least `fewest` frames and at most the row's history.max_frames; at the bound only <sc> or <eos>.

    Where the row's bound is below `fewest`, the bound counts.
    """

    def __init__(self, vocab: Vocab, fewest: int) -> None:
        self.vocab, self.fewest = vocab, fewest

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        full = (history.frames >= history.max_frames)[:, None]
        short = (history.frames < history.max_frames.clamp(max=self.fewest))[:, None]
        is_code = self.vocab.is_code(torch.arange(self.vocab.size, device=logits.device))
        return logits.masked_fill((full & is_code) | (short & _is_end(logits, self.vocab)), NEVER)


def _is_end(logits: Tensor, vocab: Vocab) -> Tensor:
    """[V] bool, True for <sc> and <eos>."""
    ids = torch.arange(vocab.size, device=logits.device)
    return (ids == vocab.sc) | (ids == vocab.eos)


def rules(options: DecodeOptions, vocab: Vocab) -> dict[str, Filter]:
    """The rules that every sequence obeys, by the name under which their interventions are counted."""
    exact = options.length_rule == "exact"
    most = options.speakers_limit
    chain: dict[str, Filter] = {
        "blank": BlankSuppression(vocab),
        "grammar": SotGrammar(vocab, options.num_speakers or 1, most),
        "bound": LengthBounds(vocab, UNLIMITED if exact else options.min_frames),
    }
    if options.loop_period:
        chain["loop"] = LoopBlocking(options.loop_repeats, options.loop_min_period)
    return chain


def truncation(options: DecodeOptions) -> list[Filter]:
    """What narrows the sampler's choice: temperature, then top-k, then top-p; empty for the other strategies."""
    chain: list[Filter] = []
    if options.temperature != 1.0:
        chain.append(Temperature(options.temperature))
    if options.top_k:
        chain.append(TopK(options.top_k))
    if options.top_p < 1.0:
        chain.append(TopP(options.top_p, candidates=options.top_k))
    return chain


UNLIMITED = 2**62
