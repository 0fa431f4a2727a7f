"""Manifests: what is done, whole and made from these inputs is told apart from all else; nothing in them is a time."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from codecsep.data import manifest
from codecsep.data.manifest import Counts, StageError, Work
from codecsep.error_codes import CODES

COUNTS = Counts(2, 2)
NO_HASH = '{"format": 1, "inputs": {}, "outputs": {"a": {"size": 1}}, "values": {}, "settings": {}, "counts": {}}'


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A recipe directory with an input; the working directory of the test."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "list").write_text("a 1\nb 2\n")
    return tmp_path


def work(**settings) -> Work:
    return Work("2", [Path("data/list")], {"codec": "f0"}, settings)


def make(folder: Path = Path("dump"), name: str = "", **settings) -> Path:
    folder.mkdir(exist_ok=True)
    for file, content in (("codes.ark", b"0123456789"), ("codes.scp", b"a dump/codes.ark:2\n"), ("a.wav", b"RIFF" * 9)):
        (folder / file).write_bytes(content)
    manifest.begin(folder, name)
    manifest.finish(folder, work(**settings), sorted(folder.glob("[!.]*.*[!n]")), COUNTS, name)
    return folder


def age(path: Path, by: float = 5.0) -> None:
    """Move the time of change."""
    os.utime(path, (time.time() - by, time.time() - by))


def flip(path: Path, keeps_time: bool = False) -> None:
    """Change one bit in the middle of a file; the time of change as it was, or a new one."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + (0 if keeps_time else 1)))


def count_hashes(monkeypatch) -> list[Path]:
    """The files that are hashed from now on."""
    hashed, real = [], manifest.file_sha256
    monkeypatch.setattr(manifest, "file_sha256", lambda path: (hashed.append(Path(path)), real(path))[1])
    return hashed


