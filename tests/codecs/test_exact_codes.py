"""Codes do not depend on the batch, on chunks, or on the precision that a program around has chosen."""

from pathlib import Path

import numpy as np
import pytest
import torch

from codecsep.bin import get_codec
from codecsep.codecs import base, long, mini
from codecsep.codecs.base import CodecError
from codecsep.codecs.exact import exact_arithmetic, places
from codecsep.codecs.long import LongSignalError
from codecsep.data.audio import read_audio
from codecsep.tokens.padding import pad_sequences

SPEECH = Path(__file__).resolve().parents[2] / "egs" / "prompts2mix" / "downloads" / "wav"
NEAR_TIES = 1e-3  # share of codes that may change when matrix products are cut up in another way; 0 was seen


@pytest.fixture(scope="module")
def codec():
    return base.load(get_codec.COMMITTED)


def speech_like(num_samples: int, seed: int) -> torch.Tensor:
    """Noise through moving formants, in syllables with silence between them."""
    random = np.random.default_rng(seed)
    time = np.arange(num_samples) / 16000
    phase = 2 * np.pi * np.cumsum(110 + 25 * np.sin(2.1 * time + seed)) / 16000
    buzz = sum(np.cos(h * phase + h) / h for h in range(1, 24)) + 0.3 * random.standard_normal(num_samples)
    envelope = np.clip(np.sin(2 * np.pi * 2.3 * time + seed), 0, None) * (0.4 + 0.6 * np.sin(0.7 * time) ** 2)
    return torch.from_numpy((0.05 * buzz * envelope).astype(np.float32))


@pytest.fixture(scope="module")
def recordings():
    paths = [path for path in sorted(SPEECH.glob("*/*.wav")) if path.stat().st_size > 20_000][::90]
    if not paths:
        pytest.skip("no recordings: run egs/prompts2mix/slm_ss/run.sh --stop-stage 0 first")
    return [torch.from_numpy(read_audio(path, 16000)[0][: 12 * 16000]) for path in paths]


def made_up():
    return [speech_like(size, seed) for seed, size in enumerate((641, 8000, 16010, 31999, 48321))]


def alone(codec, wav):
    return codec.encode(wav[None], torch.tensor([len(wav)]))[0][0]


def compare(codec, waves, how):
    """(codes that differ, codes) between a batch through `how` and one by one."""
    codes, frames = how(*pad_sequences(waves, 0.25))  # what lies beyond a row's end must not matter
    wanted = [alone(codec, wav) for wav in waves]
    assert frames.tolist() == [row.shape[1] for row in wanted]
    differ = sum(int((row[:, : w.shape[1]] != w).sum()) for row, w in zip(codes, wanted, strict=True))
    assert not any(bool(row[:, w.shape[1] :].any()) for row, w in zip(codes, wanted, strict=True))
    return differ, sum(w.numel() for w in wanted)


def test_a_batch_of_signals_has_the_codes_of_each_alone(codec):
    assert compare(codec, made_up(), codec.encode)[0] == 0


def test_a_batch_of_real_speech_has_the_codes_of_each_alone(codec, recordings):
    differ, total = compare(codec, recordings, codec.encode)
    assert differ == 0 and total > 10_000


@torch.inference_mode()
def test_one_padded_batch_as_on_a_gpu(codec, recordings):
    differ, total = compare(codec, recordings, codec.encode_together)
    assert differ <= NEAR_TIES * total, f"{differ} of {total} codes"


@torch.inference_mode()
def test_one_padded_batch_of_signals(codec):
    differ, total = compare(codec, made_up(), codec.encode_together)
    assert differ <= NEAR_TIES * total, f"{differ} of {total} codes"


