"""Speakers <-> one serialised sequence (serialised output training, SLM-SS section 2.1).

    <sos> frames of speaker 1 <sc> frames of speaker 2 <eos>

The specials stand at the same steps in all K levels. Who is speaker 1 is decided before, in the data directory.
"""

from collections.abc import Sequence

import torch

from codecsep.errors import CodecsepError
from codecsep.tokens.vocab import Vocab


class SequenceError(CodecsepError):
    """Codes that cannot be serialised, or something that is no sequence."""


def build(codes: Sequence[torch.Tensor], vocab: Vocab) -> torch.Tensor:
    """Serialise N speakers.

    codes: N arrays or tensors [K, T_j] of code ids, already in SOT order; T_j may be 0.
    Returns int64 [K, S] with S = sum(T_j) + N + 1.
    Raises SequenceError on no speaker, unequal K, or an id outside the codes.
    """
    if len(codes) == 0:
        what = "cannot build a sequence of no speakers"
        raise SequenceError("E305", what, "sequence", "give at least one matrix of codes [K, T]")
    speakers = [_checked(matrix, vocab) for matrix in codes]
    num_codebooks = {matrix.shape[0] for matrix in speakers}
    if len(num_codebooks) > 1:
        what = f"speakers have {sorted(num_codebooks)} codebooks"
        raise SequenceError("E305", what, "sequence", "tokenise them with one codec (--stage 2)")
    column = speakers[0].new_ones(num_codebooks.pop(), 1)
    parts = [column * vocab.sos]
    for matrix in speakers:
        parts += [matrix, column * vocab.sc]
    parts[-1] = column * vocab.eos
    return torch.cat(parts, dim=1)


def split(sequence: torch.Tensor | Sequence[int], vocab: Vocab) -> list[torch.Tensor]:
    """The inverse of `build`, and total: any integers at all give some list of speakers.

    sequence: [S] or [K, S]. Level 0 decides: the sequence ends at its first <eos>, is cut at every <sc> before that,
    and the steps where level 0 is no code are dropped. Where a higher level holds no code at a kept step, code 0
    stands in. Returns int64 [K, T_j] for each of (number of <sc>) + 1 speakers (K = 1 for [S]); T_j may be 0.
    """
    ids = torch.as_tensor(sequence, dtype=torch.int64)
    ids = ids.unsqueeze(0) if ids.dim() == 1 else ids
    if ids.dim() != 2 or ids.shape[0] == 0:
        what = f"a sequence is [S] or [K, S], K > 0, got {list(ids.shape)}"
        raise SequenceError("E305", what, "sequence", "split one utterance at a time")
    ends = (ids[0] == vocab.eos).nonzero()
    ids = ids[:, : int(ends[0])] if len(ends) else ids
    borders = (ids[0] == vocab.sc).nonzero().flatten().tolist() + [ids.shape[1]]
    speakers, start = [], 0
    for border in borders:
        speakers.append(_frames(ids[:, start:border], vocab))
        start = border + 1
    return speakers


def time_positions(level0: torch.Tensor, vocab: Vocab) -> torch.Tensor:
    """When within its speaker a step sounds, so that both speakers share one time axis.

    level0: int64 [.., S]. Returns int64 [.., S]: <sos> and padding 0, frame t (from 0) of any speaker t + 1,
    <sc> and <eos> one more than the frames of the speaker that they close.
    """
    steps = torch.arange(level0.shape[-1], device=level0.device).expand(level0.shape)
    restarts = torch.where(_restarts(level0, vocab), steps, -1)
    last_restart = restarts.cummax(dim=-1).values.roll(1, dims=-1) if level0.shape[-1] else restarts
    last_restart[..., :1] = -1
    return (steps - last_restart).masked_fill(_timeless(level0, vocab), 0)


class PositionCounter:
    """`time_positions` one step at a time, for the decoder: rows are independent and may be dropped or copied."""

    def __init__(self, batch: int, vocab: Vocab, device: torch.device | str = "cpu"):
        self.vocab = vocab
        self.upcoming = torch.ones(batch, dtype=torch.int64, device=device)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens int64 [B], the ids of this step; returns their positions int64 [B]."""
        positions = self.upcoming.masked_fill(_timeless(tokens, self.vocab), 0)
        self.upcoming = (self.upcoming + 1).masked_fill(_restarts(tokens, self.vocab), 1)
        return positions

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only these rows (int64 [B']), in this order."""
        self.upcoming = self.upcoming[rows]


def _restarts(ids: torch.Tensor, vocab: Vocab) -> torch.Tensor:
    return (ids == vocab.sos) | (ids == vocab.sc)


def _timeless(ids: torch.Tensor, vocab: Vocab) -> torch.Tensor:
    return (ids == vocab.sos) | (ids == vocab.pad)


def _checked(matrix: torch.Tensor, vocab: Vocab) -> torch.Tensor:
    codes = torch.as_tensor(matrix)
    if codes.dim() != 2 or codes.shape[0] < 1 or codes.is_floating_point():
        what = f"codes must be integers [K, T], got {tuple(codes.shape)} of {codes.dtype}"
        raise SequenceError("E305", what, "sequence", "give codes of the codec as they are")
    if not bool(vocab.is_code(codes).all()):
        what = f"codes hold ids {int(codes.min())} .. {int(codes.max())}, allowed are 0 .. {vocab.codebook_size - 1}"
        fix = "tokenise with the codec whose codec.json is used here (--stage 2)"
        raise SequenceError("E305", what, "sequence", fix)
    return codes.to(torch.int64)


def _frames(segment: torch.Tensor, vocab: Vocab) -> torch.Tensor:
    kept = segment[:, vocab.is_code(segment[0])]
    return torch.where(vocab.is_code(kept), kept, 0)
