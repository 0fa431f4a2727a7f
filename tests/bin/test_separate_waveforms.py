"""Separators that give waveforms have no codec, also where one lies beside them; the others need one."""

import numpy as np
import pytest
import torch
from toy_system import ToyCodec, ToySeparator, make_experiment

from codecsep.bin import separate, separation
from codecsep.bin.window import SeparationError, Window
from codecsep.decode.engine_options import EngineOptions
from codecsep.decode.options import DecodeOptions
from codecsep.models.base import Separation

RATE = 8000


class Halves:
    """Two speakers, each half of the mixture."""

    sample_rate, gives_waves = RATE, True

    def separate(self, mixtures, options, keys):
        return [Separation(waves=[torch.from_numpy(mixture / 2)] * 2) for mixture in mixtures]


def load(monkeypatch, separator, codec):
    monkeypatch.setattr(separation, "load_separator", lambda *given: separator)
    monkeypatch.setattr(separation.codecs, "load", lambda *given: ToyCodec())
    return separation.load_system(["exp/x"], codec, DecodeOptions(), Window(), EngineOptions(), "cpu")


def test_a_codec_beside_the_experiment_is_not_taken(tmp_path):
    make_experiment(tmp_path)  # ar, nar and codec
    args = separate.make_parser().parse_args(["--models", str(tmp_path / "ar"), "-o", "out", "mix.wav"])
    assert separate.experiments(args) == ([tmp_path / "ar"], None)
    args = separate.make_parser().parse_args(["--exp", str(tmp_path), "-o", "out", "mix.wav"])
    assert separate.experiments(args)[1] == tmp_path / "codec"


def test_waveforms_keep_their_rate(monkeypatch):
    system = load(monkeypatch, Halves(), None)
    mixture = np.sin(np.arange(RATE) / 5).astype(np.float32) / 2
    (found,) = system([(mixture, RATE)], ["a"])
    assert found.estimates.shape == (2, RATE) and found.frames == [RATE, RATE]
    np.testing.assert_allclose(found.estimates, np.stack([mixture / 2] * 2), atol=1e-6)


def test_a_codec_that_is_not_needed_or_not_there_is_refused(monkeypatch):
    with pytest.raises(SeparationError, match="E532.*exp/x gives waveforms at its own rate.*leave --codec out"):
        load(monkeypatch, Halves(), "exp/codec")
    with pytest.raises(SeparationError, match="E532.*exp/x needs a codec.*give --codec"):
        load(monkeypatch, ToySeparator(), None)
