"""X1, A7: commands in lists, names of lists that are commands, records that are code, ids that are paths."""

import io
import os

import numpy as np
import pytest

from codecsep.data import audio, check, datadir
from codecsep.data.ark import TokenReader, TokenWriter
from codecsep.data.datadir import DataDir
from codecsep.data.sources import SourceAudio
from codecsep.errors import CodecsepError

PIPES = ["touch {} |", "|touch {}", "cat x.wav | tee {} |", "touch {}|", "sox x.wav -t wav - | tee {}|"]
IDS = [
    "../../{}",
    "/{}",
    "a/../../b",
    "$(touch${{IFS}}{})",
    "`touch${{IFS}}{}`",
    "a;touch${{IFS}}{}",
    "a|b",
    "a&b",
    "-rf",
]
IDS += ["a\x1b[2J", "a\u202eb", "a\u00a0b", "a\x00b", "~root/../x\\", "a'b", 'a"b', "*", "?", "a>b", "<script>"]


@pytest.mark.parametrize("pipe", PIPES)
def test_commands_in_wav_scp(tmp_path, canary, pipe):
    value = pipe.format(canary)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "wav.scp").write_text(f"a {value}\n")
    (tmp_path / "set" / "utt2num_samples").write_text("a 16000\n")
    directory = DataDir(tmp_path / "set")
    with pytest.raises(CodecsepError, match="^E110 .*command"):
        SourceAudio(directory.path)
    for read in (audio.read_audio, audio.num_samples, audio.sample_rate):
        with pytest.raises(CodecsepError, match="^E(701|110) "):
            read(directory.table("wav.scp")["a"])
    assert check.problems(directory)


@pytest.mark.parametrize("pipe", PIPES)
@pytest.mark.parametrize("offset", ["", ":0", ":2"])
def test_commands_in_token_lists(tmp_path, canary, pipe, offset):
    value = pipe.format(canary).replace(" ", "${IFS}") + offset
    (tmp_path / "a.scp").write_text(f"a {value}\n")
    with pytest.raises(CodecsepError, match="^E306 .*commands are not run"):
        TokenReader.foreign(tmp_path / "a.scp")["a"]


@pytest.mark.parametrize("pipe", PIPES)
def test_names_of_lists_that_are_commands(canary, pipe):
    name = pipe.format(canary)
    for read in (TokenReader, TokenReader.foreign, TokenWriter):
        with pytest.raises(CodecsepError, match="^E306 "):
            read(name)
    with pytest.raises(CodecsepError, match="^E106 "):
        datadir.read_table(name)


def test_a_segments_file_is_never_followed(tmp_path, canary):
    """Recordings with segments are no data directory of ours: nothing in it is run, ids do not fit."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "wav.scp").write_text(f"rec touch {canary} |\n")
    (tmp_path / "set" / "segments").write_text("a rec 0.0 1.0\n")
    (tmp_path / "set" / "utt2spk").write_text("a a\n")
    found = DataDir(tmp_path / "set").problems()
    assert any(line.startswith("E103 ") for line in found)


def records(bomb: bytes) -> dict[str, bytes]:
    stream = io.BytesIO()
    np.save(stream, np.array([[1, 2]], np.int16))
    objects = io.BytesIO()
    np.save(objects, np.array([b"x", 1], dtype=object), allow_pickle=True)
    return {
        "pickle": b"PKL" + bomb,
        "pickle, binary mark": b"\0BPKL" + bomb,
        "numpy": b"NPY" + stream.getvalue(),
        "numpy objects": b"\0BNP" + objects.getvalue()[:-20] + bomb,
        "text": b" [\n 1 2 3\n 4 5 6 ]\n" + bytes(40),
        "text that kaldiio reads for ever": b"0\n`" + bytes(40),
        "compressed": b"\0BCM " + bytes(60),
        "compressed 2": b"\0BCM2 " + bytes(60),
        "float64": b"\0BDM \4\1\0\0\0\4\1\0\0\0" + bytes(60),
        "float vector": b"\0BFV \4\2\0\0\0" + bytes(60),
        "int32 vector": b"\0B\4\2\0\0\0\4\1\0\0\0\4\1\0\0\0" + bytes(60),
        "gzip": b"\x1f\x8b\x08" + bytes(60),
        "pipe": b"| touch {} " + bytes(60),
    }


KINDS = list(records(b""))


@pytest.mark.parametrize("kind", KINDS)
def test_records_that_are_not_read(tmp_path, bomb, kind):
    (tmp_path / "a.ark").write_bytes(b"a " + records(bomb)[kind])
    (tmp_path / "a.scp").write_text(f"a {tmp_path}/a.ark:2\n")
    with pytest.raises(CodecsepError, match="^E306 .*only float32 matrices are read"):
        TokenReader.foreign(tmp_path / "a.scp")["a"]


@pytest.mark.parametrize("form", IDS)
def test_ids_that_are_paths_or_commands(tmp_path, canary, form):
    key = form.format(canary)
    with pytest.raises(CodecsepError, match="^E10[45] ") as caught:
        datadir.write_table(tmp_path / "t", {key: "x"})
    assert str(caught.value).isprintable()
    (tmp_path / "t").write_text(f"{key} x\n")
    with pytest.raises(CodecsepError, match="^E10[45] ") as caught:
        datadir.read_table(tmp_path / "t")
    assert str(caught.value).isprintable(), "what stands in a file must not reach the terminal as it is"


def test_devices_and_pipes_of_the_system(tmp_path, canary):
    os.mkfifo(tmp_path / "fifo")
    for path in ("/dev/zero", "/dev/stdin", str(tmp_path / "fifo"), "/proc/self/mem"):
        with pytest.raises(CodecsepError, match="^E(110|201|903) "):
            audio.read_audio(path)
        (tmp_path / "a.scp").write_text(f"a {path}:2\n")
        with pytest.raises((CodecsepError, OSError)):
            TokenReader.foreign(tmp_path / "a.scp")["a"]
    with pytest.raises(CodecsepError, match="^E106 "):
        datadir.read_table(tmp_path / "fifo")
