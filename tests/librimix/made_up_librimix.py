"""A made-up LibriSpeech and WHAM tree with lists in the official format, and running stage 0 on them.

Recordings are integers out of a seeded generator, so they are the same everywhere.
"""

import csv
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / "egs" / "librimix" / "local"
RATE = 16000
LISTS = ("train-clean-100", "dev-clean", "test-clean")
NOISE_FOLDER = {"train-clean-100": "tr", "dev-clean": "cv", "test-clean": "tt"}
SECONDS = (0.9, 0.6, 0.75)  # of the utterances of a speaker


def recording(seed, seconds, channels=1, level=6000):
    """int16 [L, C]: noise that comes and goes, with some silence before."""
    generator = np.random.default_rng(seed)
    length = round(seconds * RATE) + 7 * seed
    envelope = level - np.abs(np.arange(length) % 4000 - 2000)
    envelope[: 160 * (seed % 5)] = 1
    return (generator.integers(-1000, 1000, (length, channels)) * envelope[:, None] // 1000).astype(np.int16)


def make_trees(root):
    """root/LibriSpeech with transcripts and root/wham_noise (two channels; the second one of each set is short)."""
    for number, name in enumerate(LISTS):
        for speaker in (10 * number + index for index in range(11, 14)):
            folder = root / "LibriSpeech" / name / str(speaker) / "7"
            folder.mkdir(parents=True)
            lines = []
            for index, seconds in enumerate(SECONDS):
                key = f"{speaker}-7-{index:04d}"
                soundfile.write(folder / f"{key}.flac", recording(speaker + index, seconds), RATE)
                lines.append(f"{key} WORDS OF {speaker} {index}\n")
            (folder / f"{speaker}-7.trans.txt").write_text("".join(lines))
        folder = root / "wham_noise" / NOISE_FOLDER[name]
        folder.mkdir(parents=True)
        for index, seconds in enumerate((1.5, 0.55)):
            soundfile.write(folder / f"n{index}_-0.5.wav", recording(number + index, seconds, 2), RATE)


def lines_of(name, num_spk):
    """The lines of a list: two mixtures, the second with the short noise, gains as the official files have them."""
    base = 10 * LISTS.index(name) + 11
    for index in range(2):
        keys = [f"{base + j}-7-{(index + j) % 3:04d}" for j in range(num_spk)]
        paths = [f"{name}/{key.partition('-')[0]}/7/{key}.flac" for key in keys]
        gains = [0.4377082537050251 / (1 + j + index) for j in range(num_spk)]
        sources = [cell for pair in zip(paths, gains, strict=True) for cell in pair]
        yield ["_".join(keys), *sources, f"{NOISE_FOLDER[name]}/n{index}_-0.5.wav", 0.29125726271924763]


def header(num_spk):
    sources = [f"source_{j}_{what}" for j in range(1, num_spk + 1) for what in ("path", "gain")]
    return ["mixture_ID", *sources, "noise_path", "noise_gain"]


def make_lists(root):
    """root/metadata/Libri{2,3}Mix/libri{2,3}mix_<list>.csv."""
    for num_spk in (2, 3):
        folder = root / "metadata" / f"Libri{num_spk}Mix"
        folder.mkdir(parents=True)
        for name in LISTS:
            with open(folder / f"libri{num_spk}mix_{name}.csv", "w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([header(num_spk), *lines_of(name, num_spk)])


def make_corpus(root):
    make_trees(root)
    make_lists(root)
    return root


def stage0(recipe, root, *options):
    """Run data.sh in the directory `recipe`; later options win."""
    recipe.mkdir(parents=True, exist_ok=True)
    places = ["--librispeech", root / "LibriSpeech", "--wham", root / "wham_noise", "--metadata", root / "metadata"]
    command = [LOCAL / "data.sh", *places, "--python", sys.executable, "--nj", "1", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*map(str, command)], cwd=recipe, env=environment, capture_output=True, text=True)


def digest(files):
    """SHA-256 over {name: bytes}."""
    total = hashlib.sha256()
    for name in sorted(files, key=str.encode):
        total.update(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return total.hexdigest()


def tree_digest(folder):
    """The same of all wavs below a folder."""
    return digest({str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.wav")})
