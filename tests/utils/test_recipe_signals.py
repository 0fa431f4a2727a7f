"""SIGTERM and Ctrl-C to a run.sh: five seconds later nothing of it is left, wherever it was."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = Path("egs/prompts2mix/slm_ss")
SLEEPER = """\
#!{python}
import os, signal, subprocess, sys
words = sys.argv[1:]
if "{name}" not in " ".join(words):  # not the command that the test waits for
    os.execv("{recorder}", ["{recorder}", *words])
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the most stubborn of programs
grandchild = subprocess.Popen(["sleep", "300"])
apart = subprocess.Popen(["sleep", "300"], start_new_session=True)
with open("{pids}", "a") as file:
    file.write(f"{{os.getpid()}} {{grandchild.pid}} {{apart.pid}}\\n")
grandchild.wait()
signal.pause()
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def in_session(session):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The shell part of the repository, and a recorder that makes what later stages look for."""
    folder = tmp_path_factory.mktemp("tree")
    generated = shutil.ignore_patterns("data", "dump", "exp", "log", "downloads", "__pycache__", "weights")
    for name in ("egs", "utils"):
        shutil.copytree(ROOT / name, folder / name, ignore=generated)
    recorder = folder / "recorder"
    recorder.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {ROOT}/tests/recorder.py "$@"\n')
    recorder.chmod(0o755)
    environment = {**os.environ, "RECORD": str(folder / "record.jsonl")}
    words = [folder / RECIPE / "run.sh", "--python", recorder, "--nj", "1"]
    subprocess.run(words, env=environment, check=True, capture_output=True, timeout=300)
    return folder


@pytest.mark.parametrize(
    ("stage", "name", "send"),
    [
        ("0", "prepare.py", "TERM to run.sh alone"),
        ("1", "get_codec", "TERM to run.sh alone"),
        ("2", "tokenise", "TERM to run.sh alone"),
        ("4", "codecsep.bin.train", "TERM to run.sh alone"),
        ("7", "report", "TERM to run.sh alone"),
        ("2", "tokenise", "Ctrl-C"),
        ("4", "codecsep.bin.train", "Ctrl-C"),
    ],
)
def test_nothing_is_left(tree, tmp_path, stage, name, send):
    pids, sleeper = tmp_path / "pids", tmp_path / "sleeper"
    sleeper.write_text(
        SLEEPER.format(python=sys.executable, name=name, recorder=tree / "recorder", pids=pids), encoding="utf-8"
    )
    sleeper.chmod(0o755)
    environment = {**os.environ, "RECORD": str(tmp_path / "record.jsonl")}
    with open(tmp_path / "out", "w") as out:
        process = subprocess.Popen(
            [tree / RECIPE / "run.sh", "--python", sleeper, "--nj", "1", "--stage", stage, "--stop-stage", stage],
            env=environment, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    end = time.time() + 60
    while not pids.exists() or not pids.read_text().endswith("\n"):
        assert time.time() < end and process.poll() is None, (tmp_path / "out").read_text()
        time.sleep(0.05)
    started = [int(pid) for pid in pids.read_text().split()]
    if send == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    end = time.time() + 5
    while (any(map(alive, started)) or in_session(process.pid)) and time.time() < end:
        time.sleep(0.05)
    assert [pid for pid in started if alive(pid)] == [] and in_session(process.pid) == []
    assert process.wait(timeout=10) in (-signal.SIGTERM, 130, -signal.SIGINT)
