"""Rules on the next token: one class, one rule; each a pure function (logits [B, V], history) -> logits [B, V].

A forbidden token gets -inf, everything else is left as it is. Rules hold in every strategy. The sampler narrows its
choice after them (sampler.py), so that it never drops the last token that they allow.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from codecsep.decode.history import History
from codecsep.decode.options import DecodeOptions
from codecsep.decode.sampler import NEVER
from codecsep.tokens.vocab import Vocab

Filter = Callable[[Tensor, History], Tensor]
UNLIMITED = 2**62


class BlankSuppression:
    """No <sc> and no <eos> as the first token nor directly after <sc>: no speaker is empty.

    Whisper's SuppressBlank carried over to a vocabulary without a blank (SLM-SS names the rule, not its meaning).
    """

    def __init__(self, vocab: Vocab) -> None:
        self.vocab = vocab

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        return _without_ends(logits, history.frames == 0, self.vocab)


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
        tokens = history.recent.clamp(min=0)  # no token yet: no block is full there
        filtered = logits.scatter_reduce(1, tokens, _ceiling(logits, full), "amin")
        stuck = filtered.amax(dim=-1, keepdim=True) == NEVER
        restored = logits.gather(1, tokens).masked_fill_(~stuck, NEVER)
        return filtered.scatter_reduce_(1, tokens, restored, "amax")


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
        short = history.frames < history.max_frames.clamp(max=self.fewest)
        ceiling = _ceiling(logits, (history.frames >= history.max_frames)[:, None])
        filtered = _without_ends(logits, short, self.vocab)
        filtered[:, : self.vocab.codebook_size].clamp_(max=ceiling)
        return filtered


def _ceiling(logits: Tensor, forbidden: Tensor) -> Tensor:
    """-inf where forbidden (bool, any shape), +inf elsewhere."""
    return logits.new_full(forbidden.shape, -NEVER).masked_fill_(forbidden, NEVER)


def _without_ends(logits: Tensor, rows: Tensor, vocab: Vocab) -> Tensor:
    """A copy in which these rows ([B] bool) can take neither <sc> nor <eos>."""
    filtered = logits.clone()
    for end in (vocab.sc, vocab.eos):
        filtered[:, end].masked_fill_(rows, NEVER)
    return filtered


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
