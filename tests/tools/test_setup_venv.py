"""tools/setup_venv.sh with a stand-in for python and pip: what is installed when; nothing is left half done."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = """#!/usr/bin/env bash
# "-m venv DIR" copies itself there; everything else is written down.
echo "$*" >> "${CALLS}"
case "$*" in
    "-m venv --clear "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
    *"pip install"*) [[ ! -e ${CALLS}.offline ]] || { echo "no network" >&2; exit 1; } ;;
    "-c import sys; sys.exit(sys.version_info >= (3, 12))") exit 0 ;;
esac
"""


@pytest.fixture
def tree(tmp_path):
    for name in ("tools", "utils"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def run(tree, *words):
    """(result, the pip installs that were made)."""
    calls = tree / "calls"
    calls.write_text("")
    result = subprocess.run(
        [tree / "tools/setup_venv.sh", "--python", tree / "python", *words],
        capture_output=True, text=True, timeout=120, env={**os.environ, "CALLS": str(calls)},
    )  # fmt: skip
    return result, [line for line in calls.read_text().splitlines() if "pip install" in line]


def test_installs_once_and_adds_what_is_missing(tree):
    result, installs = run(tree)
    assert result.returncode == 0, result.stderr
    assert len(installs) == 1 and installs[0].endswith("-e . -c constraints.txt")
    assert run(tree)[1] == []
    assert run(tree, "--extras", "metrics")[1][0].endswith("-e .[metrics] -c constraints.txt")
    assert run(tree, "--extras", "metrics")[1] == []
    assert run(tree, "--extras", "dev")[1][0].endswith("-e .[dev,metrics] -c constraints.txt")
    assert run(tree, "--extras", "metrics,dev")[1] == []
    assert run(tree)[1] == []


@pytest.mark.parametrize("name", ["setup.py", "constraints.txt"])
def test_installs_again_after_a_change(tree, name):
    run(tree)
    with open(tree / name, "a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert len(run(tree)[1]) == 1


def test_a_failed_installation_is_taken_up_again(tree):
    (tree / "calls.offline").write_text("")
    result, _ = run(tree)
    assert result.returncode != 0 and "no network" in result.stderr
    assert not (tree / ".venv/.codecsep-installed").exists()
    (tree / "calls.offline").unlink()
    assert len(run(tree)[1]) == 1
    (tree / "calls.offline").write_text("")
    assert run(tree, "--extras", "dev")[0].returncode != 0
    assert run(tree)[0].returncode != 0  # the failed one may have changed packages, so the core is looked at again


def test_full_adds_espnet_without_its_pins_and_the_data_of_g2p_en(tree):
    _, installs = run(tree, "--full")
    assert installs[0].endswith("-e .[all] -c constraints.txt")
    assert "--no-deps --ignore-requires-python espnet==202611" in installs[1]
    assert "tools/make_nltk_data.py .venv/nltk_data" in (tree / "calls").read_text()
    assert run(tree, "--extras", "metrics,dev")[1] == []  # all of them are in


@pytest.mark.parametrize(
    "words", [["--extra", "x"], ["--extras"], ["--extras", "a b"], ["dev"], ["--python", "no-such"]]
)
def test_mistakes_are_one_line(tree, words):
    result, installs = run(tree, *words)
    assert result.returncode == 1 and installs == []
    assert result.stderr.splitlines()[-1].startswith("setup_venv.sh: ")
