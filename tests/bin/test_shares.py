"""How the utterances of stage 2 are dealt out: all of them, each once, as much audio for one job as for another."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecsep.bin.shards import deal


@given(st.dictionaries(st.text("abcé", min_size=1, max_size=4), st.integers(0, 1000), max_size=40), st.integers(1, 9))
def test_every_utterance_goes_to_one_job(sizes, num_jobs):
    shares = deal(sizes, num_jobs)
    assert len(shares) == num_jobs
    assert sorted(key for share in shares for key in share) == sorted(sizes)
    assert all(share == sorted(share, key=str.encode) for share in shares)
    loads = [sum(sizes[key] for key in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes.values(), default=0)


def test_the_order_in_which_they_are_listed_does_not_matter():
    sizes = {f"u{i:03d}": (i * 7919) % 501 for i in range(200)}
    mixed = list(sizes.items())
    random.Random(1).shuffle(mixed)
    assert deal(dict(mixed), 3) == deal(sizes, 3)


@pytest.mark.parametrize("num_jobs", [2, 4, 8])
def test_ragged_sets_are_shared_evenly(num_jobs):
    generator = random.Random(0)
    sizes = {f"u{i:04d}": int(16000 * generator.lognormvariate(1, 0.9)) for i in range(400)}
    loads = [sum(sizes[key] for key in share) for share in deal(sizes, num_jobs)]
    assert max(loads) < 1.02 * sum(loads) / num_jobs


def test_utterances_without_length_are_shared_too():
    assert [len(share) for share in deal(dict.fromkeys("abcdef", 0), 3)] == [2, 2, 2]
