"""SI-SDR: exact small numbers, invariances, lengths, silence, and the 4-sample shift of speech-like sound."""

import numpy as np
import pytest
import torch

from codecsep.signal.si_sdr import si_sdr


def speech_like(num_samples: int, rate: int = 8000, seed: int = 0) -> np.ndarray:
    """A voiced sound: harmonics of a gliding 120 Hz pitch in syllables, with a speech-like tilt of -12 dB/octave."""
    rng = np.random.default_rng(seed)
    time = np.arange(num_samples) / rate
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * time)) / rate
    formants = [(560, 80, 1.0), (1500, 120, 0.6), (2500, 160, 0.4)]
    voiced = np.zeros(num_samples)
    for harmonic in range(1, 30):
        gain = sum(g / (1 + ((harmonic * 120 - f) / b) ** 2) for f, b, g in formants)
        voiced += gain * np.cos(harmonic * phase + rng.uniform(0, 2 * np.pi))
    return voiced * np.clip(np.sin(2 * np.pi * 3 * time), 0, None)


def test_exact_value():
    reference = np.array([1.0, -1.0, 1.0, -1.0])
    noise = np.array([1.0, 1.0, -1.0, -1.0])  # orthogonal, mean 0
    assert si_sdr(reference + 0.1 * noise, reference) == pytest.approx(20.0, abs=1e-9)
    assert si_sdr(reference + noise, reference) == pytest.approx(0.0, abs=1e-9)


def test_scale_and_offset_do_not_matter():
    rng = np.random.default_rng(0)
    reference, estimate = rng.standard_normal((2, 500))
    expected = si_sdr(estimate, reference)
    assert si_sdr(-3.0 * estimate + 7.0, reference) == pytest.approx(expected, abs=1e-8)
    assert si_sdr(estimate, 0.01 * reference - 5.0) == pytest.approx(expected, abs=1e-8)


def test_batch_equals_single_and_lengths_cut():
    rng = np.random.default_rng(1)
    estimate, reference = rng.standard_normal((2, 3, 2, 100))
    lengths = np.array([[100, 50], [70, 100], [30, 99]])
    batch = si_sdr(estimate, reference, lengths)
    for b in range(3):
        for n in range(2):
            cut = lengths[b, n]
            assert batch[b, n] == pytest.approx(si_sdr(estimate[b, n, :cut], reference[b, n, :cut]), abs=1e-9)


def test_torch_equals_numpy_and_has_gradients():
    rng = np.random.default_rng(2)
    estimate, reference = rng.standard_normal((2, 4, 200))
    tensor = torch.tensor(estimate, dtype=torch.float32, requires_grad=True)
    value = si_sdr(tensor, torch.tensor(reference, dtype=torch.float32))
    np.testing.assert_allclose(value.detach().numpy(), si_sdr(estimate, reference), atol=1e-3)
    value.sum().backward()
    assert torch.isfinite(tensor.grad).all() and tensor.grad.abs().sum() > 0


def test_silence_is_nan_not_a_crash():
    sound, silence = np.sin(np.arange(100.0)), np.zeros(100)
    assert np.isnan(si_sdr(sound, silence)) and np.isnan(si_sdr(silence, sound)) and np.isnan(si_sdr(silence, silence))
    assert np.isnan(si_sdr(sound, np.full(100, 0.5)))  # a constant is silence once the mean is gone
    assert 60 < si_sdr(torch.tensor(sound).float(), torch.tensor(sound).float()) < 80


def test_four_samples_late_at_8_khz_costs_about_20_db_below_zero():
    sound = speech_like(32000)
    assert -23 < si_sdr(sound[:-4], sound[4:]) < -15
    assert si_sdr(sound[:-4], sound[:-4]) > 100


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        si_sdr(np.ones(5), np.ones(6))
