"""The list verbs of utils/ beyond what tests/utils/test_against_kaldi.py holds: pipes, places, sizes, any bytes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecsep.data import lists
from codecsep.data.lists import ListError

ROOT = Path(__file__).resolve().parents[2]
LIST_VERBS = ["apply_map.pl", "filter_scp.pl", "spk2utt_to_utt2spk.pl", "split_scp.pl", "utt2spk_to_spk2utt.pl"]


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize("name", LIST_VERBS)
def test_starts_without_torch_and_numpy(name):
    """0.3 s is promised; three times that is allowed to a busy machine."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import codecsep.bin.list_verbs; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "soundfile", "yaml"} & set(loaded)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, ROOT / "utils" / name, "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.9


def test_a_reader_that_stops_is_no_mistake(tmp_path):
    write(tmp_path / "l", *range(200000))
    write(tmp_path / "m", "x y")
    for words in ("filter_scp.pl l l", "split_scp.pl -j 1 0 l", "apply_map.pl --permissive m < l"):
        command = f"set -o pipefail; {ROOT}/utils/{words} | head -n 1"
        result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert (result.returncode, result.stdout, result.stderr) == (0, "0\n", "")


def test_verbs_in_a_chain(tmp_path):
    write(tmp_path / "utt2spk", *(f"{s}-{i} {s}" for s in "ab" for i in range(3)))
    write(tmp_path / "ids", "a-1", "b-2")
    u = ROOT / "utils"
    command = f"{u}/filter_scp.pl ids < utt2spk | {u}/utt2spk_to_spk2utt.pl | {u}/spk2utt_to_utt2spk.pl - | sort"
    assert subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True).stdout == b"a-1 a\nb-2 b\n"


def test_devices_links_and_new_folders_as_outputs(tmp_path, verb):
    write(tmp_path / "l", *"abcd")
    write(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    assert verb("split_scp.pl", "l", "/dev/null", "link", "new folder/x", "-").stdout == "d\n"
    assert Path("/dev/null").is_char_device()
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "b\n"
    assert (tmp_path / "new folder/x").read_text() == "c\n"


def test_all_outputs_or_none(tmp_path, verb, refused):
    write(tmp_path / "l", *"abc")
    write(tmp_path / "1", "old")
    (tmp_path / "file").touch()
    assert refused(verb("split_scp.pl", "l", "1", "2", "file/x")) == "E133"
    assert (tmp_path / "1").read_text() == "old\n" and not (tmp_path / "2").exists()
    assert refused(verb("split_scp.pl", "l", "1", "2", "1")) == "E136"
    assert refused(verb("split_scp.pl", *"l1234")) == "E134"
    assert sorted(os.listdir(tmp_path)) == ["1", "file", "l"]


def test_a_list_may_be_divided_onto_itself(tmp_path, verb):
    write(tmp_path / "l", *"abc")
    assert verb("split_scp.pl", "l", "l", "m").returncode == 0
    assert ((tmp_path / "l").read_text(), (tmp_path / "m").read_text()) == ("a\nb\n", "c\n")


@pytest.mark.parametrize(
    ("words", "stdin", "code", "message"),
    [
        (["split_scp.pl"], "", "E131", "nothing was given"),
        (["split_scp.pl", "l"], "", "E131", "0 outputs were given"),
        (["split_scp.pl", "-j", "2", "x", "l"], "", "E131", "a value of -j is a whole number"),
        (["split_scp.pl", "-j", "2"], "", "E131", "option -j requires 2 values"),
        (["split_scp.pl", "-j", "2", "0", "l", "a", "b"], "", "E131", "2 outputs"),
        (["split_scp.pl", "--utt2spc=l", "l", "a"], "", "E131", "did you mean --utt2spk?"),
        (["split_scp.pl", "--one-based=yes", "l", "a"], "", "E131", "--one-based takes no value"),
        (["split_scp.pl", "l", *"1234567"], "", "E134", "use --nj 3 or less"),
        (["split_scp.pl", "-", "a"], "", "E134", "standard input: has 0 lines"),
        (["filter_scp.pl", "-", "-"], "", "E131", "standard input"),
        (["filter_scp.pl", "."], "", "E133", "Is a directory"),
        (["filter_scp.pl", "-f", "2", "l"], "a b\nc\n", "E132", "standard input:2: has 1 fields"),
        (["filter_scp.pl", "-f"], "", "E131", "option -f requires a value"),
        (["apply_map.pl", "l"], "a\nzz\n", "E135", "standard input:2: zz is not in l"),
        (["apply_map.pl", "-f", "2-1", "l"], "", "E131", "names no field"),
        (["utt2spk_to_spk2utt.pl"], "a b c\n", "E132", "standard input:1: has 3 fields"),
        (["spk2utt_to_utt2spk.pl", "l"], "", "E132", "l:1: has 1 fields"),
    ],
)
def test_mistakes(tmp_path, verb, refused, words, stdin, code, message):
    write(tmp_path / "l", *"abc")
    result = verb(*words, stdin=stdin)
    assert refused(result) == code
    assert message in result.stderr and result.stderr.startswith(f"{words[0]}: {code} ")
    assert os.listdir(tmp_path) == ["l"]


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
def test_bytes_pass_through_in_every_locale(tmp_path, verb, locale):
    content = "été x\nÄ\u00a0b y\n".encode() + b"\xff\xfe z\n"
    (tmp_path / "l").write_bytes(content)
    result = verb("filter_scp.pl", "l", "l", stdin=b"", LC_ALL=locale)
    assert (result.returncode, result.stdout) == (0, content)
    result = verb("apply_map.pl", "l", stdin=b"absent\n", LC_ALL=locale)
    assert result.returncode == 1 and b"E135 standard input:1: absent is not in l" in result.stderr
    result = verb("apply_map.pl", "l", stdin="né\n".encode(), LC_ALL=locale)
    assert "né is not in l".encode() in result.stderr


SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=9)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(SIZES, st.integers(1, 9))
def test_parts_by_speaker_are_the_most_equal_there_are(sizes, num_parts):
    lines = [f"{s}-{i}".encode() for s, size in enumerate(sizes) for i in range(size)]
    groups = {line: line.split(b"-")[0] for line in lines}
    if num_parts > len(sizes):
        with pytest.raises(ListError, match="E134"):
            lists.divide_by_group(lines, groups, num_parts, "l")
        return
    parts = lists.divide_by_group(lines, groups, num_parts, "l")
    assert [line for part in parts for line in part] == lines
    owners = [{groups[line] for line in part} for part in parts]
    assert all(owners) and sum(map(len, owners)) == len(sizes)
    assert sum(len(part) ** 2 for part in parts) == least(tuple(sizes), num_parts)


