"""The delay is the shift, whatever the sign, the gain and the noise; without a common waveform there is none."""

import numpy as np
import pytest

from codecsep.signal.delay import constant_delay, correlation


@pytest.mark.parametrize("shift", [-37, 0, 8, 200])
def test_known_shift(shift):
    random = np.random.default_rng(0)
    pairs = []
    for _ in range(3):
        reference = random.standard_normal(4000)
        pairs.append((0.3 * np.roll(reference, shift) + 0.05 * random.standard_normal(4000), reference))
    delay, surely = constant_delay(pairs)
    assert delay == shift and surely > 0.9


def test_shifts_that_differ_are_no_delay():
    random = np.random.default_rng(0)
    references = [random.standard_normal(4000) for _ in range(8)]
    pairs = [(np.roll(x, shift), x) for x, shift in zip(references, range(0, 400, 50), strict=True)]
    assert constant_delay(pairs)[1] < 0.2


def test_correlation_of_exact_tiny_numbers():
    ours = correlation(np.array([0.0, 3.0, 4.0]), np.array([3.0, 4.0, 0.0]), 1)
    np.testing.assert_allclose(ours, [0.0, 12.0 / 25.0, 1.0], atol=1e-12)


def test_silence_has_none_and_lengths_must_agree():
    assert not correlation(np.zeros(100), np.ones(100), 4).any()
    with pytest.raises(ValueError, match="equal length"):
        correlation(np.zeros(3), np.zeros(4), 1)
