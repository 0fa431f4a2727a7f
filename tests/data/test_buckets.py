import random
import time

import numpy as np
import pytest

from codecsep.data.buckets import BatchConfig, BucketError, pack, plan

LENGTHS = [random.Random(i).randint(1, 50) for i in range(103)]
CONFIG = BatchConfig(max_frames=120, max_examples=6)


def flat(steps):
    return [index for step in steps for rank in step for batch in rank for index in batch]


def test_exact_batches_of_tiny_numbers():
    assert pack([3, 1, 2, 9], BatchConfig(max_frames=9, max_examples=3)) == [[1, 2, 0], [3]]


def test_every_example_once_and_the_budget_kept():
    steps = list(plan(LENGTHS, CONFIG, seed=1, epoch=0, ranks=1, accum=1))
    assert sorted(flat(steps)) == list(range(len(LENGTHS)))
    for (batch,) in [step[0] for step in steps]:
        assert len(batch) <= CONFIG.max_examples
        assert len(batch) * max(LENGTHS[i] for i in batch) <= CONFIG.max_frames


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("accum", [1, 3])
def test_ranks_have_equal_numbers_of_batches_and_share_no_example(ranks, accum):
    steps = list(plan(LENGTHS, CONFIG, seed=1, epoch=0, ranks=ranks, accum=accum))
    assert sorted(flat(steps)) == list(range(len(LENGTHS)))
    for step in steps:
        assert len({len(batches) for batches in step}) == 1
        assert all(batch for batches in step for batch in batches)
    assert all(len(step[0]) == accum for step in steps[:-1])


def test_order_is_a_function_of_seed_and_epoch():
    first = plan(LENGTHS, CONFIG, seed=1, epoch=4, ranks=2, accum=2)
    assert list(first) == list(plan(LENGTHS, CONFIG, seed=1, epoch=4, ranks=2, accum=2))
    assert list(first) != list(plan(LENGTHS, CONFIG, seed=1, epoch=5, ranks=2, accum=2))
    assert list(first) != list(plan(LENGTHS, CONFIG, seed=2, epoch=4, ranks=2, accum=2))


def test_equal_lengths_are_mixed_anew_each_epoch():
    together = [{frozenset(b) for s in plan([5] * 40, CONFIG, 0, epoch, 1, 1) for b in s[0]} for epoch in (0, 1)]
    assert together[0] != together[1]


def test_single_examples_that_cannot_be_split_are_left_out_to_keep_ranks_equal():
    steps = list(plan([10] * 5, BatchConfig(max_frames=10, max_examples=1), seed=0, epoch=0, ranks=2, accum=1))
    assert len(flat(steps)) == 4 and len(set(flat(steps))) == 4


def test_messages_name_the_example_and_the_setting():
    with pytest.raises(BucketError, match=r"example 1 has 300 frames, over batch.max_frames = 120"):
        pack([5, 300], CONFIG)
    with pytest.raises(BucketError, match="3 examples for 4 processes"):
        plan([1, 1, 1], CONFIG, 0, 0, ranks=4, accum=1)
    with pytest.raises(BucketError, match="no examples"):
        plan([], CONFIG, 0, 0, ranks=1, accum=1)


def slow_pack(lengths, config):
    """What `pack` promises, one example after the other."""
    batches = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        full = not batches or len(batches[-1]) >= config.max_examples
        if full or (len(batches[-1]) + 1) * lengths[index] > config.max_frames:
            batches.append([])
        batches[-1].append(index)
    return batches


def test_batches_are_those_of_a_slow_twin():
    for trial in range(300):
        draw = random.Random(trial)
        lengths = [draw.randint(0, 20) for _ in range(draw.randint(1, 60))]
        config = BatchConfig(draw.randint(20, 80), draw.randint(1, 9))
        assert pack(lengths, config) == slow_pack(lengths, config), (lengths, config)


@pytest.mark.parametrize(("ranks", "accum"), [(1, 1), (2, 3), (3, 2)])
def test_from_any_step_on_it_is_the_rest_of_the_plan(ranks, accum):
    whole = plan(LENGTHS, CONFIG, 1, 2, ranks, accum)
    steps = list(whole)
    for first in range(len(steps) + 2):
        assert list(whole.steps(first)) == steps[first:]
        for rank in range(ranks):
            assert list(whole.share(rank, first)) == [batch for step in steps[first:] for batch in step[rank]]


def test_a_millionth_step_of_ten_million_utterances_is_found_at_once():
    """2 s are promised; the bound is three times that, and counts this process alone."""
    lengths = np.random.default_rng(0).integers(50, 1200, 10_000_000)
    began = time.process_time()
    whole = plan(lengths, BatchConfig(4800, 64), seed=1, epoch=3, ranks=2, accum=1)
    first = 600_000
    step, share = next(whole.steps(first)), whole.share(1, first)[0]
    assert time.process_time() - began < 6
    assert step[1][0] == share and len(whole) > first
