"""Tables, data directories and the files that appear whole or not at all."""

import re
import subprocess
import sys

import numpy as np
import pytest

from codecsep.data import atomic, audio, check, datadir
from codecsep.data.datadir import DataDir, DataDirError

RATE = 16000


def make_mixtures(path, count=3):
    """A valid directory of two-speaker mixtures of 0.1 s."""
    generator = np.random.default_rng(0)
    tables = {}
    for index in range(count):
        key = f"a-b-{index:03d}"
        sources = generator.uniform(-0.4, 0.4, (2, 1600))
        for name, samples in (("wav", sources.sum(0)), ("spk1", sources[0]), ("spk2", sources[1])):
            file = path / "wav" / name / f"{key}.wav"
            audio.write_audio(file, samples, RATE)
            tables.setdefault(f"{name}.scp", {})[key] = file
        values = {
            "utt2spk": "a-b",
            "utt2num_samples": 1600,
            "sot_order": "2 1",
            "text_spk1": "один",
            "text_spk2": "due",
        }
        for name, value in values.items():
            tables.setdefault(name, {})[key] = value
    tables["spk2utt"] = datadir.invert(tables["utt2spk"])
    for name, table in tables.items():
        datadir.write_table(path / name, table)
    return path


@pytest.fixture
def mixtures(tmp_path):
    return make_mixtures(tmp_path / "test")


def rewrite(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def test_table_round_trip_sorted_by_bytes(tmp_path):
    table = {"b": "2", "a_1": "ä ö  ü", "A1": "x y", "b10": "q\"'$("}
    datadir.write_table(tmp_path / "t", table)
    assert datadir.read_table(tmp_path / "t") == table
    assert list(datadir.read_table(tmp_path / "t")) == ["A1", "a_1", "b", "b10"]
    expected = subprocess.run(["sort", tmp_path / "t"], env={"LC_ALL": "C"}, capture_output=True, check=True).stdout
    assert (tmp_path / "t").read_bytes() == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a 1\nb 2", "last line has no end"),
        ("a 1\n\nb 2\n", ":2: blank line"),
        ("a 1\nb 2\na 3\n", r"^E101 .*t:3: id 'a' is there twice, first in .*t:1"),
        ("a 1\nb\n", ":2: id 'b' has no value"),
        ("a 1\n../../x 2\n", ":2: id '../../x' is not allowed"),
        ("-rf 1\n", "is not allowed"),
        ("a;b 1\n", "is not allowed"),
        ("$(id) 1\n", "is not allowed"),
        ("a\u00a0b 1\n", "is not allowed"),
        ("x" * 201 + " 1\n", "is not allowed"),
        ("ы" * 101 + " 1\n", "^E104 .*is not allowed .*200 bytes"),
        ("a|b 1\n", "^E104 "),
        ("a\u202eb 1\n", "^E104 "),
        ("\ufeffa 1\n", "^E104 "),
        ("a 1\nb\t2\n", r"^E105 .*t:2: holds a tab"),
        ("a 1\tx\n", r"^E105 .*t:1: holds a tab"),
        ("a 1\r\n", r"^E105 .*t:1: holds a line end of Windows"),
        ("a \x1b[2J\n", r"^E105 .*t:1: holds the control character '.x1b'"),
        ("a x\u2028b y\n", r"^E105 .*t:1: holds the control character"),
        (b"a \xff\xfe\n", r"is not UTF-8 \(byte 2\)"),
        (b"a\xff 1\n", r"^E105 .*is not UTF-8"),
    ],
)
def test_malformed_tables(tmp_path, content, message):
    rewrite(tmp_path / "t", content)
    with pytest.raises(DataDirError, match=message) as caught:
        datadir.read_table(tmp_path / "t")
    assert str(tmp_path / "t") in str(caught.value)


def test_every_error_has_its_code_place_and_cure(tmp_path):
    """G4, G7, G8: the pattern that all errors follow, in one line."""
    for content in ("", "a 1\n\n", "a 1\na 2\n", "../a 1\n", "a\t1\n", "a 1", "a\n"):
        rewrite(tmp_path / "t", content)
        with pytest.raises(DataDirError) as caught:
            datadir.read_table(tmp_path / "t")
        assert re.fullmatch(r"E10\d .+ \(fix: .+\)", str(caught.value)), str(caught.value)


