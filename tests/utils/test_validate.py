"""utils/validate_data_dir.sh: what it finds, in which words, and what its options change."""

import os

import numpy as np
import pytest
from places import ERROR

from codecsep.data import audio
from codecsep.data.datadir import read_table, write_table


def lines(result):
    """The problems: every line has a code and a fix."""
    assert result.returncode == 1 and result.stdout == ""
    found = result.stderr.splitlines()
    assert all(ERROR.fullmatch(line) for line in found), result.stderr
    return found


def test_a_good_directory(verb, make_dir):
    make_dir("d")
    make_dir("e", speakers=3)
    result = verb("validate_data_dir.sh", "d", "e")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "d: 4 utterances, 2 speaker(s) each: valid\ne: 4 utterances, 3 speaker(s) each: valid\n"
    every = ["--no-feats", "--no-text", "--no-wav", "--no-spk-sort", "--non-print", "--check-audio", "2"]
    assert verb("validate_data_dir.sh", *every, "d").returncode == 0


ID_FAULTS = ["a b", "a\u00a0b", "a/b", "..", "a..b", "a;b", "$(id)", "a|b", "-a", ".a", "x" * 201]
TABLES = {  # change of a table -> code and a part of the message
    "double id": ("wav.scp", lambda t: t + t.splitlines()[-1] + "\n", "E101", "is there twice, first in d/wav.scp:4"),
    "double text": ("text_spk1", lambda t: t + "ä1-003 x\n", "E101", "first in d/text_spk1:4"),
    "double utt2spk": ("utt2spk", lambda t: t + "ä1-003 ä1\n", "E101", "d/utt2spk:5"),
    "unsorted": ("spk1.scp", lambda t: "\n".join(reversed(t.splitlines())) + "\n", "E102", "LC_ALL=C sort"),
    "sorted elsewhere": ("text_spk1", lambda t: "a_1 x\nA1 x\nb10 x\n", "E102", "'A1' stands after 'a_1'"),
    "lacks ids": ("spk2.scp", lambda t: "".join(t.splitlines(keepends=True)[1:]), "E103", "1 of 4 ids of wav.scp are"),
    "other ids": ("text_spk2", lambda t: t + "ä9 x\n", "E103", "1 of 5 ids are not in wav.scp, first ['ä9']"),
    "empty": ("spk1.scp", lambda t: "", "E105", "is empty"),
    "cut": ("spk1.scp", lambda t: t[:-1], "E105", "the last line has no end"),
    "blank line": ("spk1.scp", lambda t: t + "\n", "E105", "blank line"),
    "home directory": ("spk1.scp", lambda t: t.replace("audio", "~/audio", 1), "E105", "~ is not expanded"),
    "tab": ("spk1.scp", lambda t: t.replace(" ", "\t", 1), "E105", "a tab"),
    "no value": ("spk1.scp", lambda t: t.replace(t.splitlines()[0], "ä0-000"), "E105", "has no value"),
    "two speakers": ("utt2spk", lambda t: t.replace("ä0-000 ä0", "ä0-000 ä0 x"), "E107", "does not agree with utt2spk"),
    "no words": ("text_spk1", lambda t: t.replace("слово 0 été", ""), "E141", "1 transcripts are empty"),
    "sentence mark": ("text_spk1", lambda t: t.replace("слово 0", "<s> </s> #0"), "E105", "holds #0, </s>, <s>"),
    "not printable": ("text_spk1", lambda t: t.replace("слово 0", "a\u200bb"), "E105", "U+200B"),
    "negative length": ("utt2num_samples", lambda t: t.replace(" 800", " -800"), "E105", "a number above 0"),
    "no length": ("utt2num_samples", lambda t: t.replace(" 800", " 0"), "E105", "a number above 0"),
    "wrong length": ("utt2num_samples", lambda t: t.replace(" 800", " 801"), "E202", "utt2num_samples says 801"),
}


@pytest.mark.parametrize(("name", "change", "code", "message"), TABLES.values(), ids=TABLES)
def test_lists(verb, make_dir, name, change, code, message):
    folder = make_dir("d")
    (folder / name).write_text(change((folder / name).read_text()))
    found = lines(verb("validate_data_dir.sh", "d"))
    assert any(line.startswith(code) and message in line for line in found), found


