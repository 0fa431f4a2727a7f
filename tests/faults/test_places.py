"""Odd paths (G12), odd environments (G13), two at once (C1): the same files come out, or the second one is refused."""

import dataclasses
import re
import signal
import subprocess
import sys
import time

import pytest
from nano import STAGES, difference, environment_of, hashes, leftovers
from nursery import Nursery

ODD = "a b,[1]: é (x)"
ENVIRONMENTS = [
    {"LC_ALL": "POSIX", "PYTHONOPTIMIZE": "1", "PYTHONUTF8": "0", "PYTHONHASHSEED": "7"},
    {"LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "11"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]


@pytest.mark.parametrize(
    "variables", [ENVIRONMENTS[0], *(pytest.param(one, marks=pytest.mark.long) for one in ENVIRONMENTS[1:])]
)
def test_g12_g13_odd_paths_and_environments_give_the_same_files(nano, tmp_path, variables):
    odd = dataclasses.replace(nano, nursery=Nursery(umask=0o077, **variables))
    place = nano.copy(0, tmp_path / ODD / "recipe")
    try:
        for stage in STAGES:
            outcome = odd.run(place, stage, **variables)
            assert not any(outcome.statuses), outcome.text[-2000:]
    finally:
        odd.nursery.close()
    assert difference(hashes(nano.before(8)), hashes(place)) + leftovers(place) == []
    assert (place / "slm_ss/exp/decode/pit/test/decode.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("stage", "point"), [(0, "stage0.mid"), (1, "codec.mid"), (6, "separate.after_note"), (7, "score.after_keep")]
)
def test_c1_a_second_one_is_refused_at_once_and_a_dead_one_does_not_block(nano, tmp_path, stage, point):
    place = nano.copy(stage, tmp_path / "recipe")
    first = start(nano, place, stage, f"{point}:sleep:300", tmp_path / "first")
    began = time.monotonic()
    refused = nano.run(place, stage)
    assert refused.status == 2 and time.monotonic() - began < 20
    assert re.search(rf": E630 .+ is being written by process {first.pid} on \S+ since .+ \(fix: .+\)", refused.text)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    again = nano.run(place, stage)
    assert not any(again.statuses), again.text[-2000:]
    assert difference(hashes(nano.before(stage + 1)), hashes(place)) + leftovers(place) == []


def start(nano, place, stage, fault, marker):
    """The first command of a stage as a process of its own, returned once it sleeps at a fault point."""
    words = nano.commands[stage][0]
    code = (
        "import pathlib, runpy, sys, time; from codecsep import faults; plain = time.sleep;\n"
        f"faults.time.sleep = lambda seconds: (pathlib.Path({str(marker)!r}).touch(), plain(seconds))\n"
        "sys.argv = sys.argv[1:]; sys.path.insert(0, str(pathlib.Path(sys.argv[0]).parent))\n"
        "(runpy.run_path if sys.argv[0].endswith('.py') else runpy.run_module)(sys.argv[0], run_name='__main__')\n"
    )
    environment = environment_of(CODECSEP_FAULT=fault)
    process = subprocess.Popen([sys.executable, "-c", code, *words], cwd=place / "slm_ss", env=environment)
    deadline = time.monotonic() + 100
    while not marker.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return process
