"""Data directories as sets of lists: what a list is keyed by, and mending whatever it holds."""

import string
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecsep.data import datadir_edit, list_checks, list_dir
from codecsep.data.datadir import DataDirError, read_table, write_table
from codecsep.data.datadir_edit import EditError


def make(path, **tables):
    """A directory of these lists; a dot in a name is written as two underscores."""
    path.mkdir(parents=True, exist_ok=True)
    for name, text in tables.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


UTT2SPK = "a-1 a\na-2 a\nb-1 b\n"


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("wav.scp", "a-1 x\n", "utterances"),
        ("spk2.scp", "a-1 x\n", "utterances"),
        ("spk12.scp", "a-1 x\n", "utterances"),
        ("enroll_spk1.scp", "a-1 x\n", "utterances"),
        ("feats.scp", "a-1 x\n", "utterances"),
        ("text_spk2", "a-1\n", "utterances"),
        ("sot_order", "a-1 1 2\n", "utterances"),
        ("reco2dur", "a-1 1\n", "utterances"),
        ("spk2gender", "a f\n", "speakers"),
        ("cmvn.scp", "a x\n", "speakers"),
        ("rooms", "a-1 x\na-2 y\nzz q\n", "utterances"),
        ("ages", "a 30\nb 40\n", "speakers"),
        ("notes", "a long story\nabout nothing\n", "others"),
        ("options.json", "{\n}\n", "others"),
        ("empty", "", "others"),
    ],
)
def test_what_a_list_is_keyed_by(tmp_path, name, text, kind):
    folder = make(tmp_path / "d", utt2spk=UTT2SPK)
    (folder / name).write_text(text)
    data = list_dir.read(folder, list_dir.strictly)
    places = {k: name in getattr(data, k) for k in ("utterances", "speakers", "recordings", "others")}
    assert [k for k, is_there in places.items() if is_there] == [kind]
    assert (name in data.required) == (kind == "utterances" and name != "rooms")


def test_recordings_where_there_are_segments(tmp_path):
    segments = "a-1 r1 0 1\na-2 r1 1 2\nb-1 r2 0 -1\n"
    folder = make(tmp_path / "d", utt2spk=UTT2SPK, segments=segments, wav__scp="r1 x\nr2 y\nr3 z\n", reco2dur="r1 2\n")
    data = list_dir.read(folder, list_dir.strictly)
    assert sorted(data.recordings) == ["reco2dur", "wav.scp"] and "segments" in data.required
    list_dir.check_ids(data)
    assert datadir_edit.subset(data, ["a-2"]).recordings == {"wav.scp": {"r1": "x"}, "reco2dur": {"r1": "2"}}
    make(folder, wav__scp="r2 y\n")
    mended, lost = datadir_edit.mend(list_dir.read(folder, list_dir.strictly))
    assert list(mended.utt2spk) == ["b-1"] and lost.lacking["wav.scp"] == ["a-1", "a-2"]


@pytest.mark.parametrize("value", ["", "r", "r 1", "r 1 2 3", "r 2 1", "r 1 1", "r -1 1", "r x 1", "r 0 nan", "r 0 -2"])
def test_lines_that_are_no_segments(tmp_path, value):
    with pytest.raises(DataDirError, match="E105"):
        list_dir.segment(value, tmp_path / "segments", "a-1")


def test_ids_that_differ_are_counted_and_named(tmp_path):
    folder = make(tmp_path / "d", utt2spk=UTT2SPK, text_spk1="a-1 x\nc-1 y\n")
    with pytest.raises(DataDirError, match=r"E103 .*text_spk1: lacks 2 \(a-2, b-1\) of utt2spk and has 1 \(c-1\) more"):
        list_dir.check_ids(list_dir.read(folder, list_dir.strictly))


