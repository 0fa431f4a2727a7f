"""A row that enters later has the history and the noise of a row that began alone."""

import random

import pytest
import torch

from codecsep.decode.history import NOTHING, History
from codecsep.decode.noise import GumbelNoise
from codecsep.tokens.vocab import Vocab

VOCAB = Vocab(3)
STATE = ("lengths", "num_sc", "frames", "recent", "runs", "max_frames")


def alone(tokens, bound, capacity, period):
    history = History(VOCAB, torch.tensor([bound]), capacity, period)
    for token in tokens:
        history.push(torch.tensor([token]))
    return history


@pytest.mark.parametrize("period", [0, 1, 4])
def test_rows_admitted_at_random_equal_rows_alone(period):
    draw, capacity = random.Random(period), 14
    rows, bounds = [[VOCAB.sos] for _ in range(4)], [5, 6, 7, 8]
    history = History(VOCAB, torch.tensor(bounds), capacity, period)
    history.push(torch.full((4,), VOCAB.sos))
    for _ in range(60):
        tokens = [draw.choice([0, 0, 1, 1, 2, VOCAB.sc]) for _ in rows]
        history.push(torch.tensor(tokens))
        rows = [row + [token] for row, token in zip(rows, tokens, strict=True)]
        slots = draw.sample(range(4), draw.choice([0, 0, 0, 1, 2]))
        for slot in slots:
            rows[slot], bounds[slot] = [VOCAB.sos], draw.randint(1, 9)
        history.admit(torch.tensor(slots, dtype=torch.int64), torch.tensor([bounds[slot] for slot in slots]).long())
        got = history.sequences(torch.arange(4))
        for slot, (row, bound) in enumerate(zip(rows, bounds, strict=True)):
            expected = alone(row, bound, capacity, period)
            assert got[slot].tolist() == row[:capacity]
            for name in STATE:
                assert torch.equal(getattr(history, name)[slot], getattr(expected, name)[0]), name
    order = torch.tensor([3, 1, 1])
    history.keep(order)
    assert [row.tolist() for row in history.sequences(torch.arange(3))] == [rows[i][:capacity] for i in (3, 1, 1)]


def test_a_shorter_row_is_filled_with_nothing():
    history = History(VOCAB, torch.tensor([9, 9]), 5, 2)
    for token in (VOCAB.sos, 1, 2):
        history.push(torch.tensor([token, token]))
    history.admit(torch.tensor([1]), torch.tensor([4]))
    assert history.tokens.tolist() == [[VOCAB.sos, 1, 2], [VOCAB.sos, NOTHING, NOTHING]]


def test_the_bounds_of_the_caller_are_left_alone():
    bounds = torch.tensor([9, 9])
    History(VOCAB, bounds, 5, 2).admit(torch.tensor([1]), torch.tensor([4]))
    assert bounds.tolist() == [9, 9]


def test_noise_of_an_admitted_row_is_that_of_its_key_from_its_first_step():
    noise, steps = GumbelNoise(3, ["a", "b", "c"]), torch.tensor([7, 0, 2])
    noise.admit(torch.tensor([1]), ["late"])
    got = noise.at(steps, 11)
    for row, key in enumerate(("a", "late", "c")):
        assert torch.equal(got[row], GumbelNoise(3, [key]).at(int(steps[row]), 11)[0])


def test_noise_of_some_tokens_is_picked_from_the_noise_of_all():
    noise, tokens = GumbelNoise(3, ["a", "b"]), torch.tensor([[5, 0, 10], [2, 2, 9]])
    assert torch.equal(noise.at(4, 11, tokens), noise.at(4, 11).gather(1, tokens))
    steps = torch.tensor([4, 9])
    assert torch.equal(noise.at(steps, 11, tokens), noise.at(steps, 11).gather(1, tokens))
