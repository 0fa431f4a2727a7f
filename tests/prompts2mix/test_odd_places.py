"""Rows G12 and G13: stages 0 to 3 in recipe folders of odd names, under other locales, -O and a strict umask.

The commands are those of the recipe, each a process of its own. What they write is the same byte for byte. Takes
minutes; `faults/test_places.py` does one such place and environment, with all stages, every time.
"""

import os
import subprocess
import sys

import pytest
from made_up_corpus import LOCAL, ROOT, snapshot

pytestmark = pytest.mark.long
SIZES = ["--num-train", "0", "--num-dev", "3", "--num-test", "0"]
CONFIG = ROOT / "egs/prompts2mix/slm_ss/conf/toy/ar.yaml"
PLACES = ["a b, [1]: x", "données-ü", "$(touch x)'\"*?"]
ENVIRONMENTS = {
    "C": {"LC_ALL": "C"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "POSIX": {"LC_ALL": "POSIX", "LANG": ""},
    "optimised": {"PYTHONOPTIMIZE": "1"},
    "C.UTF-8": {"LC_ALL": "C.UTF-8"},
}


def call(folder, words, variables, mask):
    """Run one command in a recipe directory."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    result = subprocess.run(
        [sys.executable, *map(str, words)], cwd=folder, env=environment, umask=mask, capture_output=True, text=True,
        encoding="utf-8", errors="replace",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result


def stages(folder, tree, variables=None, mask=0o022):
    """Stages 0 to 3 of the set dev in `folder`; the files that they made."""
    folder.mkdir(parents=True)
    data, dump = ["--data", "data/dev"], "dump/dev"
    commands = [
        [LOCAL / "prepare.py", "--corpus", tree, "--wav", "wav", *SIZES],
        ["-m", "codecsep.bin.get_codec", "--out", "exp/codec"],
        ["-m", "codecsep.bin.tokenise", "--codec", "exp/codec", *data, "--out", dump],
        ["-m", "codecsep.bin.build_sequences", "--config", CONFIG, *data, "--dump", dump],
        ["-m", "codecsep.bin.verify", "wav", "data", "exp", "dump"],
    ]
    for words in commands:
        call(folder, words, variables or {}, mask)
    again = call(folder, commands[2], variables or {}, mask)
    assert "up to date" in again.stderr
    return {name.removeprefix(f"{folder}/"): content for name, content in snapshot(folder).items()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory, tree):
    """What the stages make in a folder of a plain name."""
    return stages(tmp_path_factory.mktemp("plain") / "recipe", tree)


def same(found, expected):
    assert found.keys() == expected.keys()
    return [name for name in expected if found[name] != expected[name]] == []


@pytest.mark.parametrize("name", PLACES)
def test_folders_of_odd_names(tmp_path, tree, plain, name):
    assert same(stages(tmp_path / name / "recipe", tree), plain)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_other_environments(tmp_path, tree, plain, name):
    variables = {**ENVIRONMENTS[name], "PYTHONOPTIMIZE": "1"}
    assert same(stages(tmp_path / "données" / "recipe", tree, variables, 0o077), plain)
    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "données/recipe/dump").rglob("*") if path.is_file()}
    assert modes == {0}, "umask 077 is respected"