WORDS = st.text(alphabet=string.ascii_letters + "äж-_ \t\n/;$.~", max_size=30)
LINES = st.lists(st.tuples(st.sampled_from(["a-1", "a-2", "b-1", "c 1", "zz", "", "é"]), WORDS), max_size=8)
ANY_BYTES = st.binary(max_size=60)


def test_a_home_directory_cannot_be_mended(tmp_path):
    folder = make(tmp_path / "d", utt2spk=UTT2SPK, wav__scp="a-1 x\na-2 ~/y\n")
    with pytest.raises(DataDirError, match="E105 .*wav.scp:2: '~/y' is not a path"):
        list_dir.read(folder, partial(list_dir.loosely, notes=[]))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(LINES, LINES, LINES, ANY_BYTES, st.sampled_from(["utt2spk", "wav.scp", "spk2.scp", "rooms", "none"]))
def test_mending_ends_in_an_error_or_a_valid_directory(tmp_path_factory, one, two, three, raw, damaged):
    folder = tmp_path_factory.mktemp("d")
    for name, lines in (("utt2spk", one), ("wav.scp", two), ("spk2.scp", three)):
        (folder / name).write_text("".join(f"{key} {value}\n" for key, value in lines))
    (folder / damaged).write_bytes(raw)
    try:
        data = list_dir.read(folder, partial(list_dir.loosely, notes=[]))
        mended, lost = datadir_edit.mend(data)
        mended.write(folder / "out")
    except (DataDirError, EditError):
        return
    again = list_dir.read(folder / "out", list_dir.strictly)
    list_dir.check_ids(again)
    assert again.tables == {name: table for name, table in mended.tables.items() if table}
    assert lost.kept == len(again.utt2spk) > 0
    assert datadir_edit.mend(again)[1].lines() == []


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 200), st.data())
def test_spread_takes_so_many_in_order(size, data):
    items = [str(number) for number in range(size)]
    count = data.draw(st.integers(0, size))
    chosen = datadir_edit.spread(items, count)
    assert len(set(chosen)) == count and chosen == sorted(chosen, key=int)
    if count:  # no gap is more than twice a fair one
        gaps = [int(b) - int(a) for a, b in zip(["-1", *chosen], chosen, strict=False)]
        assert max(gaps) <= 2 * -(-size // count)


def test_speakers_of_a_subset_do_not_depend_on_each_other():
    utt2spk = {f"{speaker}-{i}": speaker for speaker in "abcdef" for i in range(3)}
    three = datadir_edit.of_enough_speakers(utt2spk, 9)
    assert len(three) == 9 and set(datadir_edit.of_enough_speakers(utt2spk, 6)) < set(three)


def test_combining_refuses_two_meanings(tmp_path):
    first = list_dir.read(make(tmp_path / "x", utt2spk=UTT2SPK, text=UTT2SPK), list_dir.strictly)
    other = make(tmp_path / "y", utt2spk="a-1 a\nz-1 z\n", text="a-1 other\nz-1 z\n")
    with pytest.raises(EditError, match=r"E138 .*y/text: a-1 is 'other' here and 'a' in a directory before"):
        datadir_edit.combine([first, list_dir.read(other, list_dir.strictly)])


@pytest.mark.parametrize(
    ("name", "value", "is_good"),
    [
        ("utt2dur", "0.5", True),
        ("utt2dur", "12", True),
        ("utt2dur", "0", False),
        ("utt2dur", "-1", False),
        ("utt2dur", "nan", False),
        ("utt2dur", "1e3", False),
        ("utt2num_frames", "3", True),
        ("utt2num_frames", "3.0", False),
        ("utt2num_samples", "0", False),
    ],
)
def test_numbers_above_zero(tmp_path, name, value, is_good):
    folder = make(tmp_path / "d", utt2spk="a-1 a\n")
    write_table(folder / name, {"a-1": value})
    found = list_checks.problems(list_dir.read(folder, list_dir.strictly))
    assert [error.code for error in found] == ([] if is_good else ["E105"])
    assert read_table(folder / name) == {"a-1": value}
