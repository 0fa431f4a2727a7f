"""`bin/launch`: several processes, one exit status; signals reach all, and none is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codecsep.bin import launch

ROOT = Path(launch.__file__).parents[2]
PATIENCE = 60.0
PROGRAM = """
import os, pathlib, signal, sys, time
rank, action = os.environ["RANK"], sys.argv[1:]
pathlib.Path(f"started.{rank}").write_text(str(os.getpid()))
got = []
for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
    signal.signal(number, lambda n, _: got.append(signal.Signals(n).name))
if action[0] == "environment":
    keys = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS")
    pathlib.Path(f"env.{rank}").write_text(" ".join(os.environ[key] for key in keys))
elif action[0] == "exit":
    sys.exit(int(action[1 + int(rank)]))
elif action[0] == "fail" and rank == "1":
    sys.exit(2)
elif action[0] == "die" and rank == "1":
    os.kill(os.getpid(), signal.SIGKILL)
elif action[0] in ("wait", "fail", "die"):
    while not got:
        time.sleep(0.01)
    time.sleep(0.3)
    pathlib.Path(f"got.{rank}").write_text(" ".join(got))
    sys.exit(85)
"""


@pytest.fixture
def start(tmp_path):
    """Starts the launcher with the program above in an empty directory; it is killed at the end."""
    (tmp_path / "program.py").write_text(PROGRAM)
    started = []

    def start(*arguments, number="2", **env):
        env = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"} | env
        command = [sys.executable, "-m", "codecsep.bin.launch", "--nproc", number, "-m", "program", *arguments]
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for(*paths):
    end = time.monotonic() + PATIENCE
    while not all(path.exists() and path.read_text() for path in paths):
        assert time.monotonic() < end, f"{paths} did not appear"
        time.sleep(0.01)


def test_each_process_knows_its_place(start, tmp_path):
    assert start("environment", number="3", OMP_NUM_THREADS="7").wait(PATIENCE) == 0
    rows = [(tmp_path / f"env.{rank}").read_text().split() for rank in range(3)]
    assert [row[:4] for row in rows] == [[str(rank), str(rank), "3", "127.0.0.1"] for rank in range(3)]
    assert len({row[4] for row in rows}) == 1 and {row[5] for row in rows} == {"7"}


@pytest.mark.parametrize(("codes", "expected"), [("0 0", 0), ("85 85", 85), ("85 0", 85), ("85 2", 2), ("0 1", 1)])
def test_the_status_is_that_of_the_processes(start, codes, expected):
    assert start("exit", *codes.split()).wait(PATIENCE) == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_reaches_every_process_once_and_85_comes_back(start, tmp_path, number):
    process = start("wait")
    wait_for(tmp_path / "started.0", tmp_path / "started.1")
    time.sleep(0.2)
    process.send_signal(number)
    assert process.wait(PATIENCE) == 85
    assert [(tmp_path / f"got.{rank}").read_text() for rank in (0, 1)] == [number.name] * 2


@pytest.mark.parametrize(("action", "status"), [("fail", 2), ("die", 137)])
def test_one_that_fails_ends_the_others(start, tmp_path, action, status):
    began = time.monotonic()
    assert start(action).wait(PATIENCE) == status
    assert time.monotonic() - began < 3 * launch.GRACE
    assert not is_running(int((tmp_path / "started.0").read_text()))


def test_none_is_left_when_the_launcher_is_killed(start, tmp_path):
    process = start("wait")
    wait_for(tmp_path / "started.0", tmp_path / "started.1")
    process.kill()
    process.wait()
    end = time.monotonic() + 5
    pids = [int((tmp_path / f"started.{rank}").read_text()) for rank in (0, 1)]
    while any(map(is_running, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("argv", [[], ["--nproc"], ["--nproc", "0", "-m", "x"], ["--nproc", "2", "x.py"], ["-m", "x"]])
def test_mistakes_are_one_line(argv, capsys):
    assert launch.main(argv) == 2
    assert capsys.readouterr().err.startswith("codecsep-launch: E853 command line: ")
