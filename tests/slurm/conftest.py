"""A recipe directory whose Slurm is a few files and processes; tests with a real one have a `place` of their own."""

import os

import launching
import pytest
from launching import Place

FAST = {"CODECSEP_JOB_POLL": "0.3", "CODECSEP_JOB_GRACE": "1", "CODECSEP_JOB_SAY": "0.3"}


@pytest.fixture
def home(tmp_path):
    (tmp_path / "fake").mkdir()
    return tmp_path / "fake"


@pytest.fixture
def place(tmp_path, home):
    (tmp_path / "recipe").mkdir()
    launching.conf(tmp_path / "recipe", launching.CONF)
    path = f"{launching.FAKE / 'bin'}:{os.environ['PATH']}"
    return Place(tmp_path / "recipe", {**launching.CLEAN, **FAST, "PATH": path, "FAKE_SLURM": str(home)})
