"""Audio piece by piece: the samples of the whole file, at its own rate and at another, and every fault by name."""

import numpy as np
import pytest
import soundfile

from codecsep.data import audio
from codecsep.data.audio import AudioError
from codecsep.data.audio_blocks import AudioBlocks, Resampled

RATE = 16000


def signal(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, size).astype(np.float32)


def write(path, samples, **options):
    soundfile.write(str(path), samples, RATE, **options)
    return path


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
def test_pieces_are_those_of_the_whole_wherever_they_start(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(audio, "BLOCK", 1000)
    path = write(tmp_path / f"a.{ending}", signal(12345))
    whole, _ = audio.read_audio(path)
    spans = [(0, 10), (5, 900), (4000, 7000), (6900, 12345), (12345, 12345), (12000, 12345), (3, 2000), (2000, 2001)]
    with AudioBlocks(path) as blocks:
        assert (blocks.rate, blocks.num_samples) == (RATE, 12345)
        for start, stop in spans:
            assert np.array_equal(blocks.read(start, stop), whole[start:stop]), (start, stop)


@pytest.mark.parametrize("rates", [(16000, 24000), (24000, 16000), (44100, 16000), (16000, 22050), (8000, 8000)])
@pytest.mark.parametrize("size", [1, 5, 20011])
def test_resampled_pieces_are_the_same_bits(rates, size):
    samples = signal(size)
    whole = audio.resample(samples, *rates)
    track = Resampled(lambda start, stop: samples[start:stop], size, *rates)
    assert track.num_samples == len(whole)
    for step in (1000, 3333):
        starts = range(0, len(whole), step)
        pieces = [track.read(start, min(start + step, len(whole))) for start in starts]
        assert np.array_equal(np.concatenate(pieces), whole)
        assert pieces[0].dtype == np.float32


def test_the_end_of_what_sounds(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "BLOCK", 1000)
    for last in (0, 1, 999, 1000, 1001, 4321, 5000):
        samples = signal(5000)
        samples[last:] = 0
        with AudioBlocks(write(tmp_path / "a.wav", samples, subtype="FLOAT")) as blocks:
            assert blocks.sounding() == last
            assert np.array_equal(blocks.read(0, 5000), samples)


def test_nan_is_found_wherever_it_stands(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "BLOCK", 1000)
    for place, value in ((0, np.nan), (2500, np.inf), (4999, np.nan)):
        samples = signal(5000)
        samples[place] = value
        path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
        with AudioBlocks(path) as blocks, pytest.raises(AudioError, match=f"^E204 .*a.wav: .*index {place} "):
            blocks.sounding()


def test_a_damaged_flac_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "BLOCK", 1000)
    path = write(tmp_path / "a.flac", signal(50000))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)
    with AudioBlocks(path) as blocks, pytest.raises(AudioError, match="^E203 .*damaged"):
        blocks.sounding()


def test_what_the_header_shows_is_refused_at_once(tmp_path):
    cut = write(tmp_path / "cut.wav", signal(5000))
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(AudioError, match="^E202"):
        AudioBlocks(cut)
    with pytest.raises(AudioError, match="^E220 .*2 channels"):
        AudioBlocks(write(tmp_path / "two.wav", np.stack([signal(9), signal(9)], 1)))
    with pytest.raises(AudioError, match="^E202 .*utt2num_samples says 7"):
        AudioBlocks(write(tmp_path / "a.wav", signal(9)), declared=7)


def test_a_format_without_a_length_must_be_as_long_as_declared(tmp_path):
    if "MP3" not in soundfile.available_formats():
        pytest.skip("this libsndfile knows no mp3")
    path = write(tmp_path / "a.mp3", signal(16000), format="MP3")
    held = len(soundfile.read(str(path))[0])
    for declared, code in ((held - 1, "E202"), (held + 1, "E203")):
        with AudioBlocks(path, declared) as blocks, pytest.raises(AudioError, match=f"^{code}"):
            blocks.sounding()
    with AudioBlocks(path, held) as blocks:
        assert blocks.sounding() > 0
