"""The codec's ceiling with a codec that only delays: files, delay at another rate, nothing made twice."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "metrics"))
from sounds import data_directory, sources_of

from codecsep.bin import codec_ceiling, score
from codecsep.data.ark import CodecInfo, write_codec_info
from codecsep.metrics.systems import References, Run

DELAY, HOP = 8, 320
INFO = CodecInfo("late", "0" * 64, 16000, 50.0, HOP, num_codebooks=1, codebook_size=65536, delay_samples=DELAY)


class LateCodec:
    """Codes are 16-bit samples, a frame's samples following each other in time; decoding comes 8 samples late."""

    info = INFO

    def num_samples(self, num_frames):
        return num_frames * HOP

    def encode(self, wav, lengths):
        padded = torch.nn.functional.pad(wav, (0, -wav.shape[1] % HOP))
        return ((padded * 32767).round().long() + 32768)[:, None], -(-lengths // HOP)

    def decode(self, codes, frame_lengths):
        wav = (codes[:, 0] - 32768).float() / 32767
        return torch.nn.functional.pad(wav, (DELAY, 0))[:, : wav.shape[1]]


@pytest.fixture
def codec(tmp_path, monkeypatch):
    loads = []
    monkeypatch.setattr("codecsep.codecs.base.load", lambda path: loads.append(path) or LateCodec())
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
