import random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import loop_forbids, segment

from codecsep.decode.filters import (
    NEVER,
    BlankSuppression,
    LengthBounds,
    LoopBlocking,
    SotGrammar,
    rules,
)
from codecsep.decode.history import History
from codecsep.decode.options import DecodeOptions
from codecsep.tokens.vocab import Vocab

VOCAB = Vocab(4)  # codes 0..3, <sos> 4, <sc> 5, <eos> 6
SOS, SC, EOS = VOCAB.sos, VOCAB.sc, VOCAB.eos


def history_of(*rows, max_frames=100, max_period=12):
    """A history that has seen these rows (equal length)."""
    history = History(VOCAB, torch.full((len(rows),), max_frames), len(rows[0]), max_period)
    for tokens in zip(*rows, strict=True):
        history.push(torch.tensor(tokens))
    return history


def forbidden(rule, *rows, **options):
    """Per row the set of tokens that the rule forbids when all logits are 0."""
    filtered = rule(torch.zeros(len(rows), VOCAB.size), history_of(*rows, **options))
    return [set((row == NEVER).nonzero().flatten().tolist()) for row in filtered]


def test_blank_suppression_at_the_first_position_and_after_sc():
    rule = BlankSuppression(VOCAB)
    assert forbidden(rule, [SOS]) == [{SC, EOS}]
    assert forbidden(rule, [SOS, 1, SC], [SOS, 1, 2]) == [{SC, EOS}, set()]


def test_grammar_with_an_exact_number():
    rule = SotGrammar(VOCAB, 2, 2)
    assert forbidden(rule, [SOS, 0, 0, 0], [SOS, 0, SC, 0]) == [{SOS, EOS}, {SOS, SC}]


def test_grammar_with_an_open_number():
    rule = SotGrammar(VOCAB, 1, 3)
    assert forbidden(rule, [SOS, 0, 0, 0, 0], [SOS, 0, SC, 0, 0], [SOS, 0, SC, 0, SC]) == [{SOS}, {SOS}, {SOS, SC}]


def test_length_bounds():
    rule = LengthBounds(VOCAB, fewest=2)
    codes = set(range(4))
    rows = [SOS, 0, 1, 2], [SOS, 0, SC, 1], [SOS, 0, 1, SC]
    assert forbidden(rule, *rows, max_frames=3) == [codes | set(), {SC, EOS}, {SC, EOS}]
    assert forbidden(rule, [SOS, 0], max_frames=1) == [codes]  # the bound wins over the fewest


def test_loop_blocking_small_numbers():
    rule = LoopBlocking(repeats=2, shortest=2)
    assert forbidden(rule, [SOS, 0, 1, 0, 1, 0, 1]) == [{0}]  # 01 followed itself twice: no third time
    assert forbidden(rule, [SOS, 0, 1, 0, 1, 0]) == [set()]
    assert forbidden(rule, [SOS, 1, 1, 1, 1, 1, 1]) == [set()]  # one held token is silence or a vowel
    assert forbidden(rule, [SOS, 0, 1, 0, SC, 1, 0, 1]) == [set()]  # never across <sc>
    assert forbidden(LoopBlocking(repeats=2, shortest=1), [SOS, 1, 1, 1]) == [{1}]


def test_loop_blocking_leaves_a_row_alone_that_would_have_no_token():
    rule, history = LoopBlocking(repeats=1, shortest=1), history_of([SOS, 2, 2])
    logits = torch.full((1, VOCAB.size), NEVER)
    logits[0, 2] = 1.0
    assert torch.equal(rule(logits, history), logits)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 3), st.integers(1, 7))
def test_loop_blocking_equals_its_slow_twin(seed, repeats, shortest, longest):
    draw, rows = random.Random(seed), []
    for _ in range(6):
        block = [draw.randrange(2) for _ in range(draw.randint(1, 5))]
        noise = [draw.choice([0, 1, 2, SC]) if draw.random() < 0.1 else None for _ in range(30)]
        rows.append([SOS] + [block[i % len(block)] if n is None else n for i, n in enumerate(noise)])
    longest = max(longest, shortest)
    got = forbidden(LoopBlocking(repeats, shortest), *rows, max_period=longest)
    assert got == [loop_forbids(segment(row, VOCAB), repeats, shortest, longest) for row in rows]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.integers(0, 6), min_size=9, max_size=9), min_size=1, max_size=5), st.integers(1, 4))
def test_bounds_equal_their_slow_twin(rows, bound):
    got = forbidden(LengthBounds(VOCAB, fewest=2), *rows, max_frames=bound)
    for row, blocked in zip(rows, got, strict=True):
        frames = len(segment(row, VOCAB))
        expected = set(range(4)) if frames >= bound else {SC, EOS} if frames < min(2, bound) else set()
        assert blocked == expected


def test_history_keeps_rows_in_the_given_order_and_more_than_once():
    rows = [SOS, 0, 1, 0, 1], [SOS, 2, SC, 3, 3], [SOS, 1, 1, 1, 1]
    history, chosen = history_of(*rows), [2, 0, 0]
    history.keep(torch.tensor(chosen))
    expected = history_of(*[rows[i] for i in chosen])
    for name in ("tokens", "frames", "num_sc", "runs", "recent", "max_frames"):
        assert torch.equal(getattr(history, name), getattr(expected, name)), name


def test_filters_are_pure():
    history, logits = history_of([SOS, 0, 1, 0, 1]), torch.randn(1, VOCAB.size)
    before = logits.clone(), history.tokens.clone(), history.runs.clone()
    for rule in rules(DecodeOptions(), VOCAB).values():
        assert torch.equal(rule(logits, history), rule(logits, history))
    assert all(torch.equal(a, b) for a, b in zip(before, (logits, history.tokens, history.runs), strict=True))


def test_loop_period_zero_switches_the_rule_off():
    assert "loop" not in rules(DecodeOptions(loop_period=0), VOCAB)
    assert "loop" in rules(DecodeOptions(), VOCAB)


def test_history_counts_runs_within_a_speaker_only():
    history = history_of([SOS, 0, 1, SC, 0, 1, 0, 1, 1], max_period=4)
    assert history.runs.tolist() == [[1, 0, 1, 0]] and history.frames.tolist() == [5]
    assert history_of([SOS, 0, 1, SC, 0, 1], max_period=4).runs.tolist() == [
        [0, 0, 0, 0]
    ]  # three back is the other one
    assert history_of([SOS, 0, 1, 0, 1], max_period=4).runs.tolist() == [[0, 2, 0, 0]]
