"""Lists: what is refused in a CSV, what is missing in a tree, and lists made of what is there."""

import csv
import shutil
import sys

import numpy as np
import pytest
from made_up_librimix import RATE, header, lines_of, recording

from codecsep.data import audio, mixing
from codecsep.errors import CodecsepError


@pytest.fixture
def read(librimix, tmp_path):
    """Writes cells into a list and reads it."""

    def write_and_read(lines, head=None, needs_noise=True):
        path = tmp_path / "libri2mix_x.csv"
        with open(path, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([head or header(2), *lines])
        return librimix["mixture_lists"].read(path, 2, needs_noise)

    return write_and_read


def line(**changed):
    cells = dict(zip(header(2), next(lines_of("test-clean", 2)), strict=True))
    return list((cells | changed).values())


def test_a_good_list(read, librimix, tmp_path):
    rows = read([line()])
    assert rows[0].sources[0] == "test-clean/31/7/31-7-0000.flac" and rows[0].gains == (
        0.4377082537050251,
        0.21885412685251254,
    )
    assert (rows[0].noise, rows[0].noise_gain) == ("tt/n0_-0.5.wav", 0.29125726271924763)
    assert read([line(noise_path="", noise_gain="")], needs_noise=False)[0].noise == ""
    librimix["mixture_lists"].write(tmp_path / "again.csv", rows, 2)
    assert librimix["mixture_lists"].read(tmp_path / "again.csv", 2, True) == rows


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"source_1_path": "../../etc/passwd.flac"}, "E105 .*csv:2: source_1_path is .*without '..'"),
        ({"source_2_path": "/etc/passwd"}, "E105 .*csv:2: source_2_path"),
        ({"noise_path": "tr/../../x.wav"}, "E105 .*csv:2: noise_path"),
        ({"noise_path": ""}, "E105 .*csv:2: noise_path"),
        ({"source_1_path": "a\x1b[2Jb.flac"}, "E105 .*source_1_path"),
        ({"source_1_gain": "nan"}, "E105 .*source_1_gain is 'nan'; a number above 0"),
        ({"source_2_gain": "inf"}, "E105 .*source_2_gain is 'inf'"),
        ({"source_2_gain": "-1"}, "E105 .*source_2_gain"),
        ({"noise_gain": "0.3.1"}, "E105 .*noise_gain is '0.3.1'"),
        ({"mixture_ID": "../x"}, "E104 .*id '../x' is not allowed"),
        ({"mixture_ID": "a/b"}, "E104 .*id 'a/b' is not allowed"),
    ],
)
def test_hostile_lines_are_refused(read, changed, message):
    with pytest.raises(CodecsepError, match=message):
        read([line(**changed)])


def test_hostile_files_are_refused(read, librimix, tmp_path):
    for lines, head, message in [
        ([line(), line()], None, "E101 .*csv:3: .* is there twice"),
        ([line()[:-1]], None, "E105 .*too many or too few fields"),
        ([[*line(), "x"]], None, "E105 .*too many or too few fields"),
        (
            [[*line(), "x"]],
            [*header(2), "speed"],
            r"E105 .*missing or too many: \['speed'\] \(fix: is --num_spk 2 right",
        ),
        ([], header(3), "E105 .*source_3_gain"),
        ([], None, "E105 .*holds no mixtures"),
    ]:
        with pytest.raises(CodecsepError, match=message):
            read(lines, head)
    (tmp_path / "bytes.csv").write_bytes(b"mixture_ID,\xff\xfe\n")
    with pytest.raises(CodecsepError, match="E105 .*is no CSV in UTF-8"):
        librimix["mixture_lists"].read(tmp_path / "bytes.csv", 2, True)
    with pytest.raises(CodecsepError, match="E126 .*no such list"):
        librimix["mixture_lists"].read(tmp_path / "none.csv", 2, True)


