"""A made-up corpus of the form of prompts2mix, and running stage 0 on it."""

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / "egs" / "prompts2mix" / "local"
RATE = 16000
SETS = ("train", "dev", "test")
REASONS = ["empty file", "no transcript", "non-speech [...]", "non-speech name", "over 8 s", "under 1 s"]


def write_g722(path, seconds, seed):
    """A warbling tone; `seconds` of 0 makes an empty file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if seconds == 0:
        path.touch()
        return
    time_axis = np.arange(round(seconds * RATE)) / RATE
    signal = np.sin(2 * np.pi * (200 + 10 * seed) * time_axis) * (0.3 + 0.1 * np.sin(9 * time_axis + seed))
    with av.open(str(path), "w", format="g722") as container:
        stream = container.add_stream("g722", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray((signal * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def prompts_of(language, number):
    """{prompt: (seconds, transcript)} of one voice: 12 good ones with two pairs of one sentence, and one per reason."""
    good = {f"good-{index:02d}": (1.2 + 0.1 * (index % 4), f"{language} sentence {index}.") for index in range(10)}
    return {
        **good,
        "good-same": (1.5, f"{language.upper()}, sentence   3"),
        "digits/shared": (1.4, "the same in all languages"),
        "silence/1": (1.1, "(1 second of silence)"),
        "tt-noise": (1.3, "[sound of something]"),
        "short": (0.5, "short"),
        "long": (8.1, "long"),
        "unlisted": (1.2, None),
        "nothing": (0, "nothing"),
    }


def prepare(recipe, tree, *options):
    """Run data.sh in the directory `recipe`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [LOCAL / "data.sh", "--corpus", tree, "--wav", "../wav", "--python", sys.executable, *options]
    sizes = ["--num_train", "4", "--num_dev", "6", "--num_test", "12"]
    return subprocess.run(
        [*map(str, command), *sizes], cwd=recipe, env=environment, capture_output=True, text=True, check=False
    )


def snapshot(path):
    """All files but those that name processes and times: locks and the cache of times of change."""
    files = [file for file in sorted(Path(path).rglob("*")) if file.is_file()]
    return {str(file): file.read_bytes() for file in files if file.suffix != ".lock" and file.name[-7:] != ".stamps"}


def prepare_killed(recipe, tree, fault):
    """Run data.sh with a fault; was the preparation killed there?"""
    os.environ["CODECSEP_FAULT"] = f"{fault}:kill"
    try:
        return prepare(recipe, tree).returncode == 128 + 9
    finally:
        del os.environ["CODECSEP_FAULT"]
