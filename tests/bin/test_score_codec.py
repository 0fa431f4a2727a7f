"""Scores of a codec: more codebooks score higher, the page and the numbers agree, mistakes are one line."""

import json

import numpy as np
import pytest

from codecsep.bin import get_codec, score_codec
from codecsep.data import audio, datadir

pytest.importorskip("pystoi", reason="pystoi is not installed (extra metrics)")


@pytest.fixture
def sources(tmp_path):
    """Two recordings of a buzz that comes and goes, 1.5 s each."""
    random = np.random.default_rng(0)
    time = np.arange(24000) / 16000
    paths = {}
    for name, pitch in (("a", 110), ("b", 190)):
        voice = sum(np.cos(2 * np.pi * pitch * h * time) / h for h in range(1, 25))
        wav = 0.05 * voice * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time)) + 0.001 * random.standard_normal(24000)
        paths[name] = tmp_path / f"{name}.wav"
        audio.write_audio(paths[name], wav.astype(np.float32), 16000)
    datadir.write_table(tmp_path / "wav.scp", paths)
    datadir.write_table(tmp_path / "text", {"a": "hello", "b": "bonjour"})
    datadir.write_table(tmp_path / "utt2lang", {"a": "en", "b": "fr"})
    return tmp_path


def test_page_and_numbers(sources, monkeypatch, capsys):
    monkeypatch.setenv("CODECSEP_CACHE", str(sources / "no_weights"))
    words = ["--codec", str(get_codec.COMMITTED), "--data", str(sources), "--out", str(sources / "out")]
    assert score_codec.main(words) == 0
    result = json.loads((sources / "out" / "scores.json").read_text())
    assert [row["codebooks"] for row in result["rows"]] == [1, 2, 4, 8]
    assert [row["kbit_per_s"] for row in result["rows"]] == pytest.approx([0.45, 0.9, 1.8, 3.6])
    assert result["rows"][-1]["stoi"] > result["rows"][0]["stoi"]
    page = (sources / "out" / "RESULTS.md").read_text()
    assert result["codec"]["fingerprint"] in page and f"{result['rows'][0]['stoi']:.4g}" in page
    assert result["wer"] is None and "Left out: " in page
    assert capsys.readouterr().out.startswith("# Codec mini: 8 x 512 at 50 Hz")


def test_only_english_texts_are_read(sources):
    assert score_codec.english_texts(sources) == {"a": "hello"}


def test_levels_that_are_scored():
    assert score_codec.level_counts(8) == [1, 2, 4, 8]
    assert score_codec.level_counts(6) == [1, 2, 4, 6]
    assert score_codec.level_counts(1) == [1]


def test_unknown_option_is_one_line(sources, capsys):
    words = ["--codec", "x", "--data", str(sources), "--out", "y", "--levels", "3"]
    assert score_codec.main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1
