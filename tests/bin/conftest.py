"""Fixtures of the tests of stages 2 and 3: a toy codec, data directories of five utterances, a model of sequences."""

import pytest
from toy_codec import HOP, LEVELS, RATE, SIZE, ToyCodec, write_set

from codecsep.codecs import base
from codecsep.data.ark import CodecInfo, write_codec_info
from codecsep.tokens import sot
from codecsep.tokens.vocab import Vocab


@pytest.fixture
def codec(tmp_path, monkeypatch):
    info = CodecInfo("toy", "f0", RATE, RATE / HOP, HOP, LEVELS, SIZE)
    write_codec_info(tmp_path / "codec", info)
    toy = ToyCodec(info)
    monkeypatch.setattr(base, "load", lambda path, device="cpu": toy)
    return toy


@pytest.fixture
def mixtures(tmp_path):
    return write_set(tmp_path, "train", ["wav.scp", "spk1.scp", "spk2.scp"])


@pytest.fixture
def singles(tmp_path):
    return write_set(tmp_path, "train_sources", ["wav.scp"])


@pytest.fixture
def small_model(monkeypatch):
    """slm_ss without its network: only what stage 3 asks of a model."""
    from codecsep.models import slm_ss

    class Model:
        fields = ("mixture", "sequence")

        def __init__(self, network):
            self.vocab = Vocab(network.codebook_size)

        def sequence(self, example):
            return sot.build(example["codes"], self.vocab)

    monkeypatch.setattr(slm_ss, "Model", Model)
    return Model
