"""Audio files: what goes in comes out, and hostile files are refused with one clear line."""

import struct

import numpy as np
import pytest
import soundfile
from scipy.io import wavfile

from codecsep.data import audio

RATE = 16000


@pytest.fixture
def tone():
    """A 440 Hz tone of 0.5 s."""
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE)).astype(np.float32)


def test_round_trip_is_exact_to_16_bits(tmp_path, tone):
    path = tmp_path / "tone.wav"
    assert audio.write_audio(path, tone, RATE) is None
    back, rate = audio.read_audio(path)
    assert rate == RATE and back.dtype == np.float32 and back.shape == tone.shape
    assert np.abs(back - tone).max() <= 0.5 / audio.FULL_SCALE
    np.testing.assert_array_equal(back, audio.to_int16(tone) / np.float32(audio.FULL_SCALE))
    audio.write_audio(tmp_path / "again.wav", back, RATE)
    assert (tmp_path / "again.wav").read_bytes() == path.read_bytes()
    assert audio.num_samples(path) == len(tone) and audio.sample_rate(path) == RATE


def test_an_independent_reader_sees_the_same_samples(tmp_path, tone):
    audio.write_audio(tmp_path / "tone.wav", tone, RATE)
    rate, samples = wavfile.read(tmp_path / "tone.wav")
    assert rate == RATE and samples.dtype == np.int16
    np.testing.assert_array_equal(samples, np.round(tone.astype(np.float64) * 32768))


def test_extremes_of_the_16_bit_range(tmp_path):
    audio.write_audio(tmp_path / "extremes.wav", np.array([-1.0, 1.0, 0.0]), RATE)
    _, samples = wavfile.read(tmp_path / "extremes.wav")
    assert samples.tolist() == [-32768, 32767, 0]


def test_above_full_scale_is_scaled_and_said(tmp_path, tone):
    warning = audio.write_audio(tmp_path / "loud.wav", 10 * tone, RATE)
    assert "above full scale" in warning and "loud.wav" in warning
    back, _ = audio.read_audio(tmp_path / "loud.wav")
    assert np.corrcoef(back, tone)[0, 1] > 0.99999, "the shape of the signal is kept: no clipping"


def test_nothing_is_left_when_writing_fails(tmp_path):
    with pytest.raises(audio.AudioError, match="NaN or Inf, the first at index 1"):
        audio.write_audio(tmp_path / "bad.wav", np.array([0.0, np.nan]), RATE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44100, 16000), (22050, 16000), (16000, 8000), (8000, 16000)])
def test_resampling_keeps_a_tone(from_rate, to_rate):
    time = np.arange(from_rate) / from_rate
    resampled = audio.resample(np.sin(2 * np.pi * 440 * time), from_rate, to_rate)
    assert resampled.shape == (to_rate,) and resampled.dtype == np.float32
    expected = np.sin(2 * np.pi * 440 * np.arange(to_rate) / to_rate)
    middle = slice(to_rate // 10, -to_rate // 10)
    np.testing.assert_allclose(resampled[middle], expected[middle], atol=5e-3)


def test_read_resamples_stereo_44k_only_when_told_how(tmp_path):
    path = tmp_path / "stereo.wav"
    left = 0.5 * np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)
    soundfile.write(path, np.stack([left, np.zeros(44100)], axis=1), 44100)
    with pytest.raises(audio.AudioError, match="2 channels.*channel=0"):
        audio.read_audio(path, RATE)
    samples, rate = audio.read_audio(path, RATE, channel=0)
    assert rate == RATE and samples.shape == (RATE,) and np.abs(samples).max() == pytest.approx(0.5, abs=0.01)
    assert not audio.read_audio(path, RATE, channel=1)[0].any()
    with pytest.raises(audio.AudioError, match="channel 2 was asked for"):
        audio.read_audio(path, channel=2)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "ULAW"])
def test_bit_depths(tmp_path, tone, subtype):
    soundfile.write(tmp_path / "depth.wav", tone, RATE, subtype=subtype)
    back, _ = audio.read_audio(tmp_path / "depth.wav")
    assert np.abs(back - tone).max() < 0.02


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes"),
        (b"<html><body>404 Not Found</body></html>", "not an audio file"),
        (bytes(range(256)) * 4, "not an audio file"),
    ],
    ids=["empty", "html", "bytes"],
)
def test_files_that_are_no_audio(tmp_path, content, message):
    path = tmp_path / "fake.wav"
    path.write_bytes(content)
    with pytest.raises(audio.AudioError, match=message) as caught:
        audio.read_audio(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_directory_and_pipe(tmp_path):
    with pytest.raises(audio.AudioError, match="no such file"):
        audio.read_audio(tmp_path / "nowhere.wav")
    with pytest.raises(audio.AudioError, match="^E110 .*not a file"):
        audio.read_audio(tmp_path)
    with pytest.raises(audio.AudioError, match="^E701 .*command.*not run"):
        audio.read_audio(f"touch {tmp_path}/canary |")
    assert not (tmp_path / "canary").exists()


def test_header_without_samples(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    for read in (audio.read_audio, audio.num_samples):
        with pytest.raises(audio.AudioError, match="holds no samples"):
            read(tmp_path / "none.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_float_files_with_nan(tmp_path, tone, value):
    tone[1234] = value
    soundfile.write(tmp_path / "nan.wav", tone, RATE, subtype="FLOAT")
    with pytest.raises(audio.AudioError, match="1 samples are NaN or Inf, the first at index 1234"):
        audio.read_audio(tmp_path / "nan.wav")


def test_a_wav_cut_in_half_is_noticed(tmp_path, tone):
    path = tmp_path / "cut.wav"
    audio.write_audio(path, tone, RATE)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert soundfile.info(path).frames > 0, "libsndfile itself says nothing"
    for read in (audio.read_audio, audio.num_samples):
        with pytest.raises(audio.AudioError, match=r"^E202 .*promises 8,000 samples, the file holds 3,989"):
            read(path)


def test_a_streamed_wav_of_unknown_length_is_read(tmp_path, tone):
    path = tmp_path / "streamed.wav"
    audio.write_audio(path, tone, RATE)
    whole = path.read_bytes()
    start = whole.index(b"data") + 4
    path.write_bytes(whole[:start] + struct.pack("<I", 0xFFFFFFFF) + whole[start + 4 :])
    assert audio.read_audio(path)[0].shape == tone.shape


def test_a_cut_flac_is_refused(tmp_path):
    path = tmp_path / "cut.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, RATE), RATE)
    path.write_bytes(path.read_bytes()[:-9000])
    with pytest.raises(audio.AudioError, match=r"cut\.flac"):
        audio.read_audio(path)


@pytest.mark.parametrize("shape", [(0,), (10, 2)])
def test_signals_of_other_shapes_are_not_written(tmp_path, shape):
    with pytest.raises(audio.AudioError, match="samples"):
        audio.write_audio(tmp_path / "shape.wav", np.zeros(shape), RATE)


def test_resample_refuses_a_rate_of_zero(tone):
    with pytest.raises(audio.AudioError, match="to_rate is 0"):
        audio.resample(tone, RATE, 0)
