"""Audio files: what goes in comes out, and hostile files are refused with one clear line."""

import os
import signal
import struct
import subprocess
import sys

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


@pytest.mark.parametrize("position", [0.05, 0.3, 0.5, 0.9, 0.999])
def test_a_wav_cut_anywhere_is_refused(tmp_path, tone, position):
    """U2."""
    path = tmp_path / "cut.wav"
    audio.write_audio(path, tone, RATE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * position)])
    with pytest.raises(audio.AudioError, match=r"^E202 .*cut\.wav: cut short: .*promises 8,000 samples.*\(fix: "):
        audio.read_audio(path)


@pytest.mark.parametrize("difference", [-1, 1])
def test_declared_lengths_are_compared(tmp_path, tone, difference):
    """U2: a file that is whole in itself, but not the one that was listed."""
    audio.write_audio(tmp_path / "a.wav", tone, RATE)
    assert len(audio.read_audio(tmp_path / "a.wav", declared=len(tone))[0]) == len(tone)
    for read in (audio.read_audio, audio.num_samples):
        with pytest.raises(audio.AudioError, match=r"^E202 .*holds 8,000 samples, utt2num_samples says (7,999|8,001)"):
            read(tmp_path / "a.wav", declared=len(tone) + difference)


class Alarm:
    """Fails a block that takes longer than 5 s, also when it hangs in C."""

    def __enter__(self):
        signal.signal(signal.SIGALRM, self._ring)
        signal.alarm(5)

    def __exit__(self, *_):
        signal.alarm(0)

    @staticmethod
    def _ring(*_):
        raise TimeoutError("hangs")


@pytest.fixture
def flac(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, RATE), RATE)
    return path


@pytest.mark.parametrize("position", [0.2, 0.5, 0.99])
def test_a_cut_flac_is_an_error_and_never_hangs(flac, position):
    """U3."""
    whole = flac.read_bytes()
    flac.write_bytes(whole[: int(len(whole) * position)])
    with Alarm():
        with pytest.raises(audio.AudioError, match=r"^E203 .*a\.flac: audio data are damaged"):
            audio.read_audio(flac)
        with soundfile.SoundFile(flac) as file, pytest.raises(soundfile.LibsndfileError):
            file.seek(RATE - 10)
            file.read(5)


