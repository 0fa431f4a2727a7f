"""utils/stage.sh: the verbs of a recipe."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """{flags}
. {root}/utils/stage.sh
stage=0
stop_stage=7
dry_run=false
. {root}/utils/parse_options.sh
no_arguments "$@"
check_stages 0 7
print_args
if at 3 "three"; then echo ran 3; fi
if at 4 "four"; then need 3 made.txt "two words.txt"; echo ran 4; fi
finished
"""


@pytest.fixture(params=["set -euo pipefail", "true"], ids=["strict", "plain"])
def run(request, tmp_path):
    (tmp_path / "run.sh").write_text(RECIPE.format(root=ROOT, flags=request.param))
    return lambda *words: subprocess.run(
        ["bash", "run.sh", *words], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )


def test_runs_the_stages_asked_for(run):
    result = run("--stage", "3", "--stop-stage", "3")
    assert (result.returncode, result.stdout) == (0, "ran 3\n")
    lines = result.stderr.splitlines()
    assert lines[0].endswith("run.sh --stage 3 --stop-stage 3")
    assert lines[1].endswith("(run.sh:10:main) stage 3: three")
    assert "Successfully finished. [elapsed=" in lines[2]


def test_the_log_is_that_of_espnet(run):
    """Time, script:line:function, message; the first message is the command, quoted so that it can be given again."""
    result = run("--stage", "3", "--stop-stage=3", "--dry_run", "false", "--", *[])
    first = result.stderr.splitlines()[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d \(run\.sh:9:main\) run\.sh .*", first)
    result = run("--stage", "a b'$(id)")
    assert result.returncode == 1
    recipe = f". {ROOT}/utils/stage.sh; print_args"
    result = subprocess.run(["bash", "-c", recipe, "run.sh", "--tag", "a b'$(id)"], capture_output=True, text=True)
    assert result.stderr.rstrip().endswith("run.sh --tag a\\ b\\'\\$\\(id\\)")


def test_need_names_the_stage(run, tmp_path):
    result = run("--stage", "4")
    assert result.returncode == 1 and "ran 4" not in result.stdout
    assert result.stderr.splitlines()[-1] == "run.sh: E120 made.txt: is missing or empty (fix: run --stage 3 first)"
    (tmp_path / "made.txt").write_text("x")
    (tmp_path / "two words.txt").write_text("")
    assert "E120 two words.txt: is missing or empty" in run("--stage", "4").stderr
    (tmp_path / "two words.txt").write_text("x")
    assert run("--stage", "4").stdout == "ran 4\n"


@pytest.mark.parametrize(
    "words",
    [
        ["--stage", "9"],
        ["--stage", "-1"],
        ["--stop-stage", "8"],
        ["--stage", "3", "--stop-stage", "1"],
        ["--stage", ""],
        ["--stage", "x"],
        ["--stage", "08"],
        ["--stage", "3.5"],
        ["--stage", "a[$(touch canary)]"],
        ["--stage", "99999999999999999999"],
        ["word"],
        ["--stage"],
        ["--stagee", "3"],
    ],
)
def test_refused_in_one_line(run, tmp_path, words):
    result = run(*words)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"run\.sh: E144 .+ \(fix: .+\)\n", result.stderr)
    assert not (tmp_path / "canary").exists()


def test_dry_run_prints_the_plan(run):
    result = run("--dry_run", "true", "--stage", "2")
    assert (result.returncode, result.stdout) == (0, "stage 3: three\nstage 4: four\n")


@pytest.mark.parametrize(("value", "fine"), [("2", True), ("0", False), ("x", False), ("", False), ("2.5", False)])
def test_number(value, fine):
    code = f'. {ROOT}/utils/stage.sh; number 1 "{value}" --nj'
    result = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode == 0) == fine
    assert fine or "--nj takes a whole number >= 1" in result.stderr
