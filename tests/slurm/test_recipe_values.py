"""What a user gives to run.sh arrives as it was given, through run.pl and through slurm.pl: it is data."""

import json
import os
import shutil
import subprocess
import sys

import launching
import pytest

ODD = 'it\'s "odd"; $(touch canary) `touch canary` | cat > canary & $HOME *'


@pytest.fixture
def recipe(tmp_path):
    """The shell part of a recipe in a folder with an odd name, its stage 2 done, and a recorder in place of Python."""
    tree = tmp_path / "a b'c"
    generated = shutil.ignore_patterns("data", "dump", "exp", "log", "downloads", "__pycache__", "weights")
    for name in ("egs", "utils"):
        shutil.copytree(launching.ROOT / name, tree / name, ignore=generated)
    recipe = tree / "egs/prompts2mix/slm_ss"
    shutil.copytree(recipe / "conf/toy", recipe / ODD.replace("/", ""))
    for name in ("train", "dev", "test"):
        (recipe / "dump" / name).mkdir(parents=True)
        (recipe / "dump" / name / "spk1_codes.scp").write_text("made\n")
    recorder = tmp_path / "recorder"
    recorder.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {launching.ROOT}/tests/recorder.py "$@"\n')
    recorder.chmod(0o755)
    return recipe


@pytest.fixture
def environment(tmp_path):
    """backend -> the environment in which a recipe is started, with a Slurm that runs its jobs here."""
    (tmp_path / "fake").mkdir()
    fixed = {
        **launching.CLEAN, "RECORD": str(tmp_path / "record.jsonl"), "CODECSEP_JOB_POLL": "0.3",
        "PATH": f"{launching.FAKE / 'bin'}:{os.environ['PATH']}", "FAKE_SLURM": str(tmp_path / "fake"),
    }  # fmt: skip
    return lambda backend: {**fixed, "CODECSEP_CMD_BACKEND": backend}


@pytest.mark.parametrize("backend", ["local", "slurm"])
def test_values_reach_the_commands(recipe, environment, tmp_path, backend):
    words = [recipe / "run.sh", "--stage", "3", "--stop-stage", "3", "--conf_dir", ODD]
    words += ["--python", tmp_path / "recorder"]
    result = subprocess.run(words, env=environment(backend), capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    calls = [json.loads(line) for line in (tmp_path / "record.jsonl").read_text().splitlines()]
    assert [call[call.index("--config") + 1] for call in calls] == [f"{ODD}/ar.yaml"] * 3
    assert not list(tmp_path.rglob("canary"))
    assert (result.stderr.count("slurm.pl: job ") == 3) == (backend == "slurm")


SETTINGS = "OMP_NUM_THREADS", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"


@pytest.mark.parametrize("backend", ["local", "slurm"])
@pytest.mark.parametrize(("given", "wanted"), [({}, "8589934592"), ({"MALLOC_TRIM_THRESHOLD_": "7"}, "7")])
def test_jobs_of_stage_2_have_one_thread_and_keep_their_memory(recipe, environment, tmp_path, backend, given, wanted):
    """Whatever OMP_NUM_THREADS is outside: jobs that share the cores of a machine lose all when each takes them all."""
    shell = tmp_path / "recorder"
    shell.write_text(f'#!/bin/sh\necho {" ".join(f"${name}" for name in SETTINGS)} >> "$RECORD"\n')
    for name in ("train_sources", "train", "dev", "test"):
        (recipe / "data" / name).mkdir(parents=True)
        (recipe / "data" / name / "wav.scp").write_text("made\n")
    (recipe / "exp" / "codec").mkdir(parents=True)
    (recipe / "exp" / "codec" / "codec.json").write_text("made\n")
    words = [recipe / "run.sh", "--stage", "2", "--stop-stage", "2", "--nj", "2", "--python", shell]
    surroundings = environment(backend) | {"OMP_NUM_THREADS": "7"} | given
    result = subprocess.run(words, env=surroundings, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "record.jsonl").read_text().splitlines() == [f"1 8589934592 {wanted}"] * 8
