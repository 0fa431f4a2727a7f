"""Stage 2 killed, raced, damaged: the same command again gives the same bytes, makes only what is broken (A1, A8)."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from toy_codec import SAMPLES, content, flip, forked, killed, run, snapshot

from codecsep.bin import shards
from codecsep.data import audio, datadir, manifest
from codecsep.data.ark import CodecInfo, write_codec_info
from codecsep.data.lock import locked

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def dump(tmp_path):
    return tmp_path / "dump" / "train_sources"


def run_all(tmp_path, data, jobs: int, *options: str) -> list[int]:
    return [run(tmp_path, data, "--job", f"{job}/{jobs}", *options) for job in range(1, jobs + 1)]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    "point",
    ["tokenise.batch", "tokenise.batch@2", "ark.record@2", "ark.before_lists", "tokenise.before_join", "join.mid",
     "manifest.before_done", "manifest.before_done@2", "manifest.after_done", "atomic.mid@3", "atomic.before_rename@5",
     "atomic.after_rename@2"],
)  # fmt: skip
def test_killed_and_run_again_gives_the_same_bytes(tmp_path, codec, singles, dump, jobs, point):
    """The last job is the one that is killed; with one job every point is passed, with two it joins."""
    batches = ["--batch_seconds", "0.2"]
    assert run_all(tmp_path, singles, jobs, *batches)[-1] == 0
    clean = snapshot(dump)
    shutil.rmtree(dump)
    for job in range(1, jobs):
        assert run(tmp_path, singles, "--job", f"{job}/{jobs}", *batches) == 0
    last = partial(run, tmp_path, singles, "--job", f"{jobs}/{jobs}", *batches)
    assert killed(last, point)
    assert last() == 0
    assert snapshot(dump) == clean


def test_an_array_goes_on_with_the_parts_that_are_missing(tmp_path, codec, singles, dump):
    assert run_all(tmp_path, singles, 3) == [0, 0, 0]
    clean = snapshot(dump)
    shutil.rmtree(dump)
    run(tmp_path, singles, "--job", "1/3")
    assert killed(lambda: run(tmp_path, singles, "--job", "2/3"), "tokenise.batch")
    run(tmp_path, singles, "--job", "3/3")
    before = sum(codec.encoded)
    assert run_all(tmp_path, singles, 3) == [0, 0, 0]
    assert sum(codec.encoded) - before == 2, "the two utterances of part 2"
    assert snapshot(dump) == clean


@pytest.mark.parametrize(
    ("harm", "encoded"),
    [
        (lambda dump: flip(dump / "codes.2.ark"), 2),
        (lambda dump: (dump / "codes.2.ark").unlink(), 2),
        (lambda dump: os.truncate(dump / "codes.2.ark", 50), 2),
        (lambda dump: flip(dump / "codes.2.crc"), 2),
        (lambda dump: (dump / "shard.2of3.json").write_text("{}"), 2),
        (lambda dump: (dump / ".shard.2of3.done").unlink(), 2),
        (lambda dump: flip(dump / "codes.scp"), 0),
        (lambda dump: (dump / "utt2num_frames").unlink(), 0),
        (lambda dump: (dump / "skipped.tsv").write_text("a\n"), 0),
        (lambda dump: flip(dump / "manifest.json"), 0),
        (lambda dump: flip(dump / "codec.json"), 0),
        (lambda dump: (dump / ".done").unlink(), 0),
        (lambda dump: [path.unlink() for path in dump.glob(".*.stamps")], 0),
    ],
)
def test_only_what_is_damaged_is_made_again(tmp_path, codec, singles, dump, harm, encoded):
    run_all(tmp_path, singles, 3)
    clean, before = snapshot(dump), sum(codec.encoded)
    harm(dump)
    assert run_all(tmp_path, singles, 3) == [0, 0, 0]
    assert sum(codec.encoded) - before == encoded
    assert snapshot(dump) == clean and manifest.problem(dump) is None


def test_another_split_notices_damage_too(tmp_path, codec, singles, dump, capsys):
    run_all(tmp_path, singles, 3)
    before = len(codec.encoded)
    run_all(tmp_path, singles, 2)
    assert len(codec.encoded) == before and capsys.readouterr().err.count("up to date") == 2
    flip(dump / "codes.3.ark")
    assert run_all(tmp_path, singles, 2) == [0, 0]
    assert {path.name for path in dump.glob("codes.*.ark")} == {"codes.1.ark", "codes.2.ark"}
    assert not list(dump.glob("*3of3*json")) and len(content(dump, "codes")) == 5 and manifest.problem(dump) is None


def test_force_makes_a_part_again(tmp_path, codec, singles, dump):
    run_all(tmp_path, singles, 2)
    clean, before = snapshot(dump), sum(codec.encoded)
    assert run(tmp_path, singles, "--job", "2/2", "--force") == 0
    assert sum(codec.encoded) - before == 3 and snapshot(dump) == clean


def test_the_manifest_accounts_for_everything(tmp_path, codec, singles, dump):
    run_all(tmp_path, singles, 2)
    made = json.loads((dump / "manifest.json").read_text())
    parts = [f"codes.{job}.{ending}" for job in (1, 2) for ending in ("ark", "crc", "scp")]
    notes = ["shard.1of2.json", "shard.2of2.json"]
    joined = ["codec.json", "codes.crc", "codes.scp", "skipped.tsv", "utt2num_frames"]
    assert sorted(made["outputs"]) == sorted([*joined, *parts, *notes])
    assert {os.path.basename(path) for path in made["inputs"]} == {"codec.json", "utt2num_samples", "wav.scp"}
    assert made["counts"] == {"given": 5, "made": 5, "skipped": 0} and list(made["values"]) == ["audio"]


def test_the_second_writer_of_a_part_is_refused_at_once(tmp_path, codec, singles, dump, capsys):
    with locked(dump, ".shard.1of2.lock"):
        start = time.monotonic()
        assert run(tmp_path, singles, "--job", "1/2") == 2
        assert time.monotonic() - start < 2
        told = capsys.readouterr().err
        assert re.fullmatch(
            rf"tokenise: E630 {dump}: is being written by process {os.getpid()} on \S+ since \S+ .*\n", told
        )
        assert run(tmp_path, singles, "--job", "2/2") == 0, "the other jobs of the array go on"
    assert run(tmp_path, singles, "--job", "1/2") == 0 and len(content(dump, "codes")) == 5


def test_a_killed_writer_frees_its_part(tmp_path, codec, singles, dump, capsys):
    """Row A8 with two processes: refused while the first is at work, done after kill -9 of it."""
    pid = os.fork()
    if pid == 0:
        os.environ["CODECSEP_FAULT"] = "tokenise.batch:sleep:60"
        os._exit(run(tmp_path, singles))
    holder, deadline = dump / ".shard.1of1.lock", time.monotonic() + 30
    while not (holder.exists() and f"process {pid} " in holder.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert run(tmp_path, singles) == 2
    assert f"is being written by process {pid} on {os.uname().nodename} since 20" in capsys.readouterr().err
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert run(tmp_path, singles) == 0 and len(content(dump, "codes")) == 5
    assert not list(dump.glob(".*.tmp"))


def test_jobs_of_another_split_are_refused(tmp_path, codec, singles, dump, capsys):
    with locked(dump, ".shard.1of2.lock"):
        assert run(tmp_path, singles) == 2
    assert "E630" in capsys.readouterr().err and not codec.encoded


def test_two_jobs_that_finish_at_once_join_once(tmp_path, codec, singles, dump):
    """One waits for the other at the lock of the join; both see all parts, the second finds nothing to add."""
    run(tmp_path, singles, "--job", "1/3")
    pids = []
    for job in (2, 3):
        pid = os.fork()
        if pid == 0:
            os.environ["CODECSEP_FAULT"] = "tokenise.before_join:sleep:0.3,join.mid:sleep:0.5"
            os._exit(run(tmp_path, singles, "--job", f"{job}/3"))
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0]
    assert manifest.problem(dump) is None and len(content(dump, "codes")) == 5


def test_a_full_disk_says_so_and_the_next_run_goes_on(tmp_path, codec, singles, dump, capfd):
    full = "tokenise.batch:raise:ENOSPC"
    assert forked(lambda: run(tmp_path, singles), full) == 2
    assert "E320" in capfd.readouterr().err and not (dump / ".done").exists() and not list(dump.glob("codes.*"))
    assert run(tmp_path, singles) == 0 and len(content(dump, "codes")) == 5


def as_made(folder, stage: str = "0") -> None:
    """Give a directory the manifest that its stage writes."""
    own = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    files = [path for path in own if path.name != "manifest.json"]
    manifest.finish(folder, manifest.Work(stage), files, manifest.Counts(5, 5))


def test_earlier_stages_must_be_done_and_whole(tmp_path, codec, singles, dump, capsys):
    as_made(singles)
    as_made(tmp_path / "codec", "1")
    assert run(tmp_path, singles) == 0
    made = json.loads((dump / "manifest.json").read_text())
    assert str(singles / "manifest.json") in made["inputs"] and made["values"] == {}
    capsys.readouterr()
    for folder, stage in ((singles, 0), (tmp_path / "codec", 1)):
        (folder / ".done").rename(folder / "away")
        assert run(tmp_path, singles) == 2
        err = capsys.readouterr().err
        assert f"E120 {folder}: {folder}/.done is missing" in err and f"(fix: run --stage {stage}; if" in err
        (folder / "away").rename(folder / ".done")
    (singles / "utt2num_samples").write_text("a 1\n")
    assert run(tmp_path, singles) == 2
    assert "utt2num_samples has 4 bytes" in capsys.readouterr().err


def test_audio_made_again_with_the_same_content_changes_nothing(tmp_path, codec, dump):
    """Of a directory that stage 0 made the contents count, not the times."""
    folder = tmp_path / "data" / "train_sources"
    for key, size in SAMPLES.items():
        audio.write_audio(folder / "wav" / f"{key}.wav", [0.25] * size, 8000)
    datadir.write_table(folder / "wav.scp", {key: folder / "wav" / f"{key}.wav" for key in SAMPLES})
    datadir.write_table(folder / "utt2num_samples", SAMPLES)
    as_made(folder)
    run(tmp_path, folder)
    before = len(codec.encoded)
    for path in folder.glob("wav/*"):
        os.utime(path, (1, 1))
    assert run(tmp_path, folder) == 0 and len(codec.encoded) == before
    audio.write_audio(folder / "wav" / "c.wav", [0.5] * SAMPLES["c"], 8000)
    assert run(tmp_path, folder) == 2
    as_made(folder)
    assert run(tmp_path, folder) == 0 and len(codec.encoded) > before


def test_of_a_test_set_nothing_may_be_skipped(tmp_path, codec, singles, capsys):
    test = singles.rename(tmp_path / "data" / "test_sources")
    names = {table: datadir.read_table(test / table) for table in ("wav.scp", "utt2num_samples")}
    for table, rows in names.items():  # 200 utterances, one of them unusable: 0.5 %
        value = rows["b"]
        datadir.write_table(test / table, {**{f"b{number}": value for number in range(199)}, "d": rows["d"]})
    with open(names["wav.scp"]["d"], "wb"):
        pass
    assert run(tmp_path, test) == 2
    err = capsys.readouterr().err
    assert "E123" in err and "1 of 200 utterances cannot be used, allowed are 0.0%; first: d: E201" in err
    assert run(tmp_path, test, "--max_skipped", "0.01") == 0
    train = test.rename(tmp_path / "data" / "train_sources")
    assert run(tmp_path, train) == 0


def test_a_lost_utterance_is_an_error(tmp_path, codec, singles, dump, monkeypatch, capsys):
    real = shards.Shard.read
    monkeypatch.setattr(shards.Shard, "read", lambda shard, job: ({"a": 1}, real(shard, job)[1]))
    assert run(tmp_path, singles) == 2
    assert "E124" in capsys.readouterr().err and not (dump / ".done").exists()


def test_a_codec_whose_frames_do_not_cover_the_audio(tmp_path, codec, singles, monkeypatch, capsys):
    """It agrees with itself, yet makes half the frames that codec.json promises."""
    codec.info = CodecInfo("toy", "f0", 8000, 100.0, 80, 3, 64)
    write_codec_info(tmp_path / "codec", codec.info)
    assert run(tmp_path, singles) == 2
    assert re.search(r"E305 codec toy, \w: \d+ frames of 80 samples; .*run --stage 1 again", capsys.readouterr().err)


def test_errors_have_codes(tmp_path, codec, singles, capsys):
    for words, code in ((["--jobs", "3"], "E855"), (["--job", "3/2"], "E856"), (["--config", "x"], "E855")):
        assert run(tmp_path, singles, *words) == 2
        assert re.match(rf"tokenise: {code} .+ \(fix: .+\)\n$", capsys.readouterr().err)


def test_what_is_up_to_date_is_told_without_torch(tmp_path, codec, singles, dump):
    run(tmp_path, singles)
    words = ["--codec", tmp_path / "codec", "--data", singles, "--out", dump]
    code = (
        "import sys, time; from codecsep.bin import tokenise; status = tokenise.main(sys.argv[1:]); "
        "print(sorted({'torch', 'scipy', 'soundfile'} & set(sys.modules)), time.process_time()); sys.exit(status)"
    )
    result = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0 and "up to date" in result.stderr
    modules, seconds = result.stdout.rsplit(" ", 1)
    assert modules == "[]" and float(seconds) < 1.0, "0.2 s of CPU time on an idle machine"
