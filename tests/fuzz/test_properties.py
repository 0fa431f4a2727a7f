"""What must hold of files for any input: tables, arks, audio, archives, and what is said of them."""

import math
import struct
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tries import FEW, TRIES

from codecsep.data import audio, datadir
from codecsep.data.ark import ArkError, TokenReader, TokenWriter
from codecsep.data.datadir import DataDirError
from codecsep.data.unpack import ArchiveError, Limits, unpack
from codecsep.errors import CodecsepError

ids = st.from_regex(r"[\w+=@%,:#~][\w.+=@%,:#~-]{0,20}", fullmatch=True).filter(lambda key: ".." not in key)
values = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1).map(
    lambda t: t.strip()
)
tables = st.dictionaries(ids, values.filter(bool), min_size=1, max_size=8)


@TRIES
@given(tables)
def test_a_table_is_read_back(tmp_path, table):
    path = tmp_path / "text"
    datadir.write_table(path, table)
    assert datadir.read_table(path) == table
    assert list(datadir.read_table(path)) == sorted(table, key=str.encode)


@TRIES
@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_lines_changes_no_entry_and_is_noticed(tmp_path, table, order):
    lines = [f"{key} {value}\n" for key, value in table.items()]
    order.shuffle(lines)
    (tmp_path / "text").write_text("".join(lines), newline="")
    found = datadir.read_table(tmp_path / "text")
    assert found == table
    is_sorted = list(found) == sorted(found, key=str.encode)
    try:
        datadir.check_sorted(found, tmp_path / "text")
        assert is_sorted
    except DataDirError as error:
        assert error.code == "E102" and not is_sorted


@TRIES
@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode), st.from_regex(rb"(\w+ \w+\n)*")))
def test_any_bytes_are_a_table_or_an_error(tmp_path, content):
    path = tmp_path / "text"
    path.write_bytes(content)
    try:
        table = datadir.read_table(path, allow_empty=True)
    except DataDirError:
        return
    datadir.write_table(path, table)
    assert datadir.read_table(path, allow_empty=True) == table


@TRIES
@given(st.text(max_size=260))
def test_an_id_that_is_allowed_is_a_harmless_file_name(tmp_path, key):
    try:
        datadir.check_id(key, "here")
    except DataDirError as error:
        assert error.code == "E104" and str(error).isprintable()
        return
    path = tmp_path / key
    path.touch()
    assert path.parent.resolve() == tmp_path.resolve() and path.name == key and len(key.split()) == 1
    path.unlink()


matrices = st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**32 - 1))
contents = st.dictionaries(ids, matrices, min_size=1, max_size=4)


def made(content: dict) -> dict[str, np.ndarray]:
    return {key: np.random.default_rng(seed).integers(0, 1 << 24, (k, t)) for key, (k, t, seed) in content.items()}


def write(folder: Path, codes: dict[str, np.ndarray]) -> Path:
    with TokenWriter(folder / "a") as writer:
        for key, matrix in codes.items():
            writer.write(key, matrix)
    return folder / "a.scp"


@FEW
@given(contents)
def test_codes_are_read_back_by_us_and_by_kaldiio(tmp_path, content):
    codes = made(content)
    scp = write(tmp_path, codes)
    for reader in (TokenReader(scp), TokenReader.foreign(scp)):
        assert reader.keys() == codes.keys()
        assert all(np.array_equal(reader[key], codes[key]) for key in codes)
    kaldiio = pytest.importorskip("kaldiio")
    theirs = kaldiio.load_scp(str(scp))
    assert all(np.array_equal(theirs[key], codes[key].T) for key in codes)


@FEW
@given(contents, st.data())
def test_a_cut_or_flipped_ark_is_never_read_as_something_else(tmp_path, content, data):
    codes = made(content)
    scp = write(tmp_path, codes)
    path = data.draw(st.sampled_from([scp.with_suffix(".ark"), scp.with_suffix(".crc")]))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(data.draw(st.sampled_from([bytes(changed), whole[:place]])))
    faults = 0
    try:
        reader = TokenReader(scp)
        for key in codes:
            try:
                assert np.array_equal(reader[key], codes[key])
            except ArkError:
                faults += 1
    except ArkError:
        faults += 1
    assert faults


headers = st.fixed_dictionaries(
    {
        "kind": st.integers(0, 8),
        "channels": st.integers(0, 5),
        "rate": st.integers(0, 2**32 - 1) | st.sampled_from([8000, 16000]),
        "block": st.integers(0, 9),
        "bits": st.integers(0, 40),
        "length": st.integers(0, 80) | st.just(2**32 - 1),
    }
)


@TRIES
@given(headers, st.binary(max_size=64), st.sampled_from([b"RIFF", b"RIFX", b"RF64"]))
def test_any_riff_header_is_read_or_refused(tmp_path, header, content, magic):
    order = ">" if magic == b"RIFX" else "<"
    numbers = [header[name] for name in ("kind", "channels", "rate", "rate", "block", "bits")]
    layout = struct.pack(f"{order}4sIHHIIHH", b"fmt ", 16, *numbers)
    data = struct.pack(f"{order}4sI", b"data", header["length"]) + content
    raw = magic + struct.pack(f"{order}I", 4 + len(layout) + len(data)) + b"WAVE" + layout + data
    (tmp_path / "a.wav").write_bytes(raw)
    try:
        samples, found = audio.read_audio(tmp_path / "a.wav")
    except CodecsepError as error:
        assert error.code.startswith("E2")
        return
    assert 0 < len(samples) <= 4 * len(raw) and np.isfinite(samples).all() and 1000 <= found <= 768000


@FEW
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=200), st.sampled_from([8000, 16000, 44100]))
def test_audio_is_read_back_to_16_bits(tmp_path, samples, rate):
    signal = np.array(samples, np.float32)
    assert audio.write_audio(tmp_path / "a.wav", signal, rate) is None
    back, found = audio.read_audio(tmp_path / "a.wav", declared=len(signal))
    assert found == rate and np.array_equal(back, audio.to_int16(signal) / np.float32(32768))


@FEW
@given(st.integers(1, 3000), st.sampled_from([8000, 16000, 22050]), st.sampled_from([8000, 16000, 24000]))
def test_resampling_gives_the_promised_length(size, from_rate, to_rate):
    assert len(audio.resample(np.zeros(size), from_rate, to_rate)) == math.ceil(size * to_rate / from_rate)


PARTS = ["a", "B", "b", "/", ".", "..", "\\", "\u00e9", "e\u0301", " ", "\n", "|"]
names = st.lists(st.sampled_from(PARTS), min_size=1, max_size=8).map("".join)
kinds = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])


@FEW
@given(st.lists(st.tuples(names, kinds, names, st.binary(max_size=20)), min_size=1, max_size=5))
def test_no_archive_reaches_outside(tmp_path, entries):
    archive, folder = tmp_path / "a.tar", tmp_path / "in" / "new"
    with tarfile.open(archive, "w") as made_archive:
        for name, kind, target, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            made_archive.addfile(info, BytesIO(content))
    try:
        unpack(archive, folder, Limits(100, 1000))
    except ArchiveError:
        pass
    assert {path.name for path in tmp_path.iterdir()} <= {"a.tar", "in"}
    assert {path.name for path in (tmp_path / "in").iterdir()} <= {"new"}
    assert not any(path.is_symlink() for path in folder.rglob("*"))


@TRIES
@given(st.text(), st.text(), st.text())
def test_errors_are_one_printable_line(what, where, fix):
    text = str(CodecsepError("E105", what, where, fix))
    assert text.isprintable() and text.startswith("E105 ") and text.endswith(")")
