"""Stage 0 of wsj0_2mix on a tiny made-up tree of ready mixtures."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codecsep.data import check
from codecsep.data.datadir import DataDir

LOCAL = Path(__file__).resolve().parents[2] / "egs" / "wsj0_2mix" / "local"
RATE = 8000
KEYS = {
    "tr": ["011a0101_1.8996_40na010x_-1.8996", "01aa0102_0.5_40oa0103_-0.5"],
    "cv": ["40na010y_2.2_011a0103_-2.2"],
    "tt": ["050a0501_1.7783_442o030z_-1.7783", "442o030z_0.1_050a0502_-0.1"],
}


def make_tree(top):
    """top/2speakers/wav8k/min/{tr,cv,tt}/{mix,s1,s2}; the second source starts first in the second mixture."""
    generator = np.random.default_rng(0)
    for part, keys in KEYS.items():
        for number, key in enumerate(keys):
            sources = generator.integers(-4000, 4000, (2, 6000 + 100 * number)).astype(np.int16)
            sources[0, : 1600 * number] = 0
            for name, signal in zip(("mix", "s1", "s2"), (sources.sum(0, dtype=np.int16), *sources), strict=True):
                path = top / "2speakers/wav8k/min" / part / name / f"{key}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, signal, RATE)
    return top


def stage0(recipe, tree, *options):
    recipe.mkdir(exist_ok=True)
    command = [LOCAL / "data.sh", "--wsj0_mix", tree, "--python", sys.executable, "--nj", "1", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*map(str, command)], cwd=recipe, env=environment, capture_output=True, text=True)


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "wsj0 mix")


def test_data_directories_of_ready_mixtures(tree, tmp_path, monkeypatch):
    recipe = tmp_path / "system"
    result = stage0(recipe, tree)
    assert result.returncode == 0, result.stderr
    assert "train: 2 mixtures -- NOT the published corpus, which has 20000" in result.stdout
    monkeypatch.chdir(recipe)
    for name, part in (("train", "tr"), ("dev", "cv"), ("test", "tt")):
        data = DataDir(f"data/{name}")
        assert check.problems(data, sums=9, options=["--no-text"]) == []
        assert data.ids == sorted(KEYS[part])
    data, key = DataDir("data/test"), KEYS["tt"][1]
    assert data.table("spk2.scp")[key] == f"{tree}/2speakers/wav8k/min/tt/s2/{key}.wav"
    assert data.table("sot_order") == {KEYS["tt"][0]: data.table("sot_order")[KEYS["tt"][0]], key: "2 1"}
    assert data.table("utt2num_samples")[key] == "6100"
    assert data.table("utt2source_spk2")[key] == "050a0502"
    times = {path: path.stat().st_mtime_ns for path in Path("data").rglob("*") if path.name[-4:] in (".scp", "json")}
    result = stage0(recipe, tree)
    assert result.stdout.count("up to date") == 3 and all(path.stat().st_mtime_ns == times[path] for path in times)
    path = tree / "2speakers/wav8k/min/tt/s1" / f"{key}.wav"
    soundfile.write(path, soundfile.read(path)[0][::-1], RATE)
    result = stage0(recipe, tree)
    assert "what has changed since" in result.stdout and result.stdout.count("up to date") == 2


def lose_a_source(top):
    (top / "tt/s2" / f"{KEYS['tt'][0]}.wav").unlink()


def lose_all(top):
    (top / "tr").rename(top / "training")


def cut_a_source(top):
    soundfile.write(top / "cv/s1" / f"{KEYS['cv'][0]}.wav", np.zeros(5999), RATE)


def change_the_rate(top):
    soundfile.write(top / "cv/mix" / f"{KEYS['cv'][0]}.wav", np.zeros(6000), 2 * RATE)


def let_a_speaker_into_the_test_set(top):
    for name in ("mix", "s1", "s2"):
        (top / "tt" / name / f"{KEYS['tt'][0]}.wav").rename(top / "tt" / name / "011a0101_1_050a0501_-1.wav")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lose_a_source, "E126 .*/tt/s2: 1 of 2 mixtures have no s2"),
        (lose_all, "E126 .*/min/tr: holds no mix/.*give --wsj0_mix DIR"),
        (cut_a_source, "E231 .*differ in length: mix 6000, s1 5999"),
        (change_the_rate, "E221 .*has 16000 Hz, its folder says 8000 Hz"),
        (let_a_speaker_into_the_test_set, "E130 1 speakers are in train or dev and in test, first 011"),
    ],
)
def test_incomplete_trees_are_refused(tree, tmp_path, monkeypatch, capsys, harm, message):
    spec = importlib.util.spec_from_file_location("wsj0_2mix_prepare", LOCAL / "prepare.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # for dataclasses
    spec.loader.exec_module(module)
    harm(tree / "2speakers/wav8k/min")
    monkeypatch.setattr(sys, "argv", ["prepare.py", "--wsj0-mix", str(tree), "--out", str(tmp_path / "data")])
    assert module.main() == 2
    told = capsys.readouterr().err
    assert re.search(message, told) and told.count("\n") == 1, told