def forked(action) -> int:
    """Run `action` in a forked child; its exit status, -9 when it was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_what_is_done_is_current(place):
    folder = make()
    assert manifest.current(folder, work()) is None and manifest.problem(folder) is None
    content = manifest.require(folder, "2")
    assert content["counts"] == {"given": 2, "made": 2, "skipped": 0}
    assert content["outputs"]["codes.ark"] == manifest.describe(folder / "codes.ark")
    assert list(content["inputs"]) == ["data/list"] and content["stage"] == "2"


@pytest.mark.parametrize("name", ["", "seq"])
@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda folder, dot: flip(folder / "codes.ark", keeps_time=True), "codes.ark is damaged or was changed"),
        (lambda folder, dot: flip(folder / "codes.ark"), "codes.ark is damaged or was changed: SHA-256 was"),
        (lambda folder, dot: os.truncate(folder / "codes.ark", 9), "codes.ark has 9 bytes, 10 were noted"),
        (lambda folder, dot: (folder / "codes.scp").unlink(), "codes.scp is missing"),
        (lambda folder, dot: os.truncate(folder / "a.wav", 20), "a.wav has 20 bytes, 36 were noted"),
        (lambda folder, dot: flip(folder / "a.wav"), "a.wav is damaged or was changed"),
        (lambda folder, dot: (folder / f".{dot}done").unlink(), "it was never finished"),
        (lambda folder, dot: (folder / f"{dot}manifest.json").unlink(), "it was never finished"),
        (lambda folder, dot: flip(folder / f"{dot}manifest.json"), "manifest.json was changed after it was written"),
    ],
)
def test_every_harm_is_noticed(place, harm, told, name):
    folder = make(name=name)
    harm(folder, f"{name}." if name else "")
    assert told in manifest.current(folder, work(), name)
    with pytest.raises(StageError, match=r"^E120 dump: .* \(fix: run --stage 2\)$") as raised:
        manifest.require(folder, "2", name, is_deep=True)
    assert told in raised.value.what


def test_a_flipped_bit_is_noticed_by_the_next_stage_without_hashing_all(place, monkeypatch):
    folder = make()
    hashed = count_hashes(monkeypatch)
    manifest.require(folder, "2")
    assert hashed == []
    flip(folder / "codes.ark")
    with pytest.raises(StageError, match="E120 .*codes.ark is damaged"):
        manifest.require(folder, "2")
    assert hashed == [folder / "codes.ark"]


def test_audio_is_hashed_only_when_its_time_of_change_is_another(place, monkeypatch):
    folder = make()
    flip(folder / "a.wav", keeps_time=True)
    assert manifest.problem(folder) is None
    assert [file for file, _ in manifest.faults(folder, "", manifest.never)] == ["a.wav"]
    flip(folder / "a.wav", keeps_time=True)
    age(folder / "a.wav")
    hashed = count_hashes(monkeypatch)
    assert manifest.problem(folder) is None and hashed.count(folder / "a.wav") == 1
    assert manifest.problem(folder) is None and hashed.count(folder / "a.wav") == 1, "the new time was noted"


def test_a_copied_tree_is_as_good(place, monkeypatch):
    folder = make()
    for path in [*folder.iterdir(), Path("data/list")]:
        age(path)
    (folder / ".stamps").write_text("{")
    assert manifest.current(folder, work()) is None
    manifest.require(folder, "2")
    (folder / ".stamps").unlink()
    manifest.require(folder, "2")


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (lambda: work(levels=3), "settings changed: levels: null -> 3"),
        (lambda: Work("2", [Path("data/list")], {"codec": "f1"}), "values changed: codec: f0 -> f1"),
        (lambda: Work("2", [Path("data/list"), Path("dump/a.wav")], {"codec": "f0"}), "inputs changed: dump/a.wav"),
    ],
)
def test_other_work_is_told(place, other, told):
    assert told in manifest.current(make(), other())


def test_a_changed_input_is_named_with_both_hashes(place):
    folder = make()
    old = manifest.describe(Path("data/list"))["sha256"]
    Path("data/list").write_text("a 1\nb 3\n")
    new = manifest.describe(Path("data/list"))["sha256"]
    assert f"data/list.sha256: {old[:37]}... -> {new[:37]}..." in manifest.current(folder, work())
    with pytest.raises(StageError, match="^E121 dump: ") as raised:
        manifest.require(folder, "2")
    assert f"data/list is damaged or was changed: SHA-256 was {old[:12]}, is {new[:12]}" in str(raised.value)
    assert raised.value.fix == "run --stage 2 again, or restore the file"
    Path("data/list").unlink()
    with pytest.raises(StageError, match="E121 .*data/list is missing"):
        manifest.require(folder, "2")


def test_an_input_that_changes_while_the_stage_works_counts_as_changed(place):
    job, folder = work(), Path("dump")
    assert manifest.current(folder, job) == "dump/.done is missing: it was never finished"
    job.described()
    Path("data/list").write_text("another list\n")
    folder.mkdir()
    (folder / "codes.ark").write_text("made of the old list")
    manifest.finish(folder, job, [folder / "codes.ark"], COUNTS)
    with pytest.raises(StageError, match="E121"):
        manifest.require(folder, "2")


def test_known_audio_is_not_hashed_again(place, monkeypatch):
    Path("data/a.wav").write_bytes(b"RIFF")
    noted = manifest.describe(Path("data/a.wav"))
    hashed = count_hashes(monkeypatch)
    job = Work("0", audio={"data/a.wav": noted})
    Path("made").mkdir()
    Path("made/wav.scp").write_text("a data/a.wav\n")
    manifest.finish(Path("made"), job, [Path("made/wav.scp")], Counts(1, 1), known={})
    manifest.require(Path("made"), "0")
    assert hashed == [Path("made/wav.scp")]
    os.truncate("data/a.wav", 2)
    with pytest.raises(StageError, match="E121 .*data/a.wav has 2 bytes, 4 were noted"):
        manifest.require(Path("made"), "0")


def test_outputs_that_were_hashed_before_are_taken_over(place, monkeypatch):
    folder = make(name="part")
    hashed = count_hashes(monkeypatch)
    known = manifest.read(folder, "part")["outputs"]
    manifest.finish(folder, work(), [folder / "codes.ark", folder / "a.wav"], COUNTS, known=known)
    assert [path.name for path in hashed] == ["list"] and manifest.problem(folder) is None


def test_an_utterance_that_was_lost(place):
    folder = make()
    with pytest.raises(StageError, match="^E124 dump: 5 utterances were given, 3 made and 1 skipped"):
        manifest.finish(folder, work(), [], Counts(5, 3, 1))


def test_manifests_hold_no_time_and_no_place(place, monkeypatch):
    first = (make() / "manifest.json").read_bytes(), Path("dump/.done").read_bytes()
    age(Path("data/list"), by=1e6)
    other = place / "elsewhere"
    (other / "data").mkdir(parents=True)
    (other / "data/list").write_bytes(Path("data/list").read_bytes())
    monkeypatch.chdir(other)
    assert ((make() / "manifest.json").read_bytes(), Path("dump/.done").read_bytes()) == first
    absolute = Work("2", [other / "data/list"], {"codec": "f0"})
    assert absolute.described() == work().described() and str(other).encode() not in first[0]


def test_a_brought_directory_is_taken_as_it_is(place):
    assert manifest.require_unless_brought(Path("data"), "0") is False
    folder = make()
    assert manifest.require_unless_brought(folder, "0") is True
    (folder / ".done").unlink()
    with pytest.raises(StageError, match="E120 .*run --stage 0; if the change is meant, delete dump/manifest.json and"):
        manifest.require_unless_brought(folder, "0")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "inputs": [], "outputs": 1}', NO_HASH, "\udcff"],
)
def test_a_manifest_of_another_form_is_work_to_do_or_an_error(place, text):
    folder = make()
    content = text.encode("utf-8", "surrogateescape")
    manifest.manifest_file(folder).write_bytes(content)
    (folder / ".done").write_text(f"{manifest.bytes_sha256(content)}\n")
    assert manifest.current(folder, work()).startswith("E122 ")
    with pytest.raises(StageError, match=r"^E122 dump/manifest.json: cannot be read .*\(fix: delete it and run"):
        manifest.require(folder, "2")


@pytest.mark.parametrize("name", [".done", "manifest.json"])
def test_a_flip_of_any_bit_is_noticed(place, name):
    path = make() / name
    content = path.read_bytes()
    assert manifest.problem(path.parent) is None
    for bit in range(0, 8 * len(content), 1 if name == ".done" else 97):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert "was changed after it was written" in manifest.problem(path.parent), bit


@pytest.mark.parametrize("point", ["manifest.before_done", "manifest.after_done", "atomic.before_rename@3"])
def test_killed_while_finishing(place, monkeypatch, point):
    make()
    monkeypatch.setenv("CODECSEP_FAULT", f"{point}:kill")
    assert forked(make) == -signal.SIGKILL
    monkeypatch.delenv("CODECSEP_FAULT")
    assert (manifest.current(Path("dump"), work()) is None) == (point == "manifest.after_done")
    make()
    assert manifest.current(Path("dump"), work()) is None
    assert not list(Path("dump").glob(".*.tmp"))


def test_begin_removes_what_dead_runs_left_and_nothing_else(place):
    folder, host = make(), os.uname().nodename.replace(".", "-")
    dead, alive = (folder / f".codes.ark.{host}.{pid}.0123abcd.tmp" for pid in (999999999, os.getpid()))
    for path in (dead, alive, folder / ".mine.tmp"):
        path.write_text("")
    manifest.begin(folder)
    assert not dead.exists() and alive.exists() and (folder / ".mine.tmp").exists() and (folder / "codes.ark").exists()
    assert not (folder / ".done").exists() and (folder / "manifest.json").exists()


def test_a_folder_that_cannot_be_written_is_checked_all_the_same(place, monkeypatch):
    folder = make()
    (folder / ".stamps").unlink()
    monkeypatch.setattr(manifest.atomic, "replacing", _refuse)
    assert manifest.problem(folder) is None


def _refuse(*arguments, **options):
    raise PermissionError(13, "no")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}, "a.b: 1 -> 3"),
        ({"a": 1}, {}, "a: 1 -> null"),
        ({}, {"a": "x" * 60}, "a: null -> " + "x" * 37 + "..."),
        ({key: 0 for key in "abcd"}, {key: 1 for key in "abcd"}, "a: 0 -> 1; b: 0 -> 1; c: 0 -> 1"),
    ],
)
def test_differences_in_words(old, new, told):
    assert manifest.difference(old, new) == told


def test_the_codes_are_in_the_catalogue():
    assert {"E120", "E121", "E122", "E124"} <= set(CODES)


def test_json_of_a_manifest_is_plain(place):
    content = json.loads((make() / "manifest.json").read_text())
    keys = ["format", "version", "stage", "inputs", "values", "settings", "outputs", "counts"]
    assert list(content) == keys and content["format"] == 1
