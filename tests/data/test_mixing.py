"""Mixtures: loudness, gains, alignment, the clipping guard, SOT order, and the seeded mixer."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecsep.data import datadir, mixing
from codecsep.data.audio import AudioError
from codecsep.data.mixing import Config, DynamicMixer, MixingError

RATE = 16000


def noise(seconds, seed=0, level=0.1):
    """Noise with a slow swell, [L]."""
    samples = np.random.default_rng(seed).normal(0, level, round(seconds * RATE))
    return (samples * (1 + 0.5 * np.sin(np.arange(len(samples)) / 3000))).astype(np.float32)


def late(seconds, silence, seed=0):
    """Noise that follows digital silence."""
    return np.concatenate([np.zeros(round(silence * RATE), np.float32), noise(seconds, seed)])


def write_sources(path, speakers=3, per_speaker=5, peak=0.5):
    """A directory of single sources with the tables that the mixer reads; the audio is not needed."""
    ids = [f"s{speaker}-{number}" for speaker in range(speakers) for number in range(per_speaker)]
    generator = np.random.default_rng(0)
    tables = {
        "wav.scp": {key: f"{key}.wav" for key in ids},
        "utt2spk": {key: key.split("-")[0] for key in ids},
        "utt2lufs": {key: generator.uniform(-30, -15) for key in ids},
        "utt2peak": {key: peak for key in ids},
        "utt2onset": {key: f"{0.02 * generator.integers(0, 5):.2f}" for key in ids},
    }
    for name, table in tables.items():
        datadir.write_table(Path(path) / name, table)
    return path


def test_loudness_of_the_reference_tone():
    """EBU Tech 3341: a stereo 1 kHz tone of -23 dBFS peak has -23 LUFS; in one channel 3.01 dB less."""
    tone = 10 ** (-23 / 20) * np.sin(2 * np.pi * 1000 * np.arange(5 * 48000) / 48000)
    assert mixing.loudness(tone, 48000) == pytest.approx(-23 - 3.01, abs=0.1)


@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.399, 0.4, 0.401, 3.0])
def test_gain_moves_the_loudness_by_as_much(seconds):
    samples = noise(seconds)
    before = mixing.loudness(samples, RATE)
    for target in (-33.0, -25.0):
        gain = mixing.source_gain(before, float(np.abs(samples).max()), target)
        assert mixing.loudness(samples * gain, RATE) == pytest.approx(target, abs=0.01)


def test_a_short_signal_is_as_loud_as_the_long_one_it_repeats():
    short = noise(0.1)
    assert mixing.loudness(short, RATE) == pytest.approx(mixing.loudness(np.tile(short, 30), RATE), abs=0.5)


def test_silence_and_nan_have_no_loudness_and_no_onset():
    for measure in (mixing.loudness, mixing.onset):
        with pytest.raises(AudioError, match="silent"):
            measure(np.zeros(RATE, np.float32), RATE)
        with pytest.raises(AudioError, match="NaN"):
            measure(np.full(RATE, np.nan, np.float32), RATE)
        with pytest.raises(AudioError, match="no samples"):
            measure(np.zeros(0, np.float32), RATE)


def test_a_source_that_would_clip_is_brought_to_the_peak_of_librimix():
    assert mixing.source_gain(lufs=-40, peak=0.5, target=-25) == pytest.approx(0.9 / 0.5)
    assert mixing.source_gain(lufs=-30, peak=0.5, target=-25) == pytest.approx(10 ** (5 / 20))


@pytest.mark.parametrize("mode", mixing.MODES)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_modes_lengths_and_sums(mode, count):
    sources = [noise(seconds, seed) for seed, seconds in enumerate([2.0, 1.0, 3.0, 2.5][:count])]
    length = max(map(len, sources)) if mode == "max" else min(map(len, sources))
    gains = [0.5, 1.0, 0.25, 0.7][:count]
    mixture, scaled = mixing.mix(sources, gains, mode)
    assert mixture.shape == (length,) and scaled.shape == (count, length) and scaled.dtype == np.float32
    np.testing.assert_array_equal(mixture, scaled.sum(axis=0))
    for row, source, gain in zip(scaled, sources, gains, strict=True):
        np.testing.assert_allclose(row[: len(source)], gain * source[:length], rtol=1e-6)
        assert not row[len(source) :].any(), "zeros at the end"


def test_the_clipping_guard_scales_everything_alike():
    sources = [noise(1.0, seed, level=0.5) for seed in range(2)]
    mixture, scaled = mixing.mix(sources, [1.0, 0.5])
    assert np.abs(mixture).max() == pytest.approx(0.9, abs=1e-6)
    ratio = scaled[0] @ sources[0] / (sources[0] @ sources[0])
    np.testing.assert_allclose(scaled[1], ratio * 0.5 * sources[1], atol=1e-6)
    quiet, _ = mixing.mix(sources, [0.1, 0.1])
    np.testing.assert_allclose(quiet, 0.1 * (sources[0] + sources[1]), atol=1e-6)


def test_both_modes_share_their_gains():
    loud_tail = np.concatenate([noise(1.0), 4 * noise(1.0)])
    other = noise(1.0, 1)
    shortest = mixing.mix([loud_tail, other], [1.0, 1.0], "min")[1]
    longest = mixing.mix([loud_tail, other], [1.0, 1.0], "max")[1]
    np.testing.assert_array_equal(shortest, longest[:, :RATE])


def test_offsets_delay():
    sources = [noise(1.0, 0), noise(1.0, 1)]
    mixture, scaled = mixing.mix(sources, [1.0, 1.0], "max", [0, 4800])
    assert mixture.shape == (RATE + 4800,) and not scaled[1, :4800].any()
    np.testing.assert_allclose(scaled[1, 4800:], sources[1], rtol=1e-6)
    assert mixing.mix(sources, [1.0, 1.0], "min", [0, 4800])[0].shape == (RATE,)


def test_mistakes_are_named():
    sources = [noise(0.5), noise(0.5, 1)]
    with pytest.raises(MixingError, match="'longest' .fix: choose one of max, min"):
        mixing.mix(sources, [1, 1], "longest")
    with pytest.raises(MixingError, match="2 sources, 1 gains"):
        mixing.mix(sources, [1])
    with pytest.raises(MixingError, match="0 sources"):
        mixing.mix([], [])
    with pytest.raises(MixingError, match="delay it less"):
        mixing.mix(sources, [1, 1], "min", [0, RATE])
    for wrong in ({"num_speakers": 0}, {"mode": "x"}, {"max_offset": -1}, {"min_loudness": -20}):
        with pytest.raises(MixingError):
            Config(**wrong)


@pytest.mark.parametrize("silence", [0.0, 0.02, 0.1, 1.0])
@pytest.mark.parametrize("gain", [1e-3, 1.0, 100.0])
def test_onset_is_the_first_loud_frame_whatever_the_gain(silence, gain):
    assert mixing.onset(gain * late(0.5, silence), RATE) == pytest.approx(silence)


def test_onset_threshold_is_40_db_below_the_loudest_frame():
    quiet = np.full(RATE // 10, 0.5, np.float32)
    loud = np.full(RATE // 10, 0.5, np.float32)
    assert mixing.onset(np.concatenate([quiet * 0.0101, loud]), RATE) == 0
    assert mixing.onset(np.concatenate([quiet * 0.0099, loud]), RATE) == pytest.approx(0.1)


def test_sot_order_first_come_first_served_ties_to_the_louder():
    assert mixing.sot_order([late(1, 0.5), late(1, 0.1, 1), late(1, 0.3, 2)], RATE) == [1, 2, 0]
    assert mixing.sot_order([0.1 * noise(1), noise(1, 1), 0.5 * noise(1, 2)], RATE) == [1, 2, 0]
    assert mixing.sot_order([noise(1), noise(1)], RATE) == [0, 1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-33, -25)), min_size=1, max_size=5))
def test_order_is_a_permutation_sorted_by_the_rule(pairs):
    order = mixing.order_by([frame * mixing.FRAME for frame, _ in pairs], [level for _, level in pairs])
    assert sorted(order) == list(range(len(pairs)))
    keys = [(pairs[index][0], -pairs[index][1], index) for index in order]
    assert keys == sorted(keys)


def test_mixer_draws_are_fixed_by_seed_epoch_and_index(tmp_path):
    path = write_sources(tmp_path)
    items = [DynamicMixer(path, Config(), seed=3).item(epoch, index) for epoch in range(2) for index in range(20)]
    mixer = DynamicMixer(path, Config(), seed=3)
    again = [mixer.item(epoch, index) for epoch in (1, 0) for index in range(19, -1, -1)]
    assert sorted(map(str, items)) == sorted(map(str, again)) and len(set(map(str, items))) == 40
    assert items[0] != DynamicMixer(path, Config(), seed=4).item(0, 0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_mixer_mixes_different_persons_at_the_drawn_loudness(tmp_path, count):
    path = write_sources(tmp_path)
    lufs = {key: float(value) for key, value in datadir.read_table(path / "utt2lufs").items()}
    mixer = DynamicMixer(path, Config(num_speakers=count))
    draws = [mixer.item(0, index) for index in range(200)]
    persons = [{key.split("-")[0] for key in draw.ids} for draw in draws]
    assert all(len(group) == count for group in persons)
    assert {key for draw in draws for key in draw.ids} == set(lufs), "every utterance has its turn"
    levels = [lufs[key] + 20 * np.log10(g) for draw in draws for key, g in zip(draw.ids, draw.gains, strict=True)]
    assert -33 <= min(levels) < -32.5 and -25.5 < max(levels) <= -25 and np.mean(levels) == pytest.approx(-29, abs=0.6)
    assert all(draw.offsets == [0.0] * count and sorted(draw.order) == list(range(count)) for draw in draws)


def test_mixer_obeys_given_speakers_offsets_and_peaks(tmp_path):
    mixer = DynamicMixer(write_sources(tmp_path, peak=0.9999), Config(max_offset=0.5))
    draws = [mixer.item(0, index, ["s2", "s0"]) for index in range(100)]
    assert {tuple(key[:2] for key in draw.ids) for draw in draws} == {("s2", "s0")}
    assert all(gain * 0.9999 < 1 for draw in draws for gain in draw.gains)
    delays = {draw.offsets[1] for draw in draws}
    assert all(draw.offsets[0] == 0 for draw in draws) and len(delays) > 15 and 0 <= min(delays) and max(delays) <= 0.5
    assert all(delay / 0.02 == pytest.approx(round(delay / 0.02)) for delay in delays)


def test_order_of_a_draw_is_that_of_the_audio(tmp_path):
    """The tables suffice: what the mixer says agrees with `sot_order` on the mixed sources."""
    path = write_sources(tmp_path, per_speaker=2)
    ids = datadir.read_table(path / "wav.scp")
    sounds = {key: late(0.5, 0.02 * (index % 3), index) for index, key in enumerate(ids)}
    datadir.write_table(path / "utt2lufs", {key: mixing.loudness(sound, RATE) for key, sound in sounds.items()})
    datadir.write_table(path / "utt2onset", {key: mixing.onset(sound, RATE) for key, sound in sounds.items()})
    mixer = DynamicMixer(path, Config(num_speakers=3, max_offset=0.04))
    for index in range(20):
        draw = mixer.item(0, index)
        offsets = [round(offset * RATE) for offset in draw.offsets]
        _, scaled = mixing.mix([sounds[key] for key in draw.ids], draw.gains, "max", offsets)
        assert mixing.sot_order(scaled, RATE) == draw.order


def test_too_few_persons(tmp_path):
    with pytest.raises(datadir.DataDirError, match="holds 3 speakers, num_speakers is 4"):
        DynamicMixer(write_sources(tmp_path), Config(num_speakers=4))
