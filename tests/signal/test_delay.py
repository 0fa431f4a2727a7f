"""The delay is the shift, whatever the sign, the gain and the noise."""

import numpy as np
import pytest

from codecsep.signal.delay import delay_of


@pytest.mark.parametrize("shift", [-37, 0, 8, 200])
def test_known_shift(shift):
    random = np.random.default_rng(0)
    reference = random.standard_normal(4000)
    moved = -0.3 * np.roll(reference, shift) + 0.05 * random.standard_normal(4000)
    assert delay_of(moved, reference) == shift


def test_silence_has_none_and_lengths_must_agree():
    assert delay_of(np.zeros(100), np.ones(100)) == 0
    assert delay_of(np.zeros(0), np.zeros(0)) == 0
    with pytest.raises(ValueError, match="equal length"):
        delay_of(np.zeros(3), np.zeros(4))
