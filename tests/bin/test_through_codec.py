"""A directory's audio through a codec: what is coded, what is copied, and that it is done once."""

import numpy as np
import pytest
import torch

from codecsep.bin import through_codec, upstream
from codecsep.data import audio, datadir, manifest
from codecsep.data.ark import CodecInfo
from codecsep.data.codec_info import write_codec_info

RATE, HOP = 16000, 320


class Halving:
    """A codec that makes everything half as loud and a hop later."""

    info = CodecInfo("toy", "0" * 64, RATE, 50.0, HOP, 1, 16)

    def encode(self, wav, lengths):
        self.wav = wav
        return torch.zeros(len(wav), 1, -(-wav.shape[1] // HOP), dtype=torch.int64), -(-lengths // HOP)

    def decode(self, codes, frames):
        return torch.nn.functional.pad(self.wav / 2, (HOP, 0))

    def num_samples(self, frames):
        return frames * HOP


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("codecsep.codecs.base.load", lambda *given: Halving())
    (tmp_path / "codec").mkdir()
    write_codec_info(tmp_path / "codec", Halving.info)
    generator = np.random.default_rng(0)
    for folder, tables in (("data", ["wav", "spk1", "spk2"]), ("estimates", ["spk1", "spk2"])):
        for table in tables:
            rows = {}
            for key, size in {"a": 1000, "b": 16000}.items():
                rows[key] = tmp_path / "audio" / f"{folder}-{table}-{key}.wav"
                audio.write_audio(rows[key], generator.uniform(-0.5, 0.5, size), RATE)
            datadir.write_table(tmp_path / folder / f"{table}.scp", rows)
    datadir.write_table(tmp_path / "data" / "utt2num_samples", {"a": 1000, "b": 16000})
    return tmp_path


def run(recipe, given, out):
    return through_codec.main(
        ["--codec", str(recipe / "codec"), "--in", str(recipe / given), "--out", str(recipe / out)]
    )


def coded(path):
    return audio.read_audio(path)[0]


def test_of_a_data_directory_only_the_mixtures_are_coded(recipe):
    assert run(recipe, "data", "out") == 0
    before, after = (datadir.read_table(recipe / name / "wav.scp") for name in ("data", "out"))
    for key in ("a", "b"):
        given, found = coded(before[key]), coded(after[key])
        assert len(found) == len(given)
        np.testing.assert_allclose(found[HOP:], given[:-HOP] / 2, atol=1e-4)
    for name in ("spk1.scp", "spk2.scp", "utt2num_samples"):
        assert (recipe / "out" / name).read_bytes() == (recipe / "data" / name).read_bytes()


def test_what_it_makes_of_a_finished_directory_is_finished(recipe):
    data = recipe / "data"
    work = manifest.Work("0", [data / "wav.scp"])
    manifest.finish(data, work, [path for path in data.iterdir() if path.is_file()], manifest.Counts(2, 2))
    run(recipe, "data", "out")
    upstream.require(recipe / "out", "6")  # a copied list of stamps would be another one by now
    assert run(recipe, "out", "again") == 0


def test_of_estimates_every_speaker_is_coded(recipe):
    assert run(recipe, "estimates", "out") == 0
    for name in ("spk1.scp", "spk2.scp"):
        before, after = (datadir.read_table(recipe / folder / name) for folder in ("estimates", "out"))
        np.testing.assert_allclose(coded(after["b"])[HOP:], coded(before["b"])[:-HOP] / 2, atol=1e-4)


def test_it_is_done_once_and_again_when_the_audio_changed(recipe, capsys):
    run(recipe, "data", "out")
    capsys.readouterr()
    run(recipe, "data", "out")
    assert "up to date" in capsys.readouterr().err
    path = datadir.read_table(recipe / "data" / "wav.scp")["a"]
    audio.write_audio(path, np.full(1000, 0.1), RATE)
    run(recipe, "data", "out")
    assert "up to date" not in capsys.readouterr().err
    assert coded(datadir.read_table(recipe / "out" / "wav.scp")["a"])[500] == pytest.approx(0.05, abs=1e-4)


def test_a_directory_of_nothing_is_refused(recipe, capsys):
    (recipe / "empty").mkdir()
    assert run(recipe, "empty", "out") == 2
    assert "holds neither wav.scp nor spk1.scp" in capsys.readouterr().err