def least(sizes, num_parts):
    """The least sum of squares, by trying every place for the first cut."""
    if num_parts == 1:
        return sum(sizes) ** 2
    cuts = range(1, len(sizes) - num_parts + 2)
    return min(sum(sizes[:cut]) ** 2 + least(sizes[cut:], num_parts - 1) for cut in cuts)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=5).filter(lambda b: b"\n" not in b), max_size=30), st.integers(1, 12))
def test_parts_are_runs_of_equal_length(lines, num_parts):
    if num_parts > len(lines):
        with pytest.raises(ListError, match="E134"):
            lists.divide(lines, num_parts, "l")
        return
    parts = lists.divide(lines, num_parts, "l")
    assert [line for part in parts for line in part] == lines
    assert [len(part) for part in parts] == sorted((len(part) for part in parts), reverse=True)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_many_speakers_take_seconds():
    sizes = [1 + (i * 7919) % 300 for i in range(2338)]
    began = time.perf_counter()
    parts = lists._balance(sizes, 32)
    assert time.perf_counter() - began < 3
    assert sum(parts) == sum(sizes) and max(parts) - min(parts) < 700


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
@pytest.mark.parametrize("mask", [0o077, 0o022])
def test_paths_with_blanks(tmp_path, verb, locale, mask):
    work = tmp_path / "a b, [1]:é"
    work.mkdir()
    write(work / "utt2 spk", *(f"ü{i} s" for i in range(4)))
    (work / "utils").symlink_to(ROOT / "utils")
    before = os.umask(mask)
    try:
        for words, stdout in (
            (["split_scp.pl", "utt2 spk", "out 1", "new é/2"], ""),
            (["filter_scp.pl", "out 1", "utt2 spk"], "ü0 s\nü1 s\n"),
            (["apply_map.pl", "-f", "1", "utt2 spk", "new é/2", "mapped"], ""),
            (["utt2spk_to_spk2utt.pl", "out 1"], "s ü0 ü1\n"),
            (["spk2utt_to_utt2spk.pl", "out 1"], "s ü0\ns ü1\n"),
        ):
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            result = subprocess.run(
                [f"utils/{words[0]}", *words[1:]],
                cwd=work,
                capture_output=True,
                env={**os.environ, "LC_ALL": locale, "PATH": path},
            )
            assert (result.returncode, result.stdout.decode(), result.stderr) == (0, stdout, b"")
    finally:
        os.umask(before)
    assert (work / "new é/2").read_text() == "ü2 s\nü3 s\n" and (work / "mapped").read_text() == "s s\ns s\n"
    assert (work / "out 1").stat().st_mode & 0o777 == 0o666 & ~mask
