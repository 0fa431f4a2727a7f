"""Scoring one utterance: permutation shared by all metrics, missing, extra and silent estimates."""

import numpy as np
import pytest
from sounds import RATE, speech

from codecsep.metrics import waveform
from codecsep.metrics.judges import Judges
from codecsep.metrics.signals import Signal, Utterance
from codecsep.metrics.systems import System
from codecsep.metrics.utterance import score

SYSTEM = System("s", ("d",), "si_sdr")


class CountingReader:
    """Stands for the ASR: the 'text' is the loudness; counts what it is asked to read."""

    def __init__(self):
        self.read = 0

    def transcribe(self, signals):
        self.read += len(signals)
        return [f"level {int(100 * np.abs(x).max())}" for x in signals]


def make(judges, texts=(None, None)):
    sources = [speech(1.0, 110, 1), 0.5 * speech(1.0, 220, 2)]
    mixture = Signal(sum(sources), judges)
    return Utterance("u", mixture, [Signal(s, judges) for s in sources], list(texts), with_mos=False)


def test_swapped_estimates_are_put_in_order():
    judges = Judges(RATE)
    known = make(judges)
    first, second = (source.samples for source in known.sources)
    rows = score(known, SYSTEM, [second + 0.1 * first, first], judges)
    assert [row["estimate"] for row in rows] == [2, 1]
    assert rows[0]["si_sdr"] > 100 and 10 < rows[1]["si_sdr"] < 30
    assert rows[1]["si_sdri"] == pytest.approx(rows[1]["si_sdr"] - _before(known, 1))


def _before(known, n):
    return known.mixture.si_sdr(known.sources[n])


def test_missing_silent_and_extra_estimates():
    judges = Judges(RATE)
    known = make(judges)
    first, second = (source.samples for source in known.sources)
    rows = score(known, SYSTEM, [second], judges)
    assert [row["estimate"] for row in rows] == [0, 1] and "si_sdr" not in rows[0] and rows[0]["num_estimates"] == 1
    rows = score(known, SYSTEM, [np.zeros_like(first), second], judges)
    assert [row["estimate"] for row in rows] == [0, 2] and rows[0]["num_estimates"] == 1
    rows = score(known, SYSTEM, [0.1 * speech(1.0, 300, 7), first, second], judges)
    assert [row["estimate"] for row in rows] == [2, 3] and rows[0]["num_estimates"] == 3
    assert [row["estimate"] for row in score(known, SYSTEM, [], judges)] == [0, 0]


def test_silence_everywhere_does_not_crash():
    judges = Judges(RATE, estoi=_estoi())
    silent = Signal(np.zeros(RATE, np.float32), judges)
    known = Utterance("u", silent, [silent, silent], [None, None], with_mos=False)
    for row in score(known, SYSTEM, [np.zeros(RATE, np.float32)] * 2, judges):
        assert row["estimate"] == 0 and row["estoi"] == 0.0


def _estoi():
    pytest.importorskip("pystoi", reason="ESTOI needs the package pystoi")
    return waveform.Estoi()


def test_estoi_orders_codec_systems_and_short_estimates_are_padded():
    judges = Judges(RATE, estoi=_estoi())
    known = make(judges)
    first, second = (source.samples for source in known.sources)
    rows = score(known, System("c", ("d",), "estoi", delay=8), [second[:-50], -first], judges)
    assert [row["estimate"] for row in rows] == [2, 1]
    assert rows[0]["estoi"] > 0.99 and rows[0]["si_sdr"] > 100 > rows[0]["si_sdr_delay_comp"]


def test_words_are_read_once_and_only_where_there_is_a_transcript():
    pytest.importorskip("jiwer", reason="counting word errors needs the package jiwer")
    judges = Judges(RATE, asr=CountingReader())
    known = make(judges, texts=("level fifty", None))
    first, second = (source.samples for source in known.sources)
    rows = score(known, SYSTEM, [first, second], judges)
    assert rows[0]["wer_errors"] == 0 and rows[0]["dwer_words"] == 2 and "wer_errors" not in rows[1]
    assert judges.asr.read == 1  # the estimate equals the source bit for bit
    score(known, SYSTEM, [0.8 * first, second], judges)
    assert judges.asr.read == 2
    rows = score(known, SYSTEM, [second], judges)
    assert (rows[0]["wer_errors"], rows[0]["dwer_errors"], rows[0]["text"]) == (2, 2, "")


def test_unknown_transcript_gives_dwer_only():
    pytest.importorskip("jiwer", reason="counting word errors needs the package jiwer")
    judges = Judges(RATE, asr=CountingReader())
    rows = score(make(judges, texts=("", None)), SYSTEM, [], judges)
    assert rows[0]["dwer_errors"] == 2 and "wer_errors" not in rows[0]
