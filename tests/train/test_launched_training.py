"""A whole training of two processes through `bin/launch`: killed, signalled, and ended as if nothing had been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_command import PATIENCE, _wait_for, arguments, place  # noqa: F401 -- a fixture

from codecsep.bin import launch

ROOT = Path(launch.__file__).parents[2]
MORE = ["--train.max_steps", "30", "--train.valid_interval", "10", "--train.log_interval", "1"]
PROGRAM = """
import sys
from codecsep.bin.train import main
from codecsep.train.stop import StopFlag
StopFlag().install()
import torch, train_toys
torch.set_num_threads(1)
train_toys.register()
sys.exit(main())
"""


@pytest.fixture
def start(place):  # noqa: F811
    """Starts the training of two processes in the recipe directory; it is killed at the end."""
    (place / "toy_training.py").write_text(PROGRAM)
    started = []

    def start(out, *more, **env):
        env = os.environ | {"PYTHONPATH": f"{place}:{ROOT}:{ROOT / 'tests/train'}", "OMP_NUM_THREADS": "1"} | env
        command = ["-m", "codecsep.bin.launch", "--nproc", "2", "-m", "toy_training", *arguments(out, *MORE, *more)]
        process = subprocess.Popen([sys.executable, *command], env=env, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def same(one, two):
    for name in ("best.safetensors", "history.tsv", "losses.tsv"):
        assert Path(one, name).read_bytes() == Path(two, name).read_bytes(), name


@pytest.mark.long
def test_a_killed_rank_and_a_signal_change_no_bit(start):
    whole = start("exp/whole")
    assert whole.wait(PATIENCE) == 0
    killed = start("exp/a", CODECSEP_FAULT="train.step@15#1:kill")
    _wait_for(Path("exp/a/train.log"), "step 14/")
    began = time.monotonic()
    assert killed.wait(PATIENCE) == 2
    assert time.monotonic() - began < 15
    assert "E612 rank 0, step 15: rank 1 is gone" in killed.stderr.read()
    stopped = start("exp/a")
    _wait_for(Path("exp/a/train.log"), "going on from")
    stopped.send_signal(signal.SIGUSR1)
    assert stopped.wait(PATIENCE) in (85, 0)
    assert start("exp/a").wait(PATIENCE) == 0
    same("exp/a", "exp/whole")
    again = start("exp/a")
    assert again.wait(PATIENCE) == 0
    assert again.stderr.read() == "codecsep-train: exp/a is up to date\n" * 2
