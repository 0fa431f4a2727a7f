"""The judges with their real weights; skipped where tools/fetch_weights.py was not run."""

import sys
from pathlib import Path

import numpy as np
import pytest
from sounds import RATE, speech

from codecsep.metrics import quality, speaker, whisper
from codecsep.metrics.weights import MissingJudge, cache_dir, find


def need(*names: str) -> list[Path]:
    """Paths of weights; skips with the way to get them."""
    try:
        return [find(name) for name in names]
    except MissingJudge as error:
        pytest.skip(reason=str(error))


def test_speaker_embeddings_have_length_one_and_tell_voices_apart():
    encoder = speaker.load(*need("ge2e.pt"))
    low, low_again, high = speech(2.0, 100, 1), speech(2.0, 100, 2), speech(2.0, 260, 3)
    a, b, c = (encoder.embed(x) for x in (low, low_again, high))
    assert np.linalg.norm(a) == pytest.approx(1.0, abs=1e-5)
    assert speaker.similarity(a, b) > speaker.similarity(a, c)
    np.testing.assert_allclose(encoder.embed(0.001 * low), encoder.embed(0.002 * low), atol=1e-4)  # quiet: raised
    assert encoder.embed(np.zeros(RATE)) is None and encoder.embed(np.zeros(0)) is None
    assert encoder.embed(low[:100]).shape == (256,)


def test_speaker_equals_resemblyzer():
    weights = need("ge2e.pt")
    pytest.importorskip("webrtcvad", reason="resemblyzer's own dependencies are not installed")
    resemblyzer = pytest.importorskip("resemblyzer", reason="resemblyzer is not installed")
    sound = speech(2.3)
    theirs = resemblyzer.VoiceEncoder("cpu", verbose=False).embed_utterance(sound)
    np.testing.assert_allclose(speaker.load(*weights).embed(sound), theirs, atol=1e-4)


def test_dnsmos_heads_and_silence():
    pytest.importorskip("onnxruntime", reason="DNSMOS needs the package onnxruntime")
    judge = quality.Dnsmos(*need("dnsmos_p835.onnx", "dnsmos_p808.onnx"))
    scores = judge.score(speech(2.0))
    assert tuple(scores) == quality.COLUMNS and all(1 <= value <= 5 for value in scores.values())
    assert judge.score(np.zeros(RATE)) == {}


def test_dnsmos_equals_speechmos():
    weights = need("dnsmos_p835.onnx", "dnsmos_p808.onnx")
    for package in ("onnxruntime", "librosa", "requests"):
        pytest.importorskip(package, reason=f"speechmos needs {package}, which is not installed")
    dnsmos = pytest.importorskip("speechmos.dnsmos", reason="speechmos is not installed")
    sound = speech(2.0)
    theirs, ours = dnsmos.run(sound, RATE), quality.Dnsmos(*weights).score(sound)
    for name, column in zip(("ovrl_mos", "sig_mos", "bak_mos", "p808_mos"), quality.COLUMNS, strict=True):
        assert ours[column] == pytest.approx(float(theirs[name]), abs=1e-3)


def test_whisper_suppresses_upstreams_list_and_reads_any_batch_alike(monkeypatch):
    monkeypatch.setattr(whisper, "MAX_TOKENS", 8)  # a hum has no end: the limit is reached
    judge = whisper.load(*need("whisper_tiny_en.pt", "gpt2.tiktoken"))
    suppressed = judge.suppressed.tolist()
    assert suppressed[:8] == [1, 2, 7, 8, 9, 10, 14, 25] and len(suppressed) == 91
    assert judge._text([31373, 995]) == "hello world"
    assert judge.transcribe([]) == []
    sounds = [speech(0.5, 120, 1), 0.1 * speech(0.8, 200, 2)]
    assert judge.transcribe(sounds)[1:] == judge.transcribe(sounds[1:])


def test_whisper_equals_upstream():
    weights = need("whisper_tiny_en.pt", "gpt2.tiktoken")
    upstream = pytest.importorskip("whisper", reason="openai-whisper is not installed")
    sound = speech(2.0)
    model = upstream.load_model(str(weights[0]), device="cpu")
    options = upstream.DecodingOptions(language="en", without_timestamps=True, fp16=False)
    theirs = upstream.decode(model, upstream.log_mel_spectrogram(upstream.pad_or_trim(sound)), options)
    assert whisper.load(*weights).transcribe([sound]) == [theirs.text.strip()]


def test_missing_and_wrong_weights_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("CODECSEP_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    with pytest.raises(MissingJudge, match="tools/fetch_weights.py"):
        find("ge2e.pt")
    (tmp_path / "ge2e.pt").write_bytes(b"not the weights")
    with pytest.raises(MissingJudge, match="not the pinned file"):
        find("ge2e.pt")


def test_nothing_heavy_is_imported_with_the_judges():
    assert "codecsep.metrics.quality" in sys.modules
    source = Path(quality.__file__).read_text(encoding="utf-8")
    assert "\nimport onnxruntime" not in source
