"""One writer per directory: the second is refused at once and told who holds it; a dead one holds nothing."""

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codecsep.data import lock
from codecsep.data.lock import LockError, locked

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
from codecsep.data.lock import locked
with locked(sys.argv[1], sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""
NO_LOCKS = "import fcntl, errno\ndef no(*a): raise OSError(errno.ENOLCK, 'no locks')\nfcntl.flock = no\n"


@pytest.fixture
def holder(tmp_path):
    """hold(name, before): a process that holds a lock of the folder; all are killed at the end."""
    started = []

    def hold(name=lock.NAME, before=""):
        command = [sys.executable, "-c", before + HOLD, str(tmp_path), name]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def without_flock(monkeypatch):
    """A file system without flock."""

    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    return NO_LOCKS


def test_the_second_is_refused_at_once_and_told_who_holds_it(tmp_path, holder):
    first, start = holder(), time.monotonic()
    with pytest.raises(LockError) as raised, locked(tmp_path):
        pass
    assert time.monotonic() - start < 1
    told = rf"^E630 {tmp_path}: is being written by process {first.pid} on {os.uname().nodename} since "
    assert re.match(told + r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d \(fix: .+\)$", str(raised.value))


def test_a_killed_holder_holds_nothing(tmp_path, holder):
    first = holder()
    first.send_signal(signal.SIGKILL)
    first.wait()
    with locked(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / lock.NAME).read_text()


def test_it_is_free_again_after_the_block_and_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(RuntimeError), locked(tmp_path / "new" / "folder"):
            raise RuntimeError


def test_locks_of_other_names_do_not_matter(tmp_path, holder):
    holder(".shard.1of2.lock")
    with locked(tmp_path, ".shard.2of2.lock"), locked(tmp_path):
        pass


def test_the_same_process_does_not_get_it_twice(tmp_path):
    with locked(tmp_path), pytest.raises(LockError, match=f"process {os.getpid()} on"), locked(tmp_path):
        pass


def test_patience_waits_for_the_other(tmp_path, holder):
    first = holder()
    subprocess.Popen(["/bin/sh", "-c", f"sleep 0.5; kill -9 {first.pid}"])
    start = time.monotonic()
    with locked(tmp_path, patience=30):
        assert 0.3 < time.monotonic() - start < 20
    other = holder()
    with pytest.raises(LockError, match=f"process {other.pid} "), locked(tmp_path, patience=0.3):
        pass


def test_where_flock_does_not_exist_a_file_stands_for_the_lock(tmp_path, holder, without_flock):
    first = holder(before=without_flock)
    with pytest.raises(LockError, match=f"E630 .* process {first.pid} on"), locked(tmp_path):
        pass
    first.kill()
    first.wait()
    with locked(tmp_path), pytest.raises(LockError, match=f"process {os.getpid()} "), locked(tmp_path):
        pass
    assert not list(tmp_path.glob("*.held")) and not list(tmp_path.glob("*.check"))


def test_the_file_of_another_machine_is_left_alone(tmp_path, without_flock):
    held = tmp_path / f"{lock.NAME}.held"
    held.write_text("process 999999999 on elsewhere since 2026-01-01T00:00:00\n")
    with pytest.raises(LockError, match="process 999999999 on elsewhere since 2026"), locked(tmp_path):
        pass
    assert held.exists()


def test_only_one_takes_over_from_a_dead_one(tmp_path, without_flock):
    """Ten processes at once find the file of a dead one: one of them gets the lock, whoever it is."""
    held = tmp_path / f"{lock.NAME}.held"
    held.write_text(f"process 999999999 on {os.uname().nodename} since 2026-01-01T00:00:00\n")
    code = NO_LOCKS + (
        "import sys\nfrom codecsep.data.lock import LockError, locked\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "try:\n    with locked(sys.argv[1]):\n        print('got it', flush=True)\n        sys.stdin.readline()\n"
        "except LockError:\n    print('refused', flush=True)\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(10)]
    assert {process.stdout.readline() for process in processes} == {"ready\n"}
    for process in processes:
        process.stdin.write("go\n")
    answers = sorted(process.stdout.readline().strip() for process in processes)
    for process in processes:
        process.communicate("go\n")
    assert answers == ["got it", *["refused"] * 9]


def test_other_errors_of_the_system_are_not_hidden(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="broken"), locked(tmp_path):
        pass