def test_a_flipped_byte_in_flac_is_an_error(flac, trials):
    """U3: each frame has a checksum."""
    whole = flac.read_bytes()
    generator = np.random.default_rng(0)
    for position in generator.integers(200, len(whole), trials(20, 300)):
        flac.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        with Alarm(), pytest.raises(audio.AudioError, match=r"^E203 "):
            audio.read_audio(flac)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_is_whole_or_refused(tmp_path, subtype, trials):
    """U4: libsndfile reads a cut or damaged Ogg file silently; its pages have checksums, and a mark on the last."""
    path = tmp_path / "a.ogg"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.1, 0.1, 3 * RATE), RATE, format="OGG", subtype=subtype)
    whole = path.read_bytes()
    assert len(audio.read_audio(path)[0]) == 3 * RATE
    for length in range(30, len(whole), len(whole) // trials(25, 400)):
        path.write_bytes(whole[:length])
        with pytest.raises(audio.AudioError, match=r"^E202 .*cut short or damaged"):
            audio.read_audio(path)
    for position in np.random.default_rng(0).integers(4, len(whole), trials(50, 500)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(audio.AudioError, match=r"^E202 .*cut short or damaged"):
            audio.read_audio(path)


@pytest.mark.parametrize("kind", ["MP3", "AIFF", "AU", "W64", "CAF"])
def test_other_formats_need_a_declared_length(tmp_path, tone, kind):
    """U4."""
    path = tmp_path / f"a.{kind.lower()}"
    soundfile.write(path, tone, RATE, format=kind)
    with pytest.raises(audio.AudioError, match=rf"^E202 .*a file of kind {kind} does not tell .*utt2num_samples"):
        audio.read_audio(path)
    size = soundfile.info(path).frames
    assert len(audio.read_audio(path, declared=size)[0]) == size
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(audio.AudioError, match=r"^E20[123] "):
        audio.read_audio(path, declared=size)


@pytest.mark.parametrize("rate", [0, 1, 2**31 - 1])
def test_impossible_rates(tmp_path, tone, rate):
    """U7."""
    path = tmp_path / "a.wav"
    audio.write_audio(path, tone, RATE)
    raw = bytearray(path.read_bytes())
    raw[24:28] = struct.pack("<I", rate)
    path.write_bytes(raw)
    for read in (audio.read_audio, audio.sample_rate, audio.num_samples):
        with pytest.raises(audio.AudioError, match=rf"^E221 .*a sampling rate of {rate} Hz"):
            read(path)


def test_a_wav_whose_writer_died_before_the_header_was_mended(tmp_path, tone):
    """U8: both lengths 0, samples behind them; libsndfile reads 0 frames."""
    path = tmp_path / "a.wav"
    audio.write_audio(path, tone, RATE)
    raw = bytearray(path.read_bytes())
    raw[4:8] = raw[40:44] = bytes(4)
    path.write_bytes(raw)
    with pytest.raises(audio.AudioError, match=r"^E202 .*promises 0 samples, the file holds 8,000"):
        audio.read_audio(path)


def test_lengths_that_cannot_be_used(tmp_path):
    """U9, U10."""
    audio.write_audio(tmp_path / "one.wav", np.array([0.5]), RATE)
    assert audio.read_audio(tmp_path / "one.wav")[0].shape == (1,)
    audio.check_duration(320, RATE, "a", 0.02, 30.0)
    for length in (0, 1, 319, 30 * RATE + 1):
        with pytest.raises(audio.AudioError, match=rf"^E230 a: lasts .*\({length} samples\); 0.02 to 30 s"):
            audio.check_duration(length, RATE, "a", 0.02, 30.0)
    audio.check_same_length({"wav": 3, "spk1": 3}, "a")
    with pytest.raises(audio.AudioError, match=r"^E231 a: differ in length: wav 3, spk1 4, spk2 3 samples"):
        audio.check_same_length({"wav": 3, "spk1": 4, "spk2": 3}, "a")


@pytest.mark.parametrize("name", ["data", "fmt "])
def test_a_second_chunk_of_samples_or_format_is_refused(tmp_path, tone, name):
    """libsndfile reads the last one, so that the length of the first would be checked for nothing."""
    soundfile.write(tmp_path / "two.wav", tone, 16000, subtype="PCM_16")
    samples = (tmp_path / "two.wav").read_bytes()
    (tmp_path / "two.wav").write_bytes(samples + name.encode() + struct.pack("<I", 16) + bytes(16))
    with pytest.raises(audio.AudioError, match=rf"^E201 .*two\.wav: a second '{name}' chunk at byte {len(samples)}"):
        audio.num_samples(tmp_path / "two.wav")
    (tmp_path / "two.wav").write_bytes(samples + b"LIST" + struct.pack("<I", 4) + b"INFO")
    assert audio.num_samples(tmp_path / "two.wav") == len(tone)


def test_a_header_that_promises_hours_costs_no_memory(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(4096), RATE)
    raw = bytearray(path.read_bytes())
    raw[21] |= 0x0F  # the upper bits of the number of samples: 2^36 - 2^32 more
    path.write_bytes(raw)
    with pytest.raises(audio.AudioError, match=r"^E230 .*says that it holds 64,424,513,536 samples"):
        audio.read_audio(path)


def test_all_unreadable_files_are_named_at_once(tmp_path, tone):
    """G9: missing, a folder, a command; 20 at most, with the number of all."""
    audio.write_audio(tmp_path / "good.wav", tone, RATE)
    paths = {f"u{number:02d}": str(tmp_path / f"{number}.wav") for number in range(30)}
    paths |= {"good": str(tmp_path / "good.wav"), "folder": str(tmp_path)}
    with pytest.raises(
        audio.AudioError, match=r"^E110 wav.scp: 31 of 32 files cannot be read: u00 .*u19 .*\.\.\."
    ) as caught:
        audio.require_readable(paths, "wav.scp")
    assert "u20" not in str(caught.value) and "no such file" in str(caught.value)
    few = {"a": f"touch {tmp_path}/canary |", "b": str(tmp_path), "c": paths["good"]}
    with pytest.raises(audio.AudioError, match=r"2 of 3 files .*a .*\(a command; .*b .*\(not a file\)"):
        audio.require_readable(few, "wav.scp")
    audio.require_readable({"good": paths["good"]}, "wav.scp")
    assert not (tmp_path / "canary").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_without_permission(tmp_path, tone):
    audio.write_audio(tmp_path / "a.wav", tone, RATE)
    (tmp_path / "a.wav").chmod(0)
    with pytest.raises(audio.AudioError, match=r"^E110 .*no permission"):
        audio.read_audio(tmp_path / "a.wav")


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    """libsndfile alone would say "System error." and leave a file that looks whole."""
    code = "import resource, signal, sys; import numpy as np; from codecsep.data import audio\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += "audio.write_audio(sys.argv[1], np.zeros(100000), 16000)"
    result = subprocess.run([sys.executable, "-c", code, tmp_path / "a.wav"], capture_output=True, text=True)
    assert result.returncode == 1 and "E320 " in result.stderr
    assert list(tmp_path.iterdir()) == []
