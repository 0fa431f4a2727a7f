"""ESTOI, PESQ, delay compensation; silence and shortness never crash."""

import numpy as np
import pytest
from sounds import RATE, speech

from codecsep.metrics import waveform
from codecsep.metrics.judges import Judges
from codecsep.metrics.signals import Signal
from codecsep.signal.si_sdr import si_sdr


def test_advance_takes_a_delay_out():
    x = np.arange(1.0, 6.0)
    assert waveform.advance(x, 2).tolist() == [3, 4, 5, 0, 0]
    assert waveform.advance(x, -2).tolist() == [0, 0, 1, 2, 3]
    assert waveform.advance(x, 9).tolist() == [0] * 5 and waveform.advance(x, 0) is x


def test_fit_length_cuts_and_pads():
    assert waveform.fit_length(np.ones(3), 5).tolist() == [1, 1, 1, 0, 0]
    assert waveform.fit_length(np.ones(3), 2).tolist() == [1, 1]


@pytest.mark.parametrize("delay", [4, -8])
def test_constant_delay_ruins_raw_and_not_compensated_si_sdr(delay):
    reference = speech(1.0)
    estimate = waveform.advance(reference, -delay)
    judges = Judges(RATE)
    ours, source = Signal(estimate, judges), Signal(reference, judges)
    assert ours.si_sdr(source) < 0 and ours.si_sdr(source, delay) > 25
    assert ours.si_sdr(source) == pytest.approx(float(si_sdr(estimate, reference)))


def test_estoi_equals_pystoi_and_knows_silence():
    stoi = pytest.importorskip("pystoi", reason="ESTOI needs the package pystoi").stoi
    reference, rng = speech(1.5), np.random.default_rng(0)
    noisy = reference + 0.05 * rng.standard_normal(reference.size).astype(np.float32)
    judge = waveform.Estoi()
    prepared = [judge.prepare(x, RATE) for x in (noisy, reference)]
    assert judge.score(*prepared) == pytest.approx(stoi(reference, noisy, RATE, extended=True), abs=1e-6)
    assert judge.score(prepared[1], prepared[1]) == pytest.approx(1.0, abs=1e-6)
    assert judge.score(np.zeros_like(prepared[1]), prepared[1]) == 0.0
    assert np.isnan(judge.score(prepared[1], np.zeros_like(prepared[1])))
    assert np.isnan(judge.score(prepared[0][:2000], prepared[1][:2000]))  # 0.2 s: not enough frames


def test_pesq_column_names_its_band_and_silence_is_empty():
    pytest.importorskip("pesq", reason="PESQ needs the package pesq")
    wide, narrow = waveform.Pesq("wb"), waveform.Pesq("nb")
    assert (wide.column, wide.rate, narrow.column, narrow.rate) == ("pesq_wb", 16000, "pesq_nb", 8000)
    assert (waveform.bands(16000), waveform.bands(8000)) == (["wb", "nb"], ["nb"])
    reference = speech(1.5)
    assert wide.score(reference, reference) > 4.5
    silence = np.zeros_like(reference)
    for pair in [(silence, reference), (reference, silence), (silence, silence), (reference[:900], reference[:900])]:
        assert np.isnan(wide.score(*pair))
