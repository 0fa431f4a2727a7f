"""get_codec --codec and train_kmeans on toy codecs: delay, other output rates, hashes, centres, what is told."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_codec import snapshot

from codecsep import config as configs
from codecsep.bin import codec_folder, get_codec, train_kmeans
from codecsep.codecs import base
from codecsep.data import audio, datadir, downloads
from codecsep.data.ark import CodecInfo, read_codec_info
from codecsep.data.digest import file_sha256

sys.path.append(str(Path(__file__).resolve().parents[1] / "codecs"))
from toy_codecs import official  # noqa: E402


@pytest.fixture
def sources(tmp_path):
    """Three noises of half a second at 16 kHz."""
    random = np.random.default_rng(0)
    paths = {name: tmp_path / "wav" / f"{name}.wav" for name in "abc"}
    for path in paths.values():
        audio.write_audio(path, 0.1 * random.standard_normal(8000), 16000)
    datadir.write_table(tmp_path / "data" / "wav.scp", paths)
    return tmp_path / "data"


@pytest.fixture
def toy(tmp_path):
    """The words that convert a toy's official weights: what(name) -> list."""

    def what(name):
        folder = tmp_path / name
        folder.mkdir()
        _, sizes, path = official(name, folder)
        (folder / "sizes.yaml").write_text(configs.dump(sizes))
        return ["--codec", name, "--weights", str(path), "--config", str(folder / "sizes.yaml")]

    return what


def call(main, words, *more):
    return main([*words, *map(str, more)])


def test_official_weights_become_a_directory_the_same_each_time(toy, sources, tmp_path, capsys):
    words = toy("encodec")
    assert call(get_codec.main, words, "--data", sources, "--out", tmp_path / "a", "--num_codebooks", 4) == 0
    told = capsys.readouterr().err
    assert re.search(r"official.safetensors: SHA-256 [0-9a-f]{64} \(not one that is pinned here", told)
    assert "a made: encodec, 4 x 32 at 75 Hz" in told
    info = read_codec_info(tmp_path / "a")
    assert info.fingerprint == file_sha256(tmp_path / "a" / "encodec.safetensors")
    assert base.load(tmp_path / "a").info == info
    assert call(get_codec.main, words, "--data", sources, "--out", tmp_path / "b", "--num_codebooks", 4) == 0
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")
    capsys.readouterr()
    assert call(get_codec.main, words, "--data", sources, "--out", tmp_path / "a", "--num_codebooks", 4) == 0
    assert "a is up to date" in capsys.readouterr().err
    assert call(get_codec.main, words, "--data", sources, "--out", tmp_path / "a", "--num_codebooks", 5) == 0
    assert "a made: encodec, 5 x 32" in capsys.readouterr().err, "other sizes: made again"


def test_centres_are_fitted_and_used(toy, sources, tmp_path, capsys):
    words = toy("melrvq")
    assert call(get_codec.main, words, "--data", sources, "--out", tmp_path / "codec") == 2
    assert "E358 " in capsys.readouterr().err
    fit = ["--data", sources, "--out", tmp_path / "centres", "--rounds", 3]
    assert call(train_kmeans.main, words, *fit) == 0
    told = capsys.readouterr().err
    facts = json.loads((tmp_path / "centres" / "kmeans.json").read_text())
    assert facts["frames"] == 3 * 44 and len(facts["variance_left"]) == 8
    assert f"8 codebooks, {100 * facts['variance_left'][-1]:.2f} % of the variance is left" in told
    before = snapshot(tmp_path / "centres")
    assert call(train_kmeans.main, words, *fit) == 0 and "is up to date" in capsys.readouterr().err
    assert call(train_kmeans.main, words, *fit, "--force") == 0 and snapshot(tmp_path / "centres") == before
    make = ["--data", sources, "--centres", tmp_path / "centres", "--out", tmp_path / "codec"]
    assert call(get_codec.main, words, *make) == 0
    assert "melrvq does not keep the waveform" in capsys.readouterr().err
    codec = base.load(tmp_path / "codec")
    wav = torch.from_numpy(audio.read_audio(tmp_path / "wav" / "a.wav", 22050)[0])[None]
    latents, _ = codec.latents(wav, torch.tensor([wav.shape[1]]))
    left = (codec.embed(codec.quantize(latents)) - latents).square().sum() / (latents - latents.mean(1)).square().sum()
    assert float(left) == pytest.approx(facts["variance_left"][-1], rel=0.5)


def test_units_are_made_without_a_delay(toy, sources, tmp_path, capsys):
    words = toy("units")
    assert call(train_kmeans.main, words, "--data", sources, "--out", tmp_path / "centres") == 0
    make = ["--data", sources, "--centres", tmp_path / "centres" / "centres.safetensors", "--out", tmp_path / "codec"]
    assert call(get_codec.main, words, *make) == 0
    assert "codec units: has no decoder: there is no delay" in capsys.readouterr().err
    assert read_codec_info(tmp_path / "codec").delay_samples == 0


