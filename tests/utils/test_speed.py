"""utils/perturb_data_dir_speed.sh: usable audio at another speed, and lists that agree with it."""

import math
import os

import numpy as np
import pytest

from codecsep.data import audio
from codecsep.data.datadir import DataDir, invert, read_table, write_table


def signals(folder, key, names=("wav.scp", "spk1.scp", "spk2.scp")):
    return [audio.read_audio(folder.parent / read_table(folder / name)[key])[0] for name in names]


def as_int(samples):
    return np.round(samples * 32768).astype(np.int64)


@pytest.mark.parametrize("factor", ["0.9", "1.1", "1", "0.333", "2"])
def test_sources_sum_to_the_mixture_to_the_last_bit(verb, make_dir, tmp_path, factor):
    folder = make_dir("d", speakers=3)
    result = verb("perturb_data_dir_speed.sh", factor, "d", "o")
    assert (result.stdout, result.stderr) == (f"o: 4 utterances at {factor} times the speed\n", "")
    out = tmp_path / "o"
    for key, length in read_table(folder / "utt2num_samples").items():
        new = f"sp{factor}-{key}"
        mixture, *sources = signals(out, new, ("wav.scp", "spk1.scp", "spk2.scp", "spk3.scp"))
        assert np.array_equal(as_int(mixture), sum(as_int(source) for source in sources))
        assert len(mixture) == math.ceil(int(length) / float(factor)) == int(read_table(out / "utt2num_samples")[new])
        for name in ("text_spk1", "text_spk2", "text_spk3", "sot_order", "utt2lang_spk1"):
            assert read_table(out / name)[new] == read_table(folder / name)[key]
        assert read_table(out / "utt2spk")[new] == f"sp{factor}-{key[:2]}"
        assert read_table(out / "utt2uniq")[new] == key
        if factor == "1":
            assert np.array_equal(as_int(sources[1]), as_int(signals(folder, key, ("spk2.scp",))[0]))
    assert verb("validate_data_dir.sh", "--tolerance", "0", "o").returncode == 0


def make_tones(tmp_path, name, tables, **gains):
    """A directory of one mixture of 1 s at 8 kHz: tones of 1000 and 1500 Hz, and a noise file with gains["noise"]."""
    time = np.arange(8000) / 8000
    noise = gains.get("noise", 0.0) * np.random.default_rng(0).uniform(-1, 1, 8000)
    sources = [gains.get("level", 0.3) * np.sin(2 * np.pi * hertz * time) for hertz in (1000, 1500)]
    files = {"spk1": sources[0], "spk2": sources[1], "wav": sources[0] + sources[1] + noise + gains.get("extra", 0.0)}
    files |= {"noise1": noise} if "noise" in gains else {}
    for stem, samples in files.items():
        audio.write_audio(tmp_path / f"{name}-{stem}.wav", samples, 8000)
        write_table(tmp_path / name / f"{stem}.scp", {"a-1": f"{name}-{stem}.wav"})
    values = {"utt2spk": "a", "text_spk1": "x", "text_spk2": "y", "utt2num_samples": "8000", "sot_order": "1 2"}
    for table, value in {**values, **tables}.items():
        write_table(tmp_path / name / table, {"a-1": value})
    write_table(tmp_path / name / "spk2utt", invert({"a-1": "a"}))
    return tmp_path / name


def peak_hertz(samples):
    return np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples))))) * 8000 / len(samples)


def test_tones_sink_and_sounds_last_longer(verb, tmp_path):
    make_tones(tmp_path, "d", {"utt2dur": "1.0"})
    verb("perturb_data_dir_speed.sh", "0.8", "d", "o")
    mixture, first, second = signals(tmp_path / "o", "sp0.8-a-1")
    assert len(mixture) == 10000 and read_table(tmp_path / "o/utt2dur") == {"sp0.8-a-1": "1.2500"}
    assert peak_hertz(first) == pytest.approx(800, abs=1) and peak_hertz(second) == pytest.approx(1200, abs=1)
    inner = slice(500, -500)
    assert np.sqrt(np.mean(first[inner] ** 2)) == pytest.approx(0.3 / math.sqrt(2), rel=0.002)


