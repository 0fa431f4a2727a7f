"""Serialised speakers: exact inverse, total inverse, aligned specials, and time positions against an obvious twin."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codecsep.tokens import sot
from codecsep.tokens.sot import SequenceError
from codecsep.tokens.vocab import Vocab

SIZE = 6
VOCAB = Vocab(SIZE)
ANY_IDS = st.lists(st.integers(-3, SIZE + 6), max_size=40)
FAST = settings(max_examples=150, deadline=None, derandomize=True)


@st.composite
def speakers(draw):
    num_codebooks = draw(st.integers(1, 12))
    lengths = draw(st.lists(st.integers(0, 7), min_size=1, max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    return [torch.randint(0, SIZE, (num_codebooks, length), generator=generator) for length in lengths]


@FAST
@given(speakers())
def test_split_is_the_inverse_of_build(codes):
    sequence = sot.build(codes, VOCAB)
    assert sequence.shape == (codes[0].shape[0], sum(matrix.shape[1] for matrix in codes) + len(codes) + 1)
    back = sot.split(sequence, VOCAB)
    assert len(back) == len(codes) and all(torch.equal(a, b) for a, b in zip(back, codes, strict=True))


@FAST
@given(speakers())
def test_specials_stand_at_the_same_steps_in_all_levels(codes):
    sequence = sot.build(codes, VOCAB)
    special = VOCAB.is_special(sequence)
    assert (special == special[0]).all() and (sequence[:, special[0]] == sequence[0, special[0]]).all()
    order = sequence[0, special[0]].tolist()
    assert order == [VOCAB.sos] + [VOCAB.sc] * (len(codes) - 1) + [VOCAB.eos]


def test_two_speakers_by_hand():
    codes = [torch.tensor([[1, 2], [3, 4]]), torch.tensor([[5], [0]])]
    assert sot.build(codes, VOCAB).tolist() == [[6, 1, 2, 7, 5, 8], [6, 3, 4, 7, 0, 8]]


def test_numpy_codes_are_taken():
    codes = [torch.tensor([[1, 2]]).numpy()]
    assert sot.build(codes, VOCAB).tolist() == [[6, 1, 2, 8]]


@FAST
@given(ANY_IDS)
def test_split_of_anything_gives_codes(ids):
    pieces = sot.split(ids, VOCAB)
    before_end = ids[: ids.index(VOCAB.eos)] if VOCAB.eos in ids else ids
    assert len(pieces) == before_end.count(VOCAB.sc) + 1
    assert torch.cat(pieces, dim=1)[0].tolist() == [i for i in before_end if 0 <= i < SIZE]


@FAST
@given(st.lists(st.lists(st.integers(-3, SIZE + 6), min_size=9, max_size=9), min_size=1, max_size=4))
def test_split_of_any_levels_follows_level_0(levels):
    pieces = sot.split(torch.tensor(levels), VOCAB)
    alone = sot.split(torch.tensor(levels[0]), VOCAB)
    for piece, first in zip(pieces, alone, strict=True):
        assert torch.equal(piece[:1], first) and piece.shape[0] == len(levels)
        assert VOCAB.is_code(piece).all()


def test_rebuilding_what_was_split_is_stable():
    sequence = torch.tensor([[6, 1, 2, 7, 7, 3, 8, 5, 5], [6, 0, 8, 7, 7, 2, 8, 7, 1]])
    pieces = sot.split(sequence, VOCAB)
    assert [piece.tolist() for piece in pieces] == [[[1, 2], [0, 0]], [[], []], [[3], [2]]]
    again = sot.split(sot.build(pieces, VOCAB), VOCAB)
    assert all(torch.equal(a, b) for a, b in zip(pieces, again, strict=True))


@pytest.mark.parametrize(
    "codes",
    [
        [],
        [torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3, 3, dtype=torch.int64)],
        [torch.full((2, 3), SIZE)],
        [torch.full((2, 3), -1)],
        [torch.zeros(2, 3)],
        [torch.zeros(3, dtype=torch.int64)],
    ],
)
def test_build_refuses(codes):
    with pytest.raises(SequenceError):
        sot.build(codes, VOCAB)


def test_split_refuses_a_batch():
    with pytest.raises(SequenceError, match="one utterance"):
        sot.split(torch.zeros(2, 3, 4, dtype=torch.int64), VOCAB)


def slow_positions(ids: list[int]) -> list[int]:
    """Read the definition aloud."""
    positions, frames = [], 0
    for token in ids:
        positions.append(0 if token in (VOCAB.sos, VOCAB.pad) else frames + 1)
        frames = 0 if token in (VOCAB.sos, VOCAB.sc) else frames + 1
    return positions


def test_positions_by_hand():
    sequence = sot.build([torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.int64)], VOCAB)
    assert sot.time_positions(sequence[0], VOCAB).tolist() == [0, 1, 2, 3, 1, 2]


@FAST
@given(st.lists(st.lists(st.integers(0, SIZE + 3), min_size=13, max_size=13), min_size=1, max_size=3))
def test_positions_equal_the_slow_twin_and_the_counter(rows):
    batch = torch.tensor(rows)
    expected = torch.tensor([slow_positions(row) for row in rows])
    assert torch.equal(sot.time_positions(batch, VOCAB), expected)
    assert torch.equal(sot.time_positions(batch[:, None], VOCAB), expected[:, None])
    counter = sot.PositionCounter(len(rows), VOCAB)
    assert torch.equal(torch.stack([counter.step(column) for column in batch.T], dim=1), expected)


def test_counter_keeps_chosen_rows():
    batch = torch.tensor([[6, 1, 7, 1, 1], [6, 1, 1, 1, 1]])
    counter = sot.PositionCounter(2, VOCAB)
    for column in batch[:, :4].T:
        counter.step(column)
    counter.keep(torch.tensor([1, 0, 0]))
    assert counter.step(torch.tensor([1, 1, 1])).tolist() == [4, 2, 2]


def test_positions_of_an_empty_sequence():
    assert sot.time_positions(torch.zeros(2, 0, dtype=torch.int64), VOCAB).shape == (2, 0)


def test_padding_never_leaves_the_range_of_positions():
    sequence = torch.cat([sot.build([torch.zeros(1, 3, dtype=torch.int64)], VOCAB)[0], torch.full((50,), VOCAB.pad)])
    assert int(sot.time_positions(sequence, VOCAB).max()) == 4