def test_too_little_speech_for_a_codebook(toy, sources, tmp_path, capsys):
    words = [*toy("melrvq"), "--codebook_size", "500"]
    assert call(train_kmeans.main, words, "--data", sources, "--out", tmp_path / "centres") == 2
    assert re.search("E358 .*132 frames, and a codebook 500 entries", capsys.readouterr().err)
    assert not (tmp_path / "centres").exists()


class Late:
    """A codec that gives its input back `lag` samples late at another rate, its end cut off by 8 samples."""

    def __init__(self, output_rate, lag):
        self.info = CodecInfo("late", "0", 16000, 50.0, 320, 1, 2, 0, output_rate)
        self.lag = lag

    def encode(self, wav, lengths):
        self.wav = wav
        return torch.zeros(1, 1, self.num_frames(int(lengths))), torch.tensor([self.num_frames(int(lengths))])

    def num_frames(self, num_samples):
        return -(-num_samples // 320)

    def num_samples(self, num_frames):
        return num_frames * self.info.output_rate // 50

    def decode(self, codes, frames):
        wav = audio.resample(self.wav[0].numpy(), 16000, self.info.output_rate)
        late = np.roll(wav, self.lag)[: len(wav) - 8]
        return torch.from_numpy(late.astype(np.float32))[None]


@pytest.mark.parametrize(("output_rate", "lag"), [(16000, -8), (24000, 37), (24000, 0), (8000, 3)])
def test_delay_is_measured_at_the_output_rate(sources, monkeypatch, output_rate, lag):
    monkeypatch.setattr(codec_folder, "load", lambda directory: Late(output_rate, lag))
    assert codec_folder.measure_delay(Path("codec"), sources) == lag


def test_hash_of_the_weights(toy, sources, tmp_path, capsys):
    words, out = toy("encodec"), ["--data", sources, "--out", tmp_path / "codec"]
    assert call(get_codec.main, words, *out, "--sha256", "0" * 64) == 2
    assert re.search(r"E359 \S+official.safetensors: has the SHA-256 \w{64}, not 0000", capsys.readouterr().err)
    assert not (tmp_path / "codec").exists()
    assert (
        call(get_codec.main, words, *out, "--sha256", file_sha256(tmp_path / "encodec/official.safetensors").upper())
        == 0
    )


def test_named_weights_come_from_the_cache(toy, sources, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CODECSEP_CACHE", str(tmp_path / "cache"))
    words, out = toy("encodec"), ["--data", sources, "--out", tmp_path / "codec"]
    words[3] = "encodec_24khz.th"
    assert call(get_codec.main, words, *out) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "E359 " in told and downloads.BY_NAME["encodec_24khz.th"].sha256 in told
    assert (
        "tools/fetch_weights.py --only encodec_24khz.th" in told
        and str(tmp_path / "cache" / "encodec_24khz.th") in told
    )
    (tmp_path / "cache").mkdir()
    shutil.copy(tmp_path / "encodec" / "official.safetensors", tmp_path / "cache" / "encodec_24khz.th")
    assert call(get_codec.main, words, *out) == 2 and "pinned is d7cc33bc" in capsys.readouterr().err
    words[3] = "strange.th"
    assert call(get_codec.main, words, *out) == 2
    assert (
        "E359 strange.th: no such file or directory, and no download of encodec (encodec_24khz.th)"
        in capsys.readouterr().err
    )


def test_the_only_download_of_a_codec_needs_no_name(toy, sources, tmp_path, monkeypatch, capsys):
    words = toy("melrvq")
    content = Path(words[3])
    weight = replace(downloads.BY_NAME["hifigan_universal.pt"], name="toy.safetensors", sha256=file_sha256(content))
    monkeypatch.setattr(downloads, "CODECS", (weight,))
    monkeypatch.setenv("CODECSEP_CACHE", str(content.parent))
    content.rename(content.parent / "toy.safetensors")
    words[2:4] = []
    assert call(train_kmeans.main, words, "--data", sources, "--out", tmp_path / "centres", "--rounds", 1) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--codec", "mini"], "E356 --codec mini: has no official weights"),
        (["--codec", "mp3"], "E352 codec.json: no codec named 'mp3'"),
        (
            ["--codec", "dac"],
            r"E359 --codec dac: which weights\? \(fix: give --weights PATH, or the name of a download \(dac_",
        ),
        (["--codec", "dac", "--from", "x"], "E855 .*--from and --codec"),
        (["--weights", "x"], "E855 .*without --codec: --weights"),
        (["--sample_rate", "8000"], "E855 .*without --codec: --sample_rate 8000"),
        (["--codec", "dac", "--sample_rat", "8000"], "E802 .*'sample_rat'.*nearest: 'sample_rate'"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, words, message):
    assert get_codec.main([*words, "--out", str(tmp_path / "codec")]) == 2
    told = capsys.readouterr().err
    assert re.match(f"codecsep-get-codec: {message}", told) and told.count("\n") == 1