def test_a_home_directory_is_not_a_path(tmp_path):
    rewrite(tmp_path / "wav.scp", "a ~/a.wav\n")
    with pytest.raises(DataDirError, match=r"^E105 .*wav.scp:1: '~/a.wav' is not a path: ~ is not expanded"):
        datadir.read_table(tmp_path / "wav.scp")
    rewrite(tmp_path / "text", "a ~ about\n")
    assert datadir.read_table(tmp_path / "text") == {"a": "~ about"}


@pytest.mark.parametrize("content", ["b 1\na 2\n", "a_1 1\nA1 2\nb10 3\n"])
def test_other_orders_are_an_error_with_the_cure(mixtures, content):
    """G5: reading says how to mend it, and that mends it; writing always sorts."""
    rewrite(mixtures / "utt2lufs", content)
    with pytest.raises(DataDirError, match=r"^E102 .*utt2lufs:2: .* not sorted by the bytes") as caught:
        DataDir(mixtures).table("utt2lufs")
    subprocess.run(["bash", "-c", str(caught.value).split("fix: ")[1][:-1]], check=True)
    assert len(DataDir(mixtures).table("utt2lufs")) == content.count("\n")


def test_numbers_in_tables(mixtures):
    directory = DataDir(mixtures)
    assert directory.integers("utt2num_samples")["a-b-001"] == 1600
    for value in ("1.5", "-1", "²", "1e3", "9" * 19, "0x10", "1_000"):
        rewrite(mixtures / "utt2bad", f"a {value}\n")
        with pytest.raises(DataDirError, match="^E105 .*utt2bad: a has .* a whole number from 0 is needed"):
            DataDir(mixtures).integers("utt2bad")
    for value in ("nan", "inf", "x", "١", "1e999"):
        rewrite(mixtures / "utt2bad", f"a {value}\n")
        with pytest.raises(DataDirError, match="^E105 .*utt2bad: a has .* a finite number is needed"):
            DataDir(mixtures).floats("utt2bad")


def test_what_tables_may_hold(tmp_path):
    rewrite(tmp_path / "t", "a x y\nидентификатор-1  2 \nb \n")
    assert datadir.read_table(tmp_path / "t", allow_empty=True) == {"a": "x y", "идентификатор-1": "2", "b": ""}


def test_a_bad_table_is_never_written(tmp_path):
    datadir.write_table(tmp_path / "t", {"a": "1"})
    for bad in ({"a b": "1"}, {"a": "x\ny"}, {"a": "x\rb 2"}, {"a": "\x1b[2J"}, {"a/../b": "1"}):
        with pytest.raises(DataDirError):
            datadir.write_table(tmp_path / "t", bad)
    assert datadir.read_table(tmp_path / "t") == {"a": "1"}
    assert [file.name for file in tmp_path.iterdir()] == ["t"]


def test_invert_groups_and_sorts():
    assert datadir.invert({"u2": "s1", "u1": "s1", "u3": "s0"}) == {"s0": "u3", "s1": "u1 u2"}


def test_a_good_directory(mixtures):
    directory = DataDir(mixtures)
    directory.validate()
    assert directory.speakers() == ["spk1", "spk2"]
    assert directory.ids == ["a-b-000", "a-b-001", "a-b-002"]
    assert directory.order("a-b-001") == [1, 0]
    assert directory.table("text_spk1")["a-b-000"] == "один"
    assert check.problems(directory) == []