@pytest.mark.parametrize("bad", ID_FAULTS)
def test_row_g7_ids_that_are_not_allowed(verb, make_dir, tmp_path, bad):
    folder = make_dir("d")
    for name in ("wav.scp", "utt2spk"):
        (folder / name).write_text((folder / name).read_text().replace("ä0-000", bad, 1))
    before = sorted(path.name for path in tmp_path.iterdir())
    found = lines(verb("validate_data_dir.sh", "d"))
    assert any(line.startswith("E104 d/wav.scp:1: ") or "spk2utt" in line or "E103" in line for line in found), found
    verbs = [["copy_data_dir.sh", "d", "o"], ["split_data.sh", "d", "2"]]
    if bad != "a b":  # that is the id "a", which fix_data_dir.sh would drop
        assert found[0].startswith("E104 d/wav.scp:1: ") and "an id is" in found[0]
        verbs.append(["fix_data_dir.sh", "--force", "d"])
    for words in verbs:
        assert verb(*words).returncode == 1, words
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_row_g7_bytes_that_are_not_utf8(verb, make_dir):
    folder = make_dir("d")
    (folder / "wav.scp").write_bytes(b"a\xff x\n")
    assert lines(verb("validate_data_dir.sh", "d"))[0].startswith("E105 d/wav.scp: is not UTF-8 (byte 1)")


def test_row_g9_files_that_cannot_be_read_are_named_in_one_go(verb, make_dir, tmp_path):
    folder = make_dir("d", ids=30)
    table = read_table(folder / "spk2.scp")
    for path in list(table.values())[:25]:
        (tmp_path / path).unlink()
    first, *others = table.items()
    (tmp_path / first[1]).mkdir()
    gone = list(read_table(folder / "wav.scp").values())[7]
    (tmp_path / gone).unlink()
    found = lines(verb("validate_data_dir.sh", "d"))
    assert [line.split(":")[0] for line in found] == ["E110 d/spk2.scp", "E110 d/wav.scp"]
    assert "25 of 30 files cannot be read" in found[0] and found[0].count("(no such file)") == 19
    assert f"{first[0]} {first[1]} (not a file)" in found[0] and "1 of 30" in found[1] and gone in found[1]
    if os.geteuid() != 0:
        (tmp_path / others[-1][1]).chmod(0)
        assert "no permission" in lines(verb("validate_data_dir.sh", "d"))[0]


