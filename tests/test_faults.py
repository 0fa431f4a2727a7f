"""Fault points: what CODECSEP_FAULT asks for happens at the passing it names, and nowhere else."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from codecsep import faults

ROOT = Path(__file__).resolve().parents[1]
CALL = re.compile(r'faultpoint\("([^"]+)"\)')
LOOP = """
import sys
from codecsep.faults import faultpoint
for number in range(1, 5):
    print(number, faultpoint("atomic.mid"), flush=True)
"""


def run(fault, **environment):
    env = {**os.environ, "CODECSEP_FAULT": fault, **environment}
    return subprocess.run([sys.executable, "-c", LOOP], capture_output=True, text=True, env=env, cwd=ROOT)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(faults, "_passed", type(faults._passed)())


@pytest.mark.parametrize(
    ("fault", "status", "lines"),
    [
        ("", 0, 4),
        ("atomic.before_rename:kill", 0, 4),
        ("atomic.mid:kill", -9, 0),
        ("atomic.mid@3:kill", -9, 2),
        ("atomic.mid@3:term", -15, 2),
        ("atomic.mid@2:exit:7", 7, 1),
        ("atomic.mid@2#1:kill", 0, 4),
        ("atomic.before_rename:kill,atomic.mid@4:exit:5", 5, 3),
    ],
)
def test_signals_and_exits_come_at_the_passing_asked_for(fault, status, lines):
    result = run(fault)
    assert (result.returncode, len(result.stdout.splitlines())) == (status, lines)


def test_only_the_rank_that_was_named():
    assert run("atomic.mid@2#1:exit:9", RANK="1").returncode == 9
    assert run("atomic.mid@2#1:exit:9", RANK="0").returncode == 0
    assert run("atomic.mid@2#1:exit:9", SLURM_PROCID="1").returncode == 9


def test_errors_are_raised(monkeypatch):
    monkeypatch.setenv(faults.VARIABLE, "atomic.mid:raise:ENOSPC,atomic.mid@2:raise:oom,atomic.mid@3:here")
    with pytest.raises(OSError) as caught:
        faults.faultpoint("atomic.mid")
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(MemoryError):
        faults.faultpoint("atomic.mid")
    assert [faults.faultpoint("atomic.mid") for _ in range(2)] == [True, False]


@pytest.mark.parametrize("text", ["atomic.middle:kill", "atomic.mid", "atomic.mid:explode", "atomic.mid@x:kill"])
def test_a_fault_that_does_not_exist_is_refused(text):
    with pytest.raises(ValueError):
        faults.parse(text)


def test_the_list_of_points_is_that_of_the_source():
    files = [*(ROOT / "codecsep").rglob("*.py"), *(ROOT / "egs").glob("*/local/*.py")]
    passed = {name for path in files if path.name != "faults.py" for name in CALL.findall(path.read_text())}
    assert passed == set(faults.POINTS)
    assert len(faults.POINTS) == len(set(faults.POINTS))