def test_missing_directory_and_table(tmp_path, mixtures):
    with pytest.raises(DataDirError, match="^E106 .*run --stage 0"):
        DataDir(tmp_path / "nowhere")
    with pytest.raises(DataDirError, match="no such file .fix: run the stage"):
        DataDir(mixtures).table("spk3.scp")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("spk2.scp", "a-b-000 x\na-b-001 x\n", "1 of 3 ids of wav.scp are missing, first ['a-b-002']"),
        ("text_spk1", "a-b-000 x\na-b-001 x\na-b-002 x\nz y\n", "1 of 4 ids are not in wav.scp, first ['z']"),
        ("utt2spk", "a-b-001 a-b\na-b-000 a-b\na-b-002 a-b\n", "not sorted"),
        ("spk2utt", "a-b a-b-000 a-b-001\n", "does not agree with utt2spk"),
        ("sot_order", "a-b-000 2 2\na-b-001 1 2\na-b-002 2 1\n", "'2 2' is no order"),
        ("sot_order", "a-b-000 1 2 3\na-b-001 1 2\na-b-002 0 1\n", "'0 1' is no order"),
        (
            "utt2num_samples",
            "a-b-000 1600\na-b-001 1599\na-b-002 1600\n",
            "holds 1,600 samples, utt2num_samples says 1,599",
        ),
        ("text_spk2", "a-b-000\na-b-001 x\na-b-002 y\n", "1 transcripts are empty"),
    ],
)
def test_problems_are_found(mixtures, name, content, message):
    rewrite(mixtures / name, content)
    assert any(message in line for line in check.problems(DataDir(mixtures)))


def test_missing_files_and_gaps_are_found(mixtures):
    (mixtures / "sot_order").unlink()
    assert DataDir(mixtures).problems() == [f"E106 {mixtures}/sot_order: missing (fix: run --stage 0 again)"]
    (mixtures / "spk2.scp").rename(mixtures / "spk3.scp")
    with pytest.raises(DataDirError, match="without gaps"):
        DataDir(mixtures).validate()


@pytest.mark.parametrize("damage", ["missing", "longer", "rate", "wrong", "silent"])
def test_damaged_audio_is_found(mixtures, damage):
    path = DataDir(mixtures).table("spk1.scp")["a-b-001"]
    samples, rate = audio.read_audio(path)
    written = {
        "missing": None,
        "longer": (np.append(samples, 0.1), rate),
        "rate": (samples, 8000),
        "wrong": (samples * 1.001, rate),
        "silent": (samples * 0, rate),
    }[damage]
    atomic.write_text(path, "text named .wav") if written is None else audio.write_audio(path, *written)
    expected = {
        "missing": "not an audio file",
        "longer": "1,601",
        "rate": "8000 Hz",
        "wrong": "differ",
        "silent": "silent",
    }
    assert any(expected[damage] in line for line in check.problems(DataDir(mixtures)))


def test_command_line_prints_one_line_per_problem(mixtures, tmp_path):
    other = make_mixtures(tmp_path / "other")
    rewrite(other / "utt2spk", "a-b-000 a-b\n")
    command = [sys.executable, "-m", "codecsep.bin.validate_data", str(mixtures), str(other)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stdout.startswith(f"{mixtures}: 3 utterances, 2 speaker(s) each: valid")
    assert len(result.stderr.splitlines()) == 2 and "Traceback" not in result.stderr


def test_replacing_leaves_the_old_file_on_failure(tmp_path):
    atomic.write_text(tmp_path / "file", "old")
    with pytest.raises(RuntimeError), atomic.replacing(tmp_path / "file") as beside:
        beside.write_text("half")
        raise RuntimeError
    assert (tmp_path / "file").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_replacing_dir_swaps_whole_directories(tmp_path):
    path = tmp_path / "made"
    for number in "12":
        with atomic.replacing_dir(path) as beside:
            (beside / number).touch()
            assert not (path / number).exists()
    assert [file.name for file in path.iterdir()] == ["2"]
    with pytest.raises(RuntimeError), atomic.replacing_dir(path):
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["made"]


def test_what_a_killed_run_left_is_removed(tmp_path):
    code = "import os,sys; from codecsep.data import atomic\n"
    code += "with atomic.replacing_dir(sys.argv[1]) as beside: (beside / 'half').touch(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "made"], check=False).returncode == -9
    assert not (tmp_path / "made").exists() and len(list(tmp_path.iterdir())) == 1
    with atomic.replacing_dir(tmp_path / "made") as beside:
        (beside / "whole").touch()
    assert [file.name for file in tmp_path.iterdir()] == ["made"]


def test_data_modules_start_without_torch():
    code = "import sys, codecsep.data.check, codecsep.data.mixing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
