"""Row G10: a command that fails inside any stage of a recipe stops the recipe there, and its status is not 0.

Python is a recorder that makes the files that later stages look for, and fails where it is told to. (The idioms of the
shell that hide failures, one by one: tests/utils.)
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
from nano import CORPUS, ROOT

RECIPE = CORPUS / "slm_ss"
# stage; words of the command that fails; words of one that must not run any more
FAILS = [
    (0, "prepare.py", "validate_data"),
    (0, "validate_data data/train data/dev data/test", "get_codec"),
    (1, "get_codec", "tokenise"),
    (2, "--out dump/train_sources --job 1/2", "--out dump/train --job"),
    (2, "--out dump/dev --job 2/2", "--out dump/test --job"),
    (3, "--dump dump/train", "--dump dump/dev"),
    (3, "--dump dump/test", "bin.train"),
    (4, "--out exp/pit", "--out exp/ar"),
    (4, "--out exp/ar", "--out exp/nar"),
    (5, "--out exp/nar", "bin.separate"),
    (6, "--out exp/decode/slm_ss_seed2/test", "--out exp/decode/slm_ss_seed3/test"),
    (6, "--out exp/decode/pit/test", "bin.score"),
    (7, "bin.score", "bin.report"),
    (7, "bin.report", "nothing comes after it"),
]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The shell of the repository, and the recipe as it is when all its stages have run."""
    tree = tmp_path_factory.mktemp("shell")
    generated = shutil.ignore_patterns("data", "dump", "exp", "log", "downloads", "__pycache__", "weights")
    for name in ("egs", "utils", "tools"):
        shutil.copytree(ROOT / name, tree / name, ignore=generated)
    recorder = tree / "recorder"
    recorder.write_text(
        f'#!/bin/sh\n{sys.executable} -I -S {ROOT}/tests/recorder.py "$@" || exit\n'
        'case " $* " in *"${FAIL:-no such word}"*) exit 9 ;; esac\n'
    )
    recorder.chmod(0o755)
    assert recipe(tree)[0].returncode == 0
    return tree


def recipe(tree, *words, **variables):
    """(result, calls) of run.sh in `tree`."""
    record = tree / "record.jsonl"
    record.unlink(missing_ok=True)
    result = subprocess.run(
        [tree / RECIPE / "run.sh", "--python", tree / "recorder", "--nj", "2", *words],
        capture_output=True, text=True, timeout=120, env={**os.environ, "RECORD": str(record), **variables},
    )  # fmt: skip
    return result, [" ".join(json.loads(line)) for line in record.read_text().splitlines()]


@pytest.mark.parametrize(("stage", "fails", "later"), FAILS)
def test_a_command_that_fails_stops_the_recipe(done, tmp_path, stage, fails, later):
    tree = shutil.copytree(done, tmp_path / "tree", symlinks=True)
    result, calls = recipe(tree, "--stage", str(stage), FAIL=fails)
    assert result.returncode != 0 and "Successfully finished" not in result.stderr
    assert any(fails in call for call in calls) and not any(later in call for call in calls)
    array = fails.split("--job")[0]  # other jobs of the same array may run at the same time
    assert fails in calls[-1] or ("--job" in fails and array in calls[-1]), calls


def test_every_stage_stands_in_the_table():
    assert {stage for stage, _, _ in FAILS} == set(range(8))
