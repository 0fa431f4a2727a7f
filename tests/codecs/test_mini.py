"""The mini codec: committed weights, exact lengths, batches, levels, gain, errors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from codecsep.bin import get_codec
from codecsep.codecs import base, mini
from codecsep.codecs.base import CodecError
from codecsep.data.ark import read_codec_info
from codecsep.data.audio import read_audio
from codecsep.data.digest import file_sha256
from codecsep.nn.transformer import count_parameters

SPEECH = Path(__file__).resolve().parents[2] / "egs" / "prompts2mix" / "downloads" / "wav"


@pytest.fixture(scope="module")
def codec():
    return base.load(get_codec.COMMITTED)


def speech_like(num_samples, seed=0):
    """A buzz with moving formants: voiced sound that the codec was not trained on."""
    random = np.random.default_rng(seed)
    time = np.arange(num_samples) / 16000
    pitch = 120 + 30 * np.sin(2 * np.pi * 1.3 * time) + random.uniform(-20, 20)
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    wav = sum(np.cos(h * phase) / h for h in range(1, 20)) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))
    return torch.from_numpy((0.05 * wav + 0.001 * random.standard_normal(num_samples)).astype(np.float32))


def encode_alone(codec, wav):
    return codec.encode(wav[None], torch.tensor([len(wav)]))[0][0]


def test_committed_weights_are_small_and_pinned():
    weights = get_codec.COMMITTED / "mini.safetensors"
    info = read_codec_info(get_codec.COMMITTED)
    assert weights.stat().st_size <= 10_000_000
    assert file_sha256(weights) == info.fingerprint
    assert (info.sample_rate, info.frame_rate, info.hop, info.num_codebooks, info.codebook_size) == (
        16000, 50.0, 320, 8, 512,
    )  # fmt: skip


@pytest.mark.parametrize("num_samples", [1, 319, 320, 321, 16000, 16001])
def test_lengths_are_exact(codec, num_samples):
    codes, frames = codec.encode(speech_like(num_samples)[None], torch.tensor([num_samples]))
    assert frames.tolist() == [codec.num_frames(num_samples)] == [-(-num_samples // 320)]
    assert codes.shape == (1, 8, int(frames)) and codes.dtype == torch.int64
    assert 0 <= int(codes.min()) and int(codes.max()) < 512
    assert codec.decode(codes, frames).shape == (1, int(frames) * 320)


def test_batch_equals_one_by_one(codec):
    wavs = [speech_like(n, seed) for seed, n in enumerate((8000, 16010, 31999))]
    lengths = torch.tensor([len(w) for w in wavs])
    batch = torch.zeros(3, int(lengths.max()))
    for row, wav in zip(batch, wavs, strict=True):
        row[: len(wav)] = wav
    batch[0, 8000:] = 0.3  # what lies beyond a row's length must not matter
    codes, frames = codec.encode(batch, lengths)
    decoded = codec.decode(codes, frames)
    for i, wav in enumerate(wavs):
        alone = encode_alone(codec, wav)
        assert torch.equal(codes[i, :, : int(frames[i])], alone)
        wanted = codec.decode(alone[None], frames[i : i + 1])[0]
        torch.testing.assert_close(decoded[i, : len(wanted)], wanted, atol=1e-4, rtol=1e-3)
        assert not decoded[i, len(wanted) :].any()


def test_gain_does_not_change_the_codes(codec):
    wav = speech_like(16000)
    same = (encode_alone(codec, wav) == encode_alone(codec, 0.125 * wav)).float().mean()
    assert same > 0.999


def test_more_levels_are_closer(codec):
    wav = speech_like(16000)
    codes = encode_alone(codec, wav)[None]
    spectra = [torch.stft(codec.decode(codes[:, :k], torch.tensor([50]))[0], 512, return_complex=True).abs()
               for k in (1, 2, 8)]  # fmt: skip
    network = codec.network
    wanted = torch.stft(network.normalise(wav[None], torch.tensor([16000]))[0], 512, return_complex=True).abs()
    errors = [float((s.clamp_min(0.01).log() - wanted.clamp_min(0.01).log()).abs().mean()) for s in spectra]
    assert errors[0] > errors[1] > errors[2]


def test_silence_stays_silent_and_empty_is_refused(codec):
    codes, frames = codec.encode(torch.zeros(1, 3200), torch.tensor([3200]))
    assert float(codec.decode(codes, frames).abs().max()) < 0.05
    with pytest.raises(CodecError, match="0 samples"):
        codec.encode(torch.zeros(1, 320), torch.tensor([0]))
    assert codec.decode(torch.zeros(2, 8, 0, dtype=torch.int64), torch.tensor([0, 0])).shape == (2, 0)


def test_active_level_ignores_silence_around():
    tone = 0.1 * torch.sin(torch.arange(3200) * 0.3)
    padded = torch.cat([torch.zeros(3200), tone, torch.zeros(6400)])
    alone = mini.active_level(tone[None], torch.tensor([3200]))
    together = mini.active_level(padded[None], torch.tensor([12800]))
    torch.testing.assert_close(alone, together)
    torch.testing.assert_close(alone, torch.tensor([0.1 / 2**0.5]), atol=2e-3, rtol=0)


def test_network_has_its_size_and_exported_keys():
    network = mini.Network(mini.Config())
    assert count_parameters(network) / 1e6 == pytest.approx(4.55, abs=0.01)
    exported = set(load_file(get_codec.COMMITTED / "mini.safetensors"))
    assert exported == set(network.state_dict()) - mini.training_state(network)


def test_get_codec_copies_once_and_refuses_changed_weights(tmp_path, capsys):
    out = tmp_path / "codec"
    assert get_codec.main(["--out", str(out)]) == 0
    before = (out / "mini.safetensors").stat().st_mtime_ns
    assert get_codec.main(["--out", str(out)]) == 0
    assert (out / "mini.safetensors").stat().st_mtime_ns == before
    with open(out / "mini.safetensors", "r+b") as stream:
        stream.seek(5_000_000)
        stream.write(b"xxxx")
    with pytest.raises(CodecError, match="SHA-256 is .* run --stage 1 again"):
        base.load(out)
    assert get_codec.main(["--out", str(out)]) == 0
    assert base.load(out).info.name == "mini"


def test_unknown_codec_and_missing_files_are_named(tmp_path):
    with pytest.raises(CodecError, match="run --stage 1 first"):
        base.load(tmp_path)
    info = json.loads((get_codec.COMMITTED / "codec.json").read_text())
    (tmp_path / "mp3.safetensors").write_bytes(b"")
    empty = file_sha256(tmp_path / "mp3.safetensors")
    (tmp_path / "codec.json").write_text(json.dumps(info | {"name": "mp3", "fingerprint": empty}))
    with pytest.raises(CodecError, match="no codec named 'mp3'; codecs/ holds: .*mini"):
        base.load(tmp_path)


def test_real_speech_survives(codec):
    """Six real prompts through all levels; the recipe's RESULTS.md has the held-out figures."""
    pystoi = pytest.importorskip("pystoi", reason="pystoi is not installed (extra metrics)")
    paths = [path for path in sorted(SPEECH.glob("*/*.wav")) if path.stat().st_size > 64_000][::200]
    if not paths:
        pytest.skip("no recordings: run egs/prompts2mix/slm_ss/run.sh --stop-stage 0 first")
    for path in paths:
        samples, _ = read_audio(path, 16000)
        codes, frames = codec.encode(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
        resynthesis = codec.decode(codes, frames)[0, : len(samples)].numpy()
        assert pystoi.stoi(samples, resynthesis, 16000) > 0.75, path.name
