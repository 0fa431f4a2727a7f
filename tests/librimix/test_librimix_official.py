"""The wavs are those of the official generator, byte for byte; and those of a slow twin written from the formulas."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_up_librimix import LISTS, RATE, digest

# SHA-256 over names and bytes of all that the official generator writes of the made-up corpus
# (create_librimix_from_metadata.py of JorisCos/LibriMix, types mix_clean mix_both mix_single;
# NumPy 2.4, SciPy 1.17, soundfile 0.14)
OFFICIAL = {
    (2, 8000, "min"): "63dc9f15cb00766d8a9629240bbae7c9581f539d0a7110e826665a2b07d6c0b4",
    (2, 8000, "max"): "9f8484f8072494a094b0e486ca06d6492f9c5c80384862b8400935d26eeed116",
    (2, 16000, "min"): "5f08e76a8d696d7d455a43acca839802c6ca8fe69ae0c08bd09444777651d78f",
    (2, 16000, "max"): "32e1fbb5eeb78b01387599219327c6b33a413954888f59e0206753e70d84f50b",
    (3, 8000, "min"): "fc5a19d9a18732c4656b022d035f990c1ac65328f661427f4f4a6f6b88bb0dd5",
    (3, 8000, "max"): "4dc4ea6e52b333b05370c02bd422752dac43ecd1e7fa0a1d5cdec545593b6878",
    (3, 16000, "min"): "8bbd7f134c15afb550ff4d3aecd3ca7f602a63bf8f7453848fc5725804661587",
    (3, 16000, "max"): "cc55b539d39ecff4e093464f99b5f824e93998c96e57bec3bc5355dc3cae5302",
}


@pytest.fixture(scope="module")
def making(librimix, corpus):
    """kind, list -> {file in the layout of the official generator: bytes}; nothing is written."""
    build, lists = librimix["build"], librimix["mixture_lists"]
    trees = build.Trees(corpus / "LibriSpeech", corpus / "wham_noise")

    def make(kind, name):
        csv = lists.file_of(corpus / "metadata", kind.num_spk, name)
        rows = lists.read(csv, kind.num_spk, kind.mixture != "clean")
        folder = kind.folder(Path(), kind.mode, name)
        batch = build.mixtures(csv, rows, trees, kind, folder)
        return {str(folder / name): content for item in batch.items for name, content in batch.make(item).files.items()}

    return make


@pytest.mark.parametrize(("num_spk", "rate", "mode"), OFFICIAL)
def test_the_bytes_are_those_of_the_official_generator(librimix, making, num_spk, rate, mode):
    files = {}
    for mixture in ("clean", "both", "single"):
        for name in LISTS:
            made = making(librimix["build"].Kind(num_spk, mixture, mode, rate), name)
            assert all(files.setdefault(path, content) == content for path, content in made.items())
    top = f"Libri{num_spk}Mix/wav{rate // 1000}k/{mode}/"
    folders = {path.removeprefix(top).rpartition("/")[0] for path in files}
    parts = ["mix_both", "mix_clean", "mix_single", "noise", *(f"s{j}" for j in range(1, num_spk + 1))]
    assert folders == {f"{name}/{part}" for name in ("train-100", "dev", "test") for part in parts}
    assert digest({path.removeprefix(top): content for path, content in files.items()}) == OFFICIAL[num_spk, rate, mode]


def twin_extended(noise, length):
    """Sample by sample: each repetition starts 8,001 samples before the end and is faded in over it."""
    fade, out = 8001, [float(x) for x in noise]
    window = [0.5 - 0.5 * math.cos(2 * math.pi * i / 16000) for i in range(16001)]
    while len(out) < length:
        start = len(out) - fade
        for i, x in enumerate(map(float, noise)):
            if i < fade:
                out[start + i] = out[start + i] * window[8000 - i] + x * window[i]
            else:
                out.append(x)
    return np.array(out[:length])


def twin_halved(signal):
    """Every second sample after a Kaiser-windowed sinc of 41 taps (beta 5, cut-off at half), as a direct sum."""
    taps = np.arange(-20, 21)
    window = np.i0(5.0 * np.sqrt(np.maximum(0, 1 - (taps / 20) ** 2))) / np.i0(5.0)
    low_pass = np.sinc(taps / 2) * window
    padded = np.concatenate([np.zeros(20), signal, np.zeros(21)])
    low_pass /= low_pass.sum()
    return np.array([padded[start : start + 41] @ low_pass for start in range(0, len(signal), 2)])


@pytest.mark.parametrize(("rate", "mode", "mixture"), [(8000, "min", "both"), (16000, "max", "single")])
def test_a_slow_twin_finds_the_same_samples(librimix, corpus, rate, mode, mixture):
    build, lists, trees = librimix["build"], librimix["mixture_lists"], corpus / "wham_noise"
    rows = lists.read(lists.file_of(corpus / "metadata", 2, "test-clean"), 2, True)
    row = rows[1]  # of the short noise
    made = build.make_mixture(
        build.Trees(corpus / "LibriSpeech", trees), build.Kind(2, mixture, mode, rate),
        build.Item(row.key, vars(row)),
    )  # fmt: skip
    signals = [soundfile.read(corpus / "LibriSpeech" / path)[0] for path in row.sources]
    signals = [signal * gain for signal, gain in zip(signals, row.gains, strict=True)]
    length = max(map(len, signals))
    noise = soundfile.read(trees / row.noise)[0][:, 0]
    assert 8001 < len(noise) < length
    signals.append(twin_extended(noise, length) * row.noise_gain)
    if rate != RATE:
        signals = [twin_halved(signal) for signal in signals]
    length = (min if mode == "min" else max)(map(len, signals))
    signals = [np.concatenate([signal, np.zeros(length)])[:length] for signal in signals]
    wanted = {"s1": signals[0], "s2": signals[1], "noise": signals[2]}
    wanted[f"mix_{mixture}"] = sum(signals) if mixture == "both" else signals[0] + signals[2]
    for name, signal in wanted.items():
        found = soundfile.read(io.BytesIO(made.files[f"{name}/{row.key}.wav"]), dtype="int16")[0]
        steps = found - np.floor(signal * 32768)
        assert np.abs(steps).max() <= 1 and (steps != 0).mean() < 1e-3, (
            name
        )  # float32 here and there, float64 in the twin
    assert made.measures["samples"] == length


def test_a_noise_that_cannot_be_joined_is_refused(librimix, tmp_path):
    soundfile.write(tmp_path / "n.wav", np.full(8001, 0.1), RATE)
    read = librimix["official"].read_noise
    assert len(read(tmp_path / "n.wav", 8000)) == 8000
    with pytest.raises(Exception, match="^E230 .*too short to be joined with itself"):
        read(tmp_path / "n.wav", 8002)
    soundfile.write(tmp_path / "m.wav", np.full(20000, 0.1), 8000)
    with pytest.raises(Exception, match="^E221 .*has 8000 Hz"):
        read(tmp_path / "m.wav", 8000)


@pytest.mark.parametrize("length", [8003, 9000, 16002, 20000])
def test_extension_by_many_joints(librimix, length):
    """Noises barely longer than a joint, about two and more of them."""
    noise = np.random.default_rng(length).uniform(-1, 1, length).astype(np.float32)
    for wanted in (length + 1, length + 300, 3 * length - 7) if length > 8100 else (length + 5,):
        np.testing.assert_allclose(librimix["official"].extend(noise, wanted), twin_extended(noise, wanted), atol=1e-12)
