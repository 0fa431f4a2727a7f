"""data/batch.py and data/pool.py: what is finished is kept, in one process or several, and a dead process is told."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from codecsep.data import manifest, pool
from codecsep.data.batch import Batch, Item, Made
from codecsep.data.lock import LockError, locked


def double(item):
    return Made({f"out/{item.key}.txt": f"{2 * item.what}\n".encode()}, {"half": item.what / 2})


def recordings(folder, item):
    return [folder / f"{item.key}.txt"]


def batch(tmp_path, values, make=double, **settings):
    for key, value in values.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        if not (tmp_path / "in" / f"{key}.txt").exists():
            (tmp_path / "in" / f"{key}.txt").write_text(str(value))
    items = [Item(key, value) for key, value in values.items()]
    return Batch(tmp_path / "x", "numbers", [], settings, items, partial(recordings, tmp_path / "in"), make)


def contents(tmp_path):
    return {
        path.name: path.read_bytes() for path in (tmp_path / "x").rglob("*") if path.is_file() and path.name[0] != "."
    }


def test_several_processes_write_what_one_does(tmp_path):
    values = {f"k{number}": number for number in range(40)}
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    found = []
    for folder, nj in (("a", 1), ("b", 3)):
        work = batch(tmp_path / folder, values, seed=1)
        assert work.pending() == "it is not there yet" and work.build(nj) == 0 and work.pending() is None
        assert work.records()["k7"]["measures"] == {"half": 3.5} and not work.journal_file.exists()
        found.append(contents(tmp_path / folder))
    names = {name for name in found[0] if name != "numbers.manifest.json"}
    assert (tmp_path / "a/x/out/k7.txt").read_bytes() == b"14\n"
    assert found[0].keys() == found[1].keys() and all(
        found[0][name].replace(b"/a/", b"/b/") == found[1][name] for name in names
    )


def test_only_what_changed_is_made_again(tmp_path):
    made = []

    def make(item):
        made.append(item.key)
        return double(item)

    values = {"a": 1, "b": 2, "c": 3}
    batch(tmp_path, values, make, seed=1).build(1)
    (tmp_path / "x/out/b.txt").write_text("9\n")
    work = batch(tmp_path, values, make, seed=1)
    assert "b.txt is damaged or was changed" in work.pending() and work.build(1) == 2
    (tmp_path / "in/c.txt").write_text("another")
    work = batch(tmp_path, values, make, seed=1)
    assert "it was made from what has changed since" in work.pending() and work.build(1) == 2
    values |= {"d": 4}
    work = batch(tmp_path, values, make, seed=1)
    assert work.pending().startswith("inputs changed") and work.build(1) == 3 and work.pending() is None
    work = batch(tmp_path, values, make, seed=2)
    assert work.pending().startswith("settings changed: seed") and work.build(1) == 0
    assert made == ["a", "b", "c", "b", "c", "d", "a", "b", "c", "d"]


def test_a_journal_that_was_cut_or_forged(tmp_path):
    work = batch(tmp_path, {"a": 1, "b": 2})
    work.build(1)
    lines = work.records_file.read_bytes()
    for rest in (lines[:-9], b"\xff\n[]\n{}\n" + lines, b'{"key": "a", "digest": 1}\n', b""):
        manifest.begin(work.folder, work.name)
        work.records_file.unlink(missing_ok=True)
        work.journal_file.write_bytes(rest)
        assert work.pending() is not None and work.build(1) == sum(lines.splitlines(True)[i] in rest for i in (0, 1))
        assert work.records_file.read_bytes() == lines


def test_leftovers_are_swept_and_two_at_once_are_refused(tmp_path):
    work = batch(tmp_path, {"a": 1})
    work.build(1)
    host = os.uname().nodename.replace(".", "-")
    leftover = work.folder / "out" / f".b.txt.{host}.999999999.01234567.tmp"
    leftover.write_text("half")
    (work.folder / "out/a.txt").unlink()
    with locked(work.folder), pytest.raises(LockError):
        work.build(1)
    work.build(1)
    assert not leftover.exists() and sorted(path.name for path in (work.folder / "out").iterdir()) == ["a.txt"]


def square(number):
    return number * number


def die(number):
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_come_in_order_and_few_are_ahead():
    taken = []
    items = (taken.append(number) or number for number in range(200))
    results = pool.spread(square, items, 2, "x")
    assert [next(results) for _ in range(3)] == [0, 1, 4] and len(taken) <= 2 * pool.AHEAD + 3
    assert list(results) == [number * number for number in range(3, 200)]


def test_a_process_that_dies_is_told():
    with pytest.raises(pool.PoolError, match="^E548 place: a process died"):
        list(pool.spread(die, range(20), 2, "place"))


def test_processes_end_with_the_one_that_started_them(tmp_path):
    """Its parent is killed while the pool waits."""
    child = os.fork()
    if child == 0:
        results = pool.spread(partial(note_and_sleep, tmp_path), range(2), 2, "x")
        next(results)
        os._exit(0)
    deadline = time.monotonic() + 20
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(workers) == 2 and not any(map(is_running, workers))


def note_and_sleep(folder, number):
    (folder / str(os.getpid())).touch()
    time.sleep(60)


def is_running(process):
    status = Path(f"/proc/{process}/stat")
    return status.is_file() and status.read_text().rpartition(")")[2].split()[0] != "Z"
