"""Decibels against clean and transmitted references, with signals whose ratios can be told by hand."""

import sys

import numpy as np
import pytest
from scipy.linalg import hadamard
from sounds import RATE, speech

from codecsep.metrics import judges as judging
from codecsep.metrics import waveform
from codecsep.metrics.judges import Judges
from codecsep.metrics.signals import Coded, Signal, Utterance
from codecsep.metrics.systems import CEILING, System
from codecsep.metrics.utterance import score

H = hadamard(64).astype(np.float32)[1:]  # rows of mean 0, of equal energy, orthogonal: SI-SDR of a H0 + b H1 is a / b
JUDGES = Judges(RATE)
C_NAMES = ("c_si_sdr", "c_si_sdri", "c_si_sdri_coded", "si_sdri_coded")


def make(mixture, sources, coded=None, delay=0):
    """An utterance; coded: (mixture, sources) behind the codec."""
    signals = [Signal(x, JUDGES) for x in (mixture, *sources)]
    behind = None
    if coded:
        first, *rest = (Signal(x, JUDGES) for x in (coded[0], *coded[1]))
        behind = Coded(rest, first, delay)
    return Utterance("u", signals[0], signals[1:], [None] * len(sources), with_mos=False, coded=behind)


def system(delay=0, name="s", criterion="si_sdr"):
    return System(name, ("d",), criterion, delay)


def test_exact_values_against_what_is_transmitted():
    mixture, behind = H[0] + H[1] + H[2] + H[3], H[2] + 0.5 * H[3]
    known = make(mixture, [H[0], H[1]], (behind, [H[2], H[3]]))
    estimates = [H[0] + 0.1 * H[4] + 10 * H[2], H[1] + H[3]]
    one, two = score(known, system(), estimates, JUDGES)
    six = 20 * np.log10(2)
    assert one["c_si_sdr"] == pytest.approx(20 * np.log10(10 / np.sqrt(1.01)))
    assert two["c_si_sdr"] == pytest.approx(0.0, abs=1e-6)
    assert two["c_si_sdri"] == pytest.approx(10 * np.log10(3))  # SI-SDR(x, t2) is -10 log 3
    assert two["c_si_sdri_coded"] == pytest.approx(six)  # SI-SDR(codec(x), t2) is 20 log 0.5
    assert one["c_si_sdri_coded"] == pytest.approx(one["c_si_sdr"] - six)
    assert two["si_sdri"] == pytest.approx(10 * np.log10(3))
    assert two["si_sdr"] == pytest.approx(0.0, abs=1e-6)
    assert two["si_sdri_coded"] == pytest.approx(-known.coded.mixture.si_sdr(known.sources[1]))


def test_the_coded_mixture_gains_nothing_over_itself_and_the_ceiling_is_not_held_against_itself():
    behind = H[2] + 0.5 * H[3]
    known = make(H[0] + H[1], [H[0] + H[1] * 0.1, H[1]], (behind, [H[2], H[3]]))
    for row in score(known, system(name="codec_mixture"), [behind, behind], JUDGES):
        assert row["c_si_sdri_coded"] == row["si_sdri_coded"] == 0
    for row in score(known, system(name=CEILING), [H[2], H[3]], JUDGES):
        assert not {"c_si_sdr", "c_sdr", "c_estimate"} & set(row) and "si_sdr" in row


def test_without_a_codec_its_columns_are_absent():
    for row in score(make(H[0] + H[1], [H[0], H[1]]), system(), [H[0] + 0.1 * H[1], H[1]], JUDGES):
        assert not {*C_NAMES, "c_estimate", "c_sdr"} & set(row) and "si_sdri" in row


def test_csi_sdr_takes_its_own_permutation_and_says_so():
    """Assigned by the clean sources the estimates would have nothing of t (papers report the maximum)."""
    known = make(H[0] + H[1], [H[0], H[1]], (H[2] + H[3], [H[2], H[3]]))
    rows = score(known, system(), [H[0] + H[3], H[1] + H[2]], JUDGES)
    assert [row["estimate"] for row in rows] == [1, 2] and [row["c_estimate"] for row in rows] == [2, 1]
    assert [row[name] for row in rows for name in ("si_sdr", "c_si_sdr")] == pytest.approx([0] * 4, abs=1e-6)
    rows = score(known, system(), [np.zeros_like(H[0]), H[0] + H[3]], JUDGES)  # numbered with the silent one
    assert [row["estimate"] for row in rows] == [2, 0] and "c_si_sdr" not in rows[0]
    assert rows[1]["c_estimate"] == 2 and rows[1]["c_si_sdr"] == pytest.approx(0, abs=1e-6) and "si_sdr" not in rows[1]


