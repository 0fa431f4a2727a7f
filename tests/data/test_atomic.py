"""Files and directories are there whole or as they were, whatever happens while they are written."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codecsep.data import atomic

ROOT = Path(__file__).resolve().parents[2]
WRITE_FILE = "import sys; from codecsep.data import atomic; atomic.write_text(sys.argv[1], 'new')"
WRITE_DIR = """
import sys
from codecsep.data import atomic
with atomic.replacing_dir(sys.argv[1]) as beside:
    (beside / 'file').write_text('new')
"""
POINTS = ("atomic.mid", "atomic.before_rename", "atomic.after_rename")


def run(code, path, fault=""):
    environment = {**os.environ, "CODECSEP_FAULT": fault}
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_write_leaves_the_old_file_or_the_new_one(tmp_path, point):
    path = tmp_path / "file"
    path.write_text("old")
    assert run(WRITE_FILE, path, f"{point}:kill").returncode == -9
    assert path.read_text() == ("new" if point == "atomic.after_rename" else "old")
    atomic.sweep(path)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_directory_is_the_old_one_or_the_new_one(tmp_path, point):
    path = tmp_path / "made"
    path.mkdir()
    (path / "file").write_text("old")
    assert run(WRITE_DIR, path, f"{point}:kill").returncode == -9
    assert (path / "file").read_text() == ("new" if point == "atomic.after_rename" else "old")
    assert run(WRITE_DIR, path).returncode == 0
    assert (path / "file").read_text() == "new" and leftovers(tmp_path) == []


def test_a_death_between_the_two_renames_brings_the_old_directory_back(tmp_path):
    path, old = tmp_path / "made", tmp_path / ".made.old"
    old.mkdir()
    (old / "file").write_text("old")
    with pytest.raises(RuntimeError), atomic.replacing_dir(path):
        assert (path / "file").read_text() == "old"
        raise RuntimeError
    assert (path / "file").read_text() == "old" and leftovers(tmp_path) == []


def test_what_a_running_process_writes_is_left_alone(tmp_path):
    mine = atomic._beside(tmp_path / "file")
    mine.write_text("half")
    elsewhere = tmp_path / ".file.other-host.1.abc.tmp"
    elsewhere.write_text("half")
    atomic.sweep(tmp_path / "file")
    assert mine.exists() and elsewhere.exists()
    os.utime(elsewhere, (time.time() - 2 * 86400,) * 2)
    atomic.sweep(tmp_path / "file")
    assert mine.exists() and not elsewhere.exists()


def test_a_full_disk_is_named_and_the_old_file_stays(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    result = run(WRITE_FILE, path, "atomic.mid:raise:ENOSPC")
    assert "DiskError: E320" in result.stderr and "MiB are free" in result.stderr
    assert path.read_text() == "old" and leftovers(tmp_path) == []


def test_a_limit_on_file_sizes_is_a_full_disk(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    code = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))\n" + WRITE_FILE
    result = run(code, path)
    assert "DiskError: E320" in result.stderr, result.stderr
    assert path.read_text() == "old" and leftovers(tmp_path) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