def in_chunks(codec, wav, seconds, monkeypatch):
    monkeypatch.setattr(long, "CHUNK_SECONDS", seconds)
    monkeypatch.setattr(mini, "LEVEL_HOPS", 37)
    asked = []

    def read(start, stop):
        asked.append(stop - start)
        assert 0 <= start < stop <= len(wav)
        return wav[start:stop]

    codes = codec.encode_long(read, len(wav))
    assert max(asked) <= max(37 * 320, (round(seconds * 50) + 2 * codec.context) * 320)
    return codes


@pytest.mark.parametrize("seconds", [0.02, 0.5, 1.3, 100.0])
def test_chunks_have_the_codes_of_the_whole(codec, monkeypatch, seconds):
    wav = speech_like(40011 if seconds < 0.1 else 160011, 3)
    codes = in_chunks(codec, wav, seconds, monkeypatch)
    assert torch.equal(codes, alone(codec, wav)) and codes.shape == (8, -(-len(wav) // 320))


def test_chunks_of_real_speech_have_the_codes_of_the_whole(codec, recordings, monkeypatch):
    wav = torch.cat(recordings)
    differ = int((in_chunks(codec, wav, 2.0, monkeypatch) != alone(codec, wav)).sum())
    assert differ == 0


def test_context_is_what_a_code_depends_on_and_no_more(codec):
    """A change of one frame reaches the latents of exactly `context` frames to either side."""
    wav = speech_like(16000, 1)[None].requires_grad_()
    network, config = codec.network, codec.network.config
    valid = torch.ones(1, 50, dtype=torch.bool)
    network.latents(wav, valid)[0, 25].abs().sum().backward()
    touched = wav.grad[0].reshape(50, config.hop).abs().sum(1).nonzero()[:, 0]
    assert (int(touched.min()), int(touched.max())) == (25 - codec.context, 25 + codec.context)


def test_the_level_is_that_of_the_whole_file(codec, monkeypatch):
    """A loud beginning sets the gain of a quiet end many chunks later."""
    wav = torch.cat([8 * speech_like(16000, 1), speech_like(64000, 2)])
    assert torch.equal(in_chunks(codec, wav, 0.5, monkeypatch), alone(codec, wav))


def test_autocast_changes_no_code(codec, monkeypatch):
    wav = speech_like(32000, 5)
    wanted = alone(codec, wav)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(alone(codec, wav), wanted)
        assert torch.equal(in_chunks(codec, wav, 0.7, monkeypatch), wanted)
        with torch.inference_mode():
            coarse = codec.encode_together(wav[None], torch.tensor([len(wav)]))[0][0]
    assert not torch.equal(coarse, wanted), "the guard is not needed, or this test sees nothing"


def test_coarse_products_of_the_program_around_are_switched_off_and_on_again(codec):
    wav = speech_like(32000, 6)
    wanted, before = alone(codec, wav), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        chosen = [place.fp32_precision for place in places()]
        assert torch.equal(alone(codec, wav), wanted)
        assert [place.fp32_precision for place in places()] == chosen and "bf16" in chosen
        with pytest.raises(ZeroDivisionError), exact_arithmetic(codec):
            assert {place.fp32_precision for place in places()} == {"ieee"}
            raise ZeroDivisionError
        assert [place.fp32_precision for place in places()] == chosen
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_codec_in_another_type_is_refused():
    codec = mini.MiniCodec(mini.Network(mini.Config(width=16)), base.read_codec_info(get_codec.COMMITTED))
    with pytest.raises(CodecError, match="^E343 .*bfloat16; codes are made in float32"):
        codec.bfloat16().encode(torch.zeros(1, 320), torch.tensor([320]))


def test_a_codec_without_a_bound_says_so(codec, monkeypatch):
    monkeypatch.setattr(codec, "context", None)
    with pytest.raises(LongSignalError, match="^E344 .*lasts 90 s.*--long_seconds"):
        codec.encode_long(lambda start, stop: torch.zeros(stop - start), 90 * 16000)
    with pytest.raises(CodecError, match="^E353"):
        codec.encode_long(lambda start, stop: torch.zeros(stop - start), 0)