def test_what_is_missing_is_counted_and_listed(librimix, corpus, tmp_path):
    tree, listed = tmp_path / "Libri Speech", tmp_path / "out" / "missing.txt"
    shutil.copytree(corpus / "LibriSpeech", tree)
    names = [str(path.relative_to(tree)) for path in tree.rglob("*.flac")]
    require = librimix["speech_tree"].require
    require(tree, names, "--librispeech", listed)
    gone = sorted(names)[::3]
    for name in gone[1:]:
        (tree / name).unlink()
    (tree / gone[0]).write_bytes(b"")
    with pytest.raises(CodecsepError) as caught:
        require(tree, names, "--librispeech", listed)
    assert caught.value.code == "E126" and caught.value.what.startswith(f"{len(gone)} of {len(names)} files")
    assert all(name in caught.value.what for name in gone[:5]) and gone[5] not in caught.value.what
    assert listed.read_text().splitlines() == gone and str(listed) in caught.value.fix
    with pytest.raises(CodecsepError, match="E126 .*no such directory"):
        require(tmp_path / "none", names, "--librispeech", listed)


@pytest.fixture
def flat(tmp_path):
    """A folder with one utterance each of 12 speakers, as a part of LibriSpeech may come."""
    import soundfile

    folder = tmp_path / "a part of it"
    folder.mkdir()
    for number in range(12):
        soundfile.write(folder / f"{100 + number}-3-0000.flac", recording(number, 0.9 + 0.05 * number), RATE)
    return folder


def test_made_lists_follow_the_rules(librimix, flat, tmp_path, monkeypatch):
    lists, make = librimix["mixture_lists"], librimix["make_lists"]
    words = ["--librispeech", flat, "--lists", tmp_path / "lists", "--min-seconds", "0.95", "--num-train", "40"]
    words += ["--num-dev", "5", "--num-test", "1"]
    monkeypatch.setattr(sys, "argv", ["make_lists.py", *map(str, words)])
    assert make.main() == 0
    files = {name: lists.file_of(tmp_path / "lists", 2, name) for name in ("train", "dev", "test")}
    rows = {name: lists.read(path, 2, False) for name, path in files.items()}
    assert files["dev"].read_text().splitlines()[0] == ",".join(header(2))
    speakers = {name: {path.partition("-")[0] for row in part for path in row.sources} for name, part in rows.items()}
    assert len(set.union(*speakers.values())) == sum(map(len, speakers.values())) == 11, "100 is too short"
    assert len(rows["train"]) == 21 and len(rows["dev"]) == len(rows["test"]) == 1, (
        "7 and 2 speakers have no more pairs"
    )
    assert len({frozenset(row.sources) for row in rows["train"]}) == 21
    for row in rows["train"]:
        sources = [audio.read_audio(flat / path)[0] for path in row.sources]
        padded = [np.pad(source, (0, max(map(len, sources)) - len(source))) for source in sources]
        scaled = [source * gain for source, gain in zip(padded, row.gains, strict=True)]
        peak = np.abs(sum(scaled)).max()
        levels = [mixing.loudness(source, RATE) for source in scaled]
        assert peak <= 0.9 + 1e-6 and max(levels) <= -25 + 1e-3 and (min(levels) >= -33 - 1e-3 or peak > 0.8999)
    before = {name: path.read_bytes() for name, path in files.items()}
    assert make.main() == 0 and {name: path.read_bytes() for name, path in files.items()} == before
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--seed", "5"])
    assert make.main() == 0 and all(
        path.read_bytes() != before[name] for name, path in files.items() if name == "train"
    )


def test_a_tree_with_all_parts_keeps_them_apart(librimix, corpus):
    tree, make = librimix["speech_tree"], librimix["make_lists"]
    sets = make.split(tree.files(corpus / "LibriSpeech"), 72)
    assert {name: {path.partition("-")[0] for path in paths} for name, paths in sets.items()} == {
        "train": {"train"}, "dev": {"dev"}, "test": {"test"}
    }  # fmt: skip


def test_one_speaker_makes_no_list(librimix, flat, tmp_path, monkeypatch, capsys):
    for path in list(flat.iterdir())[1:]:
        path.unlink()
    words = ["--librispeech", flat, "--lists", tmp_path / "lists", "--min-seconds", "0.1"]
    monkeypatch.setattr(sys, "argv", ["make_lists.py", *map(str, words)])
    assert librimix["make_lists"].main() == 2
    assert capsys.readouterr().err.startswith(f"lists: E108 {flat}: train: no 2 speakers among the 0 utterances")