@pytest.mark.parametrize("delay", [8, -8])
def test_a_delay_is_left_in_for_codec_systems_and_put_into_the_others(delay):
    clean = [np.pad(speech(0.5, pitch, 1), 50) for pitch in (110, 220)]
    late = [waveform.advance(x, -delay) for x in clean]
    mixture = clean[0] + clean[1]
    known = make(mixture, clean, (waveform.advance(mixture, -delay), late), delay)
    noise = [0.1 * clean[1], 0.1 * clean[0]]
    aligned = make(mixture, clean, (mixture, clean), 0)
    wanted = score(aligned, system(), [a + b for a, b in zip(clean, noise, strict=True)], JUDGES)
    for lag in (0, delay, 2 * delay):  # a waveform system, one behind the codec, one with it on both sides
        estimates = [waveform.advance(a + b, -lag) for a, b in zip(clean, noise, strict=True)]
        rows = score(known, system(lag), estimates, JUDGES)
        names = ["c_si_sdr", "si_sdr_delay_comp", "si_sdri_coded", "c_si_sdri_coded"]
        names += ["c_si_sdri"] if lag == 0 else []
        for row, exact in zip(rows, wanted, strict=True):
            assert [row[name] for name in names] == pytest.approx([exact[name] for name in names], abs=1e-6)
            if lag:  # as the released code does: the raw mixture is not aligned with t
                assert row["si_sdr"] < exact["si_sdr"] - 10 and row["c_si_sdri"] > exact["c_si_sdri"] + 6


def test_sdr_equals_mir_eval_forgives_a_lag_and_no_lead():
    pytest.importorskip("fast_bss_eval", reason="SDR needs the package fast_bss_eval")
    bss_eval = pytest.importorskip("mir_eval", reason="mir_eval is not installed").separation.bss_eval_sources
    judge, clean = waveform.Sdr(), np.pad(speech(0.6), 20)
    noisy = clean + 0.1 * np.pad(speech(0.6, 200, 3), 20)
    with pytest.warns(FutureWarning):
        theirs = bss_eval(clean[None], noisy[None], compute_permutation=False)[0][0]
    assert judge.score(noisy, clean) == pytest.approx(theirs, abs=1e-6)
    assert judge.score(waveform.advance(clean, -4), clean) > 50 > 10 > judge.score(waveform.advance(clean, 4), clean)
    assert judge.score(clean, clean) > 90 and np.isnan(judge.score(np.zeros_like(clean), clean))


def test_sdr_columns_and_their_baselines():
    pytest.importorskip("fast_bss_eval", reason="SDR needs the package fast_bss_eval")
    judges = Judges(RATE, sdr=waveform.Sdr())
    clean = [np.pad(speech(0.5, pitch, 1), 50) for pitch in (110, 220)]
    late = [waveform.advance(x, 8) for x in clean]  # a lead, which the filter does not forgive
    mixture = clean[0] + clean[1]
    signals = [Signal(x, judges) for x in (mixture, *clean, mixture, *late)]
    coded = Coded(signals[4:], signals[3], -8)
    known = Utterance("u", signals[0], signals[1:3], [None, None], with_mos=False, coded=coded)
    (row, _) = score(known, system(-8), [0.9 * late[0] + 0.1 * late[1], late[1]], judges)
    assert row["sdri"] == pytest.approx(row["sdr"] - judges.sdr.score(mixture, clean[0]))
    assert row["c_sdr"] == pytest.approx(row["sdr"], abs=0.1) and row["sdr"] > 15


def test_a_missing_package_leaves_its_columns_out_and_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_bss_eval", None)
    found = judging.load(RATE, without=("asr", "dnsmos", "speaker", "estoi", "pesq"))
    (text,) = found.missing
    assert found.sdr is None and "fast_bss_eval" in text and '".[metrics]"' in text
    known = make(H[0] + H[1], [H[0], H[1]])
    assert all("sdr" not in row for row in score(known, system(), [H[0], H[1]], found))


@pytest.mark.parametrize(("rate", "columns"), [(8000, ["pesq_nb"]), (16000, ["pesq_wb", "pesq_nb"])])
def test_pesq_bands_of_a_rate(rate, columns):
    pytest.importorskip("pesq", reason="PESQ needs the package pesq")
    judges = judging.load(rate, without=("asr", "dnsmos", "speaker", "estoi", "sdr"))
    clean = [Signal(speech(1.0, pitch)[:: RATE // rate], judges) for pitch in (110, 220)]
    coded = Coded(clean, clean[0])
    known = Utterance("u", clean[0], clean, [None, None], False, coded)
    names = [name for name in score(known, system(), [0.9 * c.samples for c in clean], judges)[0] if "pesq" in name]
    assert sorted(names) == sorted([*columns, *(f"c_{name}" for name in columns)])
    known.with_all_pesq = False
    names = [name for name in score(known, system(), [0.8 * c.samples for c in clean], judges)[0] if "pesq" in name]
    assert names == columns[:1]
