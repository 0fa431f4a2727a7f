"""What must hold for any codes and lengths: sequences of speakers, special tokens, batches."""

import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from tries import TRIES

from codecsep.data import buckets
from codecsep.tokens import sot
from codecsep.tokens.vocab import Vocab

speakers = st.lists(st.integers(0, 12), min_size=1, max_size=4)


@TRIES
@given(speakers, st.integers(1, 8), st.integers(1, 600), st.integers(0, 2**32 - 1))
def test_speakers_are_split_as_they_were_built(lengths, levels, size, seed):
    vocab, generator = Vocab(size), np.random.default_rng(seed)
    codes = [torch.from_numpy(generator.integers(0, size, (levels, length))) for length in lengths]
    sequence = sot.build(codes, vocab)
    assert sequence.shape == (levels, sum(lengths) + len(lengths) + 1)
    found = sot.split(sequence, vocab)
    assert len(found) == len(codes) and all(torch.equal(a, b) for a, b in zip(found, codes, strict=True))
    order = list(range(len(codes)))
    random.Random(seed).shuffle(order)
    other = sot.split(sot.build([codes[i] for i in order], vocab), vocab)
    assert all(torch.equal(other[place], codes[i]) for place, i in enumerate(order))


@TRIES
@given(st.lists(st.integers(-(2**31), 2**31) | st.integers(-3, 24), max_size=60), st.integers(1, 3))
def test_splitting_is_total(numbers, levels):
    vocab = Vocab(16)
    matrix = torch.tensor(numbers[: len(numbers) // levels * levels], dtype=torch.int64).reshape(levels, -1)
    for sequence in (matrix, matrix[0]):
        found = sot.split(sequence, vocab)
        assert len(found) <= int((matrix[0] == vocab.sc).sum()) + 1
        assert all(bool(vocab.is_code(speaker).all()) for speaker in found)


@TRIES
@given(st.integers(1, 70000))
def test_special_tokens_are_no_codes(size):
    vocab = Vocab(size)
    special = torch.tensor([vocab.sos, vocab.sc, vocab.eos])
    assert (
        len(set(special.tolist())) == 3 and not vocab.is_code(special).any() and bool(vocab.is_special(special).all())
    )
    assert not vocab.is_code(torch.tensor([vocab.pad])).any() and vocab.pad not in special.tolist()


@TRIES
@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(50, 300), st.integers(1, 8),
    st.integers(1, 4), st.integers(1, 3), st.integers(0, 5),
)  # fmt: skip
def test_every_example_once_and_as_many_batches_for_every_rank(lengths, frames, count, ranks, accum, epoch):
    limits = buckets.BatchConfig(frames, count)
    try:
        plan = buckets.plan(lengths, limits, 7, epoch, ranks, accum)
    except buckets.BucketError:
        assert len(lengths) < ranks
        return
    steps = list(plan.steps())
    used = [index for step in steps for rank in step for batch in rank for index in batch]
    assert len(used) == len(set(used)) and set(used) <= set(range(len(lengths)))
    assert len(lengths) - len(used) < ranks
    assert all(len(rank) == len(step[0]) for step in steps for rank in step)
    batches = [batch for step in steps for rank in step for batch in rank]
    assert all(len(b) <= count and len(b) * max(lengths[i] for i in b) <= frames for b in batches)
    middle = len(steps) // 2
    assert list(plan.steps(middle)) == steps[middle:]
    again = buckets.plan(lengths, limits, 7, epoch, ranks, accum)
    assert list(again.steps()) == steps