def test_commands_in_lists_are_not_run(verb, make_dir, tmp_path):
    folder = make_dir("d")
    table = read_table(folder / "wav.scp")
    write_table(folder / "wav.scp", {**table, "ä0-000": "touch canary |"})
    assert "E110" in lines(verb("validate_data_dir.sh", "d"))[0]
    assert verb("perturb_data_dir_speed.sh", "0.9", "d", "o").returncode == 1
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(("damage", "code"), [("rate", "E142"), ("silent", "E143"), ("louder", "E143"), ("cut", "E2")])
def test_audio(verb, make_dir, tmp_path, damage, code):
    folder = make_dir("d")
    path = tmp_path / read_table(folder / "spk1.scp")["ä1-001"]
    samples, rate = audio.read_audio(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        changed = {"rate": (samples, 16000), "silent": (np.zeros_like(samples), rate), "louder": (samples * 1.01, rate)}
        audio.write_audio(path, *changed[damage])
    found = lines(verb("validate_data_dir.sh", "d"))
    assert all(line.startswith(code) for line in found) and any("ä1-001" in line for line in found)
    assert verb("validate_data_dir.sh", "--check-audio", "0", "d").returncode == 0
    assert verb("validate_data_dir.sh", "--no-wav", "d").returncode == 0
    if damage == "louder":
        assert verb("validate_data_dir.sh", "--tolerance", "0.1", "d").returncode == 0
        assert verb("validate_data_dir.sh", "--sums", "0", "d").returncode == 0


def test_check_audio_opens_so_many(verb, make_dir, tmp_path):
    folder = make_dir("d", ids=12)
    for path in read_table(folder / "spk1.scp").values():
        (tmp_path / path).unlink()
    for count in (1, 5, 12, 99):
        found = lines(verb("validate_data_dir.sh", "--check-audio", str(count), "d"))
        assert f"{min(count, 12)} of {min(count, 12)} files cannot be read" in found[0]


def test_text_and_audio_need_not_be_there(verb, make_dir):
    folder = make_dir("d")
    (folder / "text_spk1").unlink()
    assert lines(verb("validate_data_dir.sh", "d"))[0].startswith("E106 d/text_spk1: missing")
    assert verb("validate_data_dir.sh", "--no-text", "d").returncode == 0
    for name in ("wav.scp", "spk1.scp", "spk2.scp"):
        (folder / name).unlink()
    assert lines(verb("validate_data_dir.sh", "--no-text", "d"))[0].startswith("E106")
    assert verb("validate_data_dir.sh", "--no-text", "--no-wav", "d").returncode == 0


def test_order_of_speakers_and_what_cannot_be_printed(verb, make_dir):
    folder = make_dir("d")
    (folder / "utt2spk").write_text("ä0-000 b\nä0-002 a\nä1-001 a\nä1-003 a\n")
    (folder / "spk2utt").write_text("a ä0-002 ä1-001 ä1-003\nb ä0-000\n")
    text = (folder / "text_spk1").read_text()
    (folder / "text_spk1").write_text(text.replace("слово 0", "a\u200bb"))
    found = lines(verb("validate_data_dir.sh", "d"))
    assert [line[:4] for line in found] == ["E102", "E105"]
    assert [line[:4] for line in lines(verb("validate_data_dir.sh", "--no-spk-sort", "d"))] == ["E105"]
    assert [line[:4] for line in lines(verb("validate_data_dir.sh", "--non_print", "d"))] == ["E102"]
    assert verb("validate_data_dir.sh", "--no_spk_sort", "--non-print", "d").returncode == 0


SEGMENTS = {
    "good": ("0 0.05", None),
    "to the end": ("0.05 -1", None),
    "backwards": ("0.05 0.01", "E105"),
    "one number": ("0.05", "E105"),
    "no number": ("a b", "E105"),
    "negative": ("-2 3", "E105"),
}


@pytest.mark.parametrize(("times", "code"), SEGMENTS.values(), ids=SEGMENTS)
def test_segments(verb, make_dir, times, code):
    folder = make_dir("d")
    ids = list(read_table(folder / "utt2spk"))
    for name in ("utt2num_samples", "sot_order"):
        (folder / name).unlink()
    for name in ("wav.scp", "spk1.scp", "spk2.scp"):
        (folder / name).write_text((folder / name).read_text().replace("ä", "rec-ä", 4).replace("/rec-ä", "/ä"))
        write_table(folder / name, {f"rec-{k.removeprefix('rec-')}": v for k, v in read_table(folder / name).items()})
    write_table(folder / "segments", {key: f"rec-{key} {times}" for key in ids})
    result = verb("validate_data_dir.sh", "--with-segments", "--no-text", "d")
    if code:
        assert all(line.startswith(code) for line in lines(result)[:4])
        return
    assert result.returncode == 0, result.stderr
    assert lines(verb("validate_data_dir.sh", "--no-text", "d"))[0].startswith("E140 d/segments")
    (folder / "wav.scp").write_text("".join((folder / "wav.scp").read_text().splitlines(keepends=True)[1:]))
    assert lines(verb("validate_data_dir.sh", "--with-segments", "--no-text", "d"))[0].startswith("E103 d/wav.scp")


@pytest.mark.parametrize(
    "words", [["--sums", "x", "d"], ["--tolerance", "-1", "d"], ["--check-audio", "-1", "d"], ["--bad", "d"], []]
)
def test_wrong_usage(verb, refused, make_dir, words):
    make_dir("d")
    assert refused(verb("validate_data_dir.sh", *words)) == "E131"


def test_no_directory(verb, refused):
    assert refused(verb("validate_data_dir.sh", "nowhere")) == "E106"
