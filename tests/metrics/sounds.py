"""Speech-like sounds and a tiny data directory with estimates, for the tests of scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from codecsep.data import audio, datadir

RATE = 16000


def speech(seconds: float = 2.0, pitch: float = 120.0, seed: int = 0) -> np.ndarray:
    """Voiced syllables with pauses and breath noise, peak about 0.5, float32 [L] at 16 kHz."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(2 * np.pi * 0.9 * time + seed))) / RATE
    formants = 500 + 300 * np.sin(2 * np.pi * 1.3 * time + seed)
    voiced = np.zeros_like(time)
    for harmonic in range(1, int(6000 / pitch)):
        gain = 1 / (1 + ((harmonic * pitch - formants) / 150) ** 2) + 0.3 / (1 + ((harmonic * pitch - 2200) / 300) ** 2)
        voiced += gain * np.cos(harmonic * phase + rng.uniform(0, 6))
    syllables = np.clip(np.sin(2 * np.pi * 2.7 * time + seed), 0, None) ** 0.5
    sound = voiced * syllables + 0.01 * rng.standard_normal(time.size)
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def data_directory(folder: Path, num_utts: int = 3, num_speakers: int = 2, rate: int = RATE) -> Path:
    """<folder>/data/test with mixtures, sources and transcripts; estimates can be made of `sources`."""
    data = folder / "data" / "test"
    tables: dict[str, dict] = {}
    for number in range(num_utts):
        key = f"utt{number}"
        sources = [speech(1.5, 110 + 90 * j, seed=10 * number + j) for j in range(num_speakers)]
        for name, samples in [("wav", np.sum(sources, axis=0)), *((f"spk{j + 1}", s) for j, s in enumerate(sources))]:
            path = folder / "wav" / f"{key}_{name}.wav"
            audio.write_audio(path, audio.resample(samples / num_speakers, RATE, rate), rate)
            tables.setdefault(f"{name}.scp", {})[key] = path
        for j in range(num_speakers):
            tables.setdefault(f"text_spk{j + 1}", {})[key] = "hello world"
            tables.setdefault(f"utt2lang_spk{j + 1}", {})[key] = "en" if j == 0 else "fr"
    for name, table in tables.items():
        datadir.write_table(data / name, table)
    return data


def sources_of(data: Path, key: str) -> list[np.ndarray]:
    directory = datadir.DataDir(data)
    return [audio.read_audio(directory.table(f"{speaker}.scp")[key])[0] for speaker in directory.speakers()]


def write_estimates(out: Path, estimates: dict[str, list[np.ndarray]], rate: int = RATE) -> Path:
    """<out>/spk<j>.scp of {utterance: signals}, any number per utterance."""
    tables: dict[int, dict] = {}
    for key, signals in estimates.items():
        for number, samples in enumerate(signals, start=1):
            path = out / "wav" / f"{key}_spk{number}.wav"
            audio.write_audio(path, samples, rate)
            tables.setdefault(number, {})[key] = path
    for number, table in tables.items():
        datadir.write_table(out / f"spk{number}.scp", table)
    return out
