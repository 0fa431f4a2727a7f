"""run.sh itself, with Python, from beginning to end: the files are those of the commands that the other tests run one
by one. Killed with all its processes at random times and called again: the same files."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from nano import CORPUS, OPTIONS, ROOT, difference, environment_of, hashes, leftovers

NUM_KILLS = 6


def plant(nano, folder):
    """The repository's shell and corpus code around the place of the recipe; the package is that of this repository."""
    generated = shutil.ignore_patterns("data", "dump", "exp", "log", "downloads", "__pycache__", "weights")
    for name in ("egs", "utils", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=generated)
    (folder / "codecsep").symlink_to(ROOT / "codecsep")
    (folder / ".cache").mkdir()
    return folder / CORPUS / "slm_ss"


def start(nano, recipe):
    words = [word for option in OPTIONS.items() for word in option]
    environment = environment_of(CODECSEP_CACHE=str(recipe.parents[2] / ".cache"), PIP_NO_INDEX="1")
    command = [recipe / "run.sh", *words, "--corpus", nano.folder / "corpus", "--python", sys.executable]
    log = open(recipe.parents[2] / "log", "ab")
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def made(recipe):
    """Hashes of what the stages have made."""
    kinds = ("/slm_ss/data/", "/slm_ss/dump/", "/slm_ss/exp/", "/downloads/")
    return {name: digest for name, digest in hashes(recipe.parent).items() if name.startswith(kinds)}


def expected(nano):
    return {name: digest for name, digest in hashes(nano.before(8)).items() if not name.startswith("/slm_ss/conf/")}


@pytest.mark.long
def test_run_sh_makes_the_files_of_its_commands(nano, tmp_path):
    recipe = plant(nano, tmp_path)
    assert start(nano, recipe).wait(timeout=900) == 0, (tmp_path / "log").read_text()[-3000:]
    assert difference(expected(nano), made(recipe)) + leftovers(recipe.parent) == []


@pytest.mark.long
def test_run_sh_killed_with_all_its_processes_goes_on(nano, tmp_path):
    recipe, chance, killed = plant(nano, tmp_path), random.Random(72), 0
    for _ in range(NUM_KILLS):
        process = start(nano, recipe)
        try:
            process.wait(timeout=chance.uniform(2, 40))
        except subprocess.TimeoutExpired:
            killed += 1
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.wait()
        time.sleep(1.0)  # jobs in process groups of their own end when they see that the recipe is gone
    assert start(nano, recipe).wait(timeout=900) == 0, (tmp_path / "log").read_text()[-3000:]
    assert killed and difference(expected(nano), made(recipe)) + leftovers(recipe.parent) == []
