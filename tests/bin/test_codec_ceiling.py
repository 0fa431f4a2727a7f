"""The codec's ceiling with a codec that only delays: files, delay at another rate, nothing made twice."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "metrics"))
from sounds import data_directory, sources_of, write_estimates

from codecsep.bin import codec_ceiling, score
from codecsep.data import audio
from codecsep.data.ark import CodecInfo, read_codec_info, write_codec_info
from codecsep.data.datadir import read_table
from codecsep.metrics.systems import References, Run

DELAY, HOP = 8, 320
INFO = CodecInfo("late", "0" * 64, 16000, 50.0, HOP, num_codebooks=1, codebook_size=65536, delay_samples=DELAY)


class LateCodec:
    """Codes are 16-bit samples, a frame's samples following each other in time; decoding comes `delay` samples late."""

    def __init__(self, info=INFO):
        self.info = info

    def num_samples(self, num_frames):
        return num_frames * HOP

    def encode(self, wav, lengths):
        padded = torch.nn.functional.pad(wav, (0, -wav.shape[1] % HOP))
        return ((padded * 32767).round().long() + 32768)[:, None], -(-lengths // HOP)

    def decode(self, codes, frame_lengths):
        wav = (codes[:, 0] - 32768).float() / 32767
        return torch.nn.functional.pad(wav, (self.info.delay_samples, 0))[:, : wav.shape[1]]


@pytest.fixture
def codec(tmp_path, monkeypatch):
    loads = []
    monkeypatch.setattr(
        "codecsep.codecs.base.load", lambda path: loads.append(path) or LateCodec(read_codec_info(path))
    )
    write_codec_info(tmp_path / "codec", INFO)
    return tmp_path / "codec", loads


def test_ceiling_is_a_directory_of_estimates_made_once(codec, tmp_path):
    path, loads = codec
    references = References(data_directory(tmp_path, num_utts=2))
    for _ in range(2):
        out = codec_ceiling.make(path, references, tmp_path / "ceiling")
    assert len(loads) == 1
    made, clean = Run(out).estimates("utt1", 16000), sources_of(references.data.path, "utt1")
    for estimate, source in zip(made, clean, strict=True):
        assert estimate.size == source.size
        np.testing.assert_allclose(estimate[DELAY:], source[:-DELAY], atol=1e-3)


def test_delay_is_told_at_the_rate_of_the_data(codec):
    path, _ = codec
    assert (codec_ceiling.delay_at(path, 16000), codec_ceiling.delay_at(path, 8000)) == (8, 4)


def test_score_takes_the_delay_out_of_codec_systems_only(codec, tmp_path):
    path, _ = codec
    data = data_directory(tmp_path, num_utts=2)
    late = codec_ceiling.make(path, References(data), tmp_path / "late")
    arguments = ["--data", data, "--codec", path, "--hyp", f"net={late}", "--hyp", f"wave={late}", "--waveform", "wave"]
    plain = ["--out", tmp_path / "out", "--nj", "1", "--without", "asr,dnsmos,speaker,pesq", "--permute_by", "si_sdr"]
    assert score.main([str(x) for x in [*arguments, *plain]]) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "out" / "table.json").read_text())["systems"]}
    assert rows["net"]["delay"] == rows["codec_ceiling"]["delay"] == DELAY and rows["wave"]["delay"] == 0
    compensated = {
        name: row["metrics"]["si_sdr_delay_comp"]["mean"] for name, row in rows.items() if name != "reference"
    }
    assert compensated["net"] > 25 and compensated["wave"] < 5
    assert rows["net"]["metrics"]["si_sdr"]["mean"] == pytest.approx(rows["wave"]["metrics"]["si_sdr"]["mean"])


def test_the_coded_mixture_is_every_estimate(codec, tmp_path):
    references = References(data_directory(tmp_path, num_utts=2))
    out = codec_ceiling.make_mixture(codec[0], references, tmp_path / "mixture")
    one, two = Run(out).estimates("utt1", 16000)
    assert np.array_equal(one, two) and len(list((out / "wav").iterdir())) == 2
    np.testing.assert_allclose(one[DELAY:], references.mixture("utt1")[:-DELAY], atol=1e-3)


def test_a_shift_in_the_codec_changes_the_raw_si_sdr_and_not_the_compensated_one(codec, tmp_path):
    """The same codec without and with a delay of 8 samples: alike in all columns but the raw ones."""
    data = data_directory(tmp_path, num_utts=2)
    for name in ("wav", "spk1", "spk2"):  # silence at the end: the codec moves nothing out of the file
        for path in read_table(data / f"{name}.scp").values():
            samples, rate = audio.read_audio(path)
            audio.write_audio(path, np.pad(samples, (50, 50)), rate)
    rows = {}
    for delay in (0, DELAY):
        path = tmp_path / f"codec{delay}"
        write_codec_info(path, replace(INFO, delay_samples=delay))
        sources = {key: sources_of(data, key) for key in ("utt0", "utt1")}
        found = {key: [0.9 * a + 0.1 * b, 0.9 * b + 0.1 * a] for key, (a, b) in sources.items()}
        coded = {
            key: codec_ceiling.resynthesise(LateCodec(read_codec_info(path)), x, 16000) for key, x in found.items()
        }
        hyp = write_estimates(tmp_path / f"hyp{delay}", coded)
        words = ["--data", data, "--codec", path, "--hyp", f"net={hyp}", "--out", tmp_path / f"out{delay}", "--nj", "1"]
        assert score.main([*map(str, words), "--without", "asr,dnsmos,speaker,pesq", "--permute_by", "si_sdr"]) == 0
        table = json.loads((tmp_path / f"out{delay}" / "table.json").read_text())
        rows[delay] = {row["name"]: {name: m["mean"] for name, m in row["metrics"].items()} for row in table["systems"]}
    for system in ("net", "codec_ceiling", "codec_mixture"):
        still, late = rows[0][system], rows[DELAY][system]
        raw = {"si_sdr", "si_sdri", "c_si_sdri"}
        assert still.keys() == late.keys() > {"si_sdr", "si_sdri", "si_sdr_delay_comp", "si_sdri_coded", "estoi"}
        for name in still.keys() - raw:
            assert late[name] == pytest.approx(still[name], abs=0.01 if name != "estoi" else 0.03), (system, name)
        assert late["si_sdr"] < still["si_sdr"] - 10
    assert rows[DELAY]["codec_mixture"]["c_si_sdri_coded"] == 0 < 10 < rows[DELAY]["codec_mixture"]["c_si_sdri"]


def test_passes_say_how_often_the_delay_is_in(codec, tmp_path, capsys):
    data = data_directory(tmp_path, num_utts=2)
    late = codec_ceiling.make(codec[0], References(data), tmp_path / "late")
    words = ["--data", data, "--codec", codec[0], "--hyp", f"twice={late}", "--out", tmp_path / "out", "--nj", "1"]
    words = [*map(str, words), "--rows", "", "--without", "asr,dnsmos,speaker,pesq,sdr,estoi"]
    assert score.main([*words, "--passes", "twice=2"]) == 0
    (row,) = json.loads((tmp_path / "out" / "table.json").read_text())["systems"]
    assert row["delay"] == 2 * DELAY
    capsys.readouterr()
    for wrong in ("twice", "twice=x", "other=1"):
        assert score.main([*words, "--passes", wrong]) == 2
        told = capsys.readouterr().err
        assert "E860" in told and "--passes" in told and told.count("\n") == 1