def test_what_would_clip_is_scaled_together(verb, tmp_path):
    """Two impulses of full scale: the filter rings above it."""
    folder = make_tones(tmp_path, "d", {})
    step = np.where(np.arange(8000) // 40 % 2, 0.49, -0.49)
    for stem, samples in {"spk1": step, "spk2": step, "wav": 2 * step}.items():
        audio.write_audio(tmp_path / f"d-{stem}.wav", samples, 8000)
    result = verb("perturb_data_dir_speed.sh", "0.9", "d", "o")
    assert result.returncode == 0 and "all its files are scaled by 0." in result.stderr
    mixture, first, second = signals(tmp_path / "o", "sp0.9-a-1")
    assert np.array_equal(as_int(mixture), as_int(first) + as_int(second))
    assert 0.999 < np.abs(mixture).max() < 1 and np.abs(first).max() == pytest.approx(0.5, abs=0.001)
    assert DataDir(folder).problems() == []


def test_noise_and_mixtures_that_are_no_sums(verb, tmp_path):
    make_tones(tmp_path, "noisy", {}, noise=0.1)
    assert verb("perturb_data_dir_speed.sh", "1.1", "noisy", "o").returncode == 0
    names = ("wav.scp", "spk1.scp", "spk2.scp", "noise1.scp")
    mixture, *parts = signals(tmp_path / "o", "sp1.1-a-1", names)
    assert np.array_equal(as_int(mixture), sum(as_int(part) for part in parts))
    make_tones(tmp_path, "other", {}, extra=0.2)
    assert verb("perturb_data_dir_speed.sh", "1.1", "other", "p").returncode == 0
    mixture, *sources = signals(tmp_path / "p", "sp1.1-a-1")
    assert np.median(mixture - sum(sources)) == pytest.approx(0.2, abs=0.002)


def test_lists_at_another_speed(verb, tmp_path):
    tables = {"utt2lufs": "-20.0", "utt2peak": "0.6", "utt2onset": "0.00", "utt2num_frames": "50", "feats.scp": "x:1"}
    folder = make_tones(tmp_path, "d", {**tables, "utt2uniq": "origin-1", "utt2lang_spk1": "it"})
    write_table(folder / "spk2gender", {"a": "f"})
    write_table(folder / "cmvn.scp", {"a": "x:2"})
    result = verb("perturb_data_dir_speed.sh", "0.9", "d", "o")
    told = [
        f"{n} is left out: its values are not known at another speed"
        for n in ("cmvn.scp", "feats.scp", "utt2num_frames")
    ]
    assert result.stderr.splitlines() == [f"perturb_data_dir_speed.sh: {line}" for line in told]
    out = tmp_path / "o"
    assert read_table(out / "utt2uniq") == {"sp0.9-a-1": "origin-1"}
    assert read_table(out / "spk2gender") == {"sp0.9-a": "f"}
    mixture = signals(out, "sp0.9-a-1")[0]
    assert float(read_table(out / "utt2peak")["sp0.9-a-1"]) == pytest.approx(np.abs(mixture).max(), abs=1e-6)
    assert float(read_table(out / "utt2onset")["sp0.9-a-1"]) == 0
    assert -20 < float(read_table(out / "utt2lufs")["sp0.9-a-1"]) < 0


def test_segments(verb, tmp_path):
    folder = make_tones(tmp_path, "d", {})
    for name in ("utt2spk", "text_spk1", "text_spk2", "utt2num_samples", "sot_order"):
        value = read_table(folder / name)["a-1"]
        write_table(folder / name, {"a-1-x": value, "a-1-y": value})
    write_table(folder / "segments", {"a-1-x": "a-1 0.09 0.45", "a-1-y": "a-1 0.5 -1"})
    result = verb("perturb_data_dir_speed.sh", "0.9", "d", "o")
    assert result.returncode == 0 and "utt2num_samples is left out" in result.stderr
    segments = read_table(tmp_path / "o/segments")
    assert segments == {"sp0.9-a-1-x": "sp0.9-a-1 0.1000 0.5000", "sp0.9-a-1-y": "sp0.9-a-1 0.5556 -1.0000"}
    assert list(read_table(tmp_path / "o/wav.scp")) == ["sp0.9-a-1"]
    assert verb("validate_data_dir.sh", "--with-segments", "--no-text", "o").returncode == 0


def test_processes_change_nothing_and_a_second_run_replaces_the_first(verb, make_dir, tmp_path):
    make_dir("d", ids=20)
    verb("perturb_data_dir_speed.sh", "0.9", "d", "o")
    one = {
        path.relative_to(tmp_path / "o"): path.read_bytes() for path in (tmp_path / "o").rglob("*") if path.is_file()
    }
    assert verb("perturb_data_dir_speed.sh", "--nj", "3", "0.9", "d", "o").returncode == 0
    three = {p.relative_to(tmp_path / "o"): p.read_bytes() for p in (tmp_path / "o").rglob("*") if p.is_file()}
    assert one == three and len(one) > 60


@pytest.mark.parametrize("nj", ["1", "3"])
def test_nothing_is_left_of_a_run_that_fails(verb, refused, make_dir, tmp_path, nj):
    folder = make_dir("d", ids=20)
    bad = tmp_path / list(read_table(folder / "spk2.scp").values())[11]
    bad.write_bytes(bad.read_bytes()[:-10])
    result = verb("perturb_data_dir_speed.sh", "--nj", nj, "0.9", "d", "o")
    assert refused(result).startswith("E2") and bad.name in result.stderr
    assert not (tmp_path / "o").exists() and not list(tmp_path.glob(".o*"))


def test_killed_and_run_again(verb, make_dir, tmp_path):
    make_dir("d")
    killed = verb("perturb_data_dir_speed.sh", "0.9", "d", "o", CODECSEP_FAULT="atomic.before_rename@9:kill")
    assert killed.returncode == -9 and not (tmp_path / "o").exists() and list(tmp_path.glob(".o.*.tmp"))
    assert verb("perturb_data_dir_speed.sh", "0.9", "d", "o").returncode == 0
    assert verb("validate_data_dir.sh", "--tolerance", "0", "o").returncode == 0
    assert not list(tmp_path.glob(".o*"))


def test_unequal_files_are_refused(verb, refused, tmp_path):
    make_tones(tmp_path, "d", {})
    audio.write_audio(tmp_path / "d-spk2.wav", np.full(7000, 0.1), 8000)
    result = verb("perturb_data_dir_speed.sh", "0.9", "d", "o")
    assert refused(result) == "E138" and "sp0.9-a-1" in result.stderr
    audio.write_audio(tmp_path / "d-spk2.wav", np.full(8000, 0.1), 16000)
    assert refused(verb("perturb_data_dir_speed.sh", "0.9", "d", "o")) == "E138"


@pytest.mark.parametrize("factor", ["0", "-1", "x", "1e9", "9", "0.1", "nan", "", "1/2", "0.12345"])
def test_factors_that_are_none(verb, refused, make_dir, tmp_path, factor):
    make_dir("d", ids=1)
    assert refused(verb("perturb_data_dir_speed.sh", "--", factor, "d", "o")) == "E131"
    assert not (tmp_path / "o").exists() and "o" not in os.listdir(tmp_path)
