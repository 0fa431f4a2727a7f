"""Token arks: exact round trip, compatible with kaldiio both ways, and every fault an ArkError with the id."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codecsep.data import ark
from codecsep.data.ark import ArkError, TokenReader, TokenWriter


def matrices(count: int = 3, num_codebooks: int = 8, size: int = 512) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(7)
    return {f"utt{i:02d}": generator.integers(0, size, (num_codebooks, 5 + i)) for i in range(count)}


def places(scp) -> dict[str, tuple[str, int]]:
    rows = (line.split() for line in scp.read_text().splitlines())
    return {key: (value.rpartition(":")[0], int(value.rpartition(":")[2])) for key, value in rows}


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.fixture
def written(tmp_path):
    content = matrices()
    write(tmp_path / "codes.scp", content)
    return tmp_path / "codes.scp", content


def write(scp: Path, content: dict[str, np.ndarray]) -> None:
    with TokenWriter(scp.with_suffix("")) as writer:
        for key in reversed(content):
            writer.write(key, content[key])


def test_round_trip_keeps_axes_order_and_type(written):
    scp, content = written
    reader = TokenReader(scp, size=512, num_codebooks=8)
    assert list(reader) == sorted(content) and len(reader) == 3 and "utt00" in reader and "other" not in reader
    for key, codes in content.items():
        assert reader[key].dtype == np.int64 and reader[key].shape == codes.shape
        assert np.array_equal(reader[key], codes) and reader.num_frames(key) == codes.shape[1]
    assert not list(scp.parent.glob("*.tmp"))


def test_more_than_ten_levels_keep_their_order(tmp_path):
    codes = np.arange(13)[:, None] * 100 + np.arange(4)
    with TokenWriter(tmp_path / "many") as writer:
        writer.write("a", codes)
    assert np.array_equal(TokenReader(tmp_path / "many.scp")["a"], codes)


def test_kaldiio_reads_ours_and_we_read_kaldiio(written, tmp_path):
    kaldiio = pytest.importorskip("kaldiio")
    scp, content = written
    theirs = kaldiio.load_scp(str(scp))
    for key, codes in content.items():
        assert theirs[key].dtype == np.float32 and np.array_equal(theirs[key], codes.T)
    floats = {key: codes.T.astype(np.float32) for key, codes in content.items()}
    kaldiio.save_ark(str(tmp_path / "k.ark"), floats, scp=str(tmp_path / "k.scp"))
    with pytest.raises(ArkError, match=r"^E307 .*k\.crc: missing.*TokenReader\.foreign"):
        TokenReader(tmp_path / "k.scp")
    ours = TokenReader.foreign(tmp_path / "k.scp")
    assert all(np.array_equal(ours[key], codes) for key, codes in content.items())
    assert (tmp_path / "k.ark").read_bytes()[: len(b"utt00 \0BFM ")] == b"utt00 \0BFM "


def test_largest_exact_id_survives_and_larger_is_refused(tmp_path):
    with TokenWriter(tmp_path / "big") as writer:
        writer.write("a", np.array([[2**24 - 1, 0]]))
        with pytest.raises(ArkError, match="allowed are 0"):
            writer.write("b", np.array([[2**24]]))
    assert TokenReader(tmp_path / "big.scp")["a"].tolist() == [[2**24 - 1, 0]]


@pytest.mark.parametrize(
    "key, codes",
    [
        ("", np.zeros((2, 3), int)),
        ("a b", np.zeros((2, 3), int)),
        ("first", np.zeros((2, 3), int)),
        ("x", np.zeros((2, 0), int)),
        ("x", np.zeros(3, int)),
        ("x", np.zeros((2, 3))),
        ("x", np.full((2, 3), -1)),
    ],
)
def test_writer_refuses(tmp_path, key, codes):
    with TokenWriter(tmp_path / "x") as writer:
        writer.write("first", np.ones((2, 3), int))
        with pytest.raises(ArkError):
            writer.write(key, codes)
    assert list(TokenReader(tmp_path / "x.scp")) == ["first"]


def test_failed_block_leaves_the_old_files(written):
    scp, content = written
    before = {path.name: path.read_bytes() for path in scp.parent.iterdir()}
    with pytest.raises(RuntimeError, match="killed"):
        with TokenWriter(scp.with_suffix("")) as writer:
            writer.write("new", np.ones((8, 2), int))
            raise RuntimeError("killed")
    assert {path.name: path.read_bytes() for path in scp.parent.iterdir()} == before


def test_every_cut_of_every_record_is_found(written):
    """A2: wherever an ark ends too early, each utterance that is not whole is E301; the whole ones are read."""
    scp, content = written
    whole = scp.with_suffix(".ark").read_bytes()
    ends = {key: offset + ark.HEADER_BYTES + 4 * content[key].size for key, (_, offset) in places(scp).items()}
    for length in range(len(whole)):
        scp.with_suffix(".ark").write_bytes(whole[:length])
        reader = TokenReader(scp)
        for key, end in ends.items():
            if end <= length:
                assert np.array_equal(reader[key], content[key])
            else:
                with pytest.raises(ArkError, match=f"^E301 .*utterance {key} "):
                    reader[key]
    assert length > 600


def test_every_flipped_bit_of_the_ark_is_found(written, trials):
    """A3: in ids, headers and codes alike; the damaged utterance is named, the others are read."""
    scp, content = written
    whole = scp.with_suffix(".ark").read_bytes()
    generator, found = np.random.default_rng(0), []
    bits = generator.choice(8 * len(whole), trials(200, 8 * len(whole)), replace=False)
    for bit in bits:
        scp.with_suffix(".ark").write_bytes(flipped(whole, int(bit)))
        reader = TokenReader(scp)
        for key in content:
            try:
                assert np.array_equal(reader[key], content[key])
            except ArkError as error:
                assert key in str(error)
                found.append(error.code)
    assert found == ["E302"] * len(bits)


@pytest.mark.parametrize("ending", [".scp", ".crc"])
def test_every_flipped_bit_of_the_lists_is_found(tmp_path, monkeypatch, ending, trials):
    monkeypatch.chdir(tmp_path)  # the folder of an earlier run of this test, one bit away, holds the same ark
    scp, content = Path("codes.scp"), matrices()
    write(scp, content)
    path = scp.with_suffix(ending)
    whole = path.read_bytes()
    generator, found = np.random.default_rng(1), 0
    bits = generator.choice(8 * len(whole), min(trials(200, 10**6), 8 * len(whole)), replace=False)
    for bit in bits:
        path.write_bytes(flipped(whole, int(bit)))
        try:
            reader = TokenReader(scp)
            for key in content:
                reader[key]
        except ArkError:
            found += 1
    assert found == len(bits)


@pytest.mark.parametrize("ending", [".scp", ".crc"])
def test_every_cut_of_the_lists_is_found(written, ending):
    scp, _ = written
    path = scp.with_suffix(ending)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ArkError, match="^E307 "):
            TokenReader(scp)


def test_an_ark_of_another_run_is_found(written, tmp_path):
    """A4: the same utterances, valid files, other codes."""
    scp, content = written
    with TokenWriter(tmp_path / "other") as writer:
        for key in reversed(content):
            writer.write(key, (content[key] + 1) % 512)
    scp.with_suffix(".ark").write_bytes((tmp_path / "other.ark").read_bytes())
    for key in content:
        with pytest.raises(ArkError, match="^E302 "):
            TokenReader(scp)[key]


def test_codes_of_another_codec_are_refused(tmp_path):
    info = ark.CodecInfo("toy", "ab" * 32, 16000, 50.0, 320, 8, 512)
    ark.write_codec_info(tmp_path, info)
    assert ark.require_codec(tmp_path, replace(info, delay_samples=8)) == info
    others = [replace(info, fingerprint="cd" * 32), replace(info, num_codebooks=4), replace(info, frame_rate=75.0)]
    for other in others:
        with pytest.raises(ArkError, match=r"^E303 .*codec.json: was made by another codec.*(abab|num_cod|frame_rate)"):
            ark.require_codec(tmp_path, other)


def test_values_of_foreign_arks_are_checked(written):
    scp, _ = written
    path, offset = TokenReader(scp).places["utt01"]
    data = bytearray(scp.with_suffix(".ark").read_bytes())
    start = offset + ark.HEADER_BYTES
    for value in (0.5, -1.0, 600.0, float("nan"), float("inf")):
        data[start : start + 4] = np.float32(value).tobytes()
        scp.with_suffix(".ark").write_bytes(data)
        with pytest.raises(ArkError, match="utt01"):
            TokenReader.foreign(scp, size=512)["utt01"]


def test_wrong_number_of_codebooks(written):
    with pytest.raises(ArkError, match=r"^E305 .*expected \[T, 4\]"):
        TokenReader(written[0], num_codebooks=4)["utt00"]


@pytest.mark.parametrize("shift", [-1, 1, 7, 100000])
def test_wrong_offset(written, shift):
    scp, _ = written
    lines = [line.rsplit(":", 1) for line in scp.read_text().splitlines()]
    scp.write_text("".join(f"{path}:{int(offset) + shift}\n" for path, offset in lines))
    for reader in (TokenReader(scp), TokenReader.foreign(scp)):
        for key in reader:
            with pytest.raises(ArkError, match="^E304 .*stage 2"):
                reader[key]
            with pytest.raises(ArkError, match="^E304 .*stage 2"):
                reader.num_frames(key)


def test_offset_of_another_record(written):
    scp, _ = written
    lines = [line.split() for line in scp.read_text().splitlines()]
    scp.write_text(f"{lines[0][0]} {lines[1][1]}\n{lines[1][0]} {lines[1][1]}\n{lines[2][0]} {lines[2][1]}\n")
    for reader in (TokenReader(scp), TokenReader.foreign(scp)):
        with pytest.raises(ArkError, match="^E304 .*another utterance"):
            reader[lines[0][0]]
        assert reader[lines[2][0]].shape[0] == 8


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("", "E307"),
        ("a", "E307"),
        ("a b c", "E307"),
        ("a  x.ark:5", "E307"),
        ("a\tx.ark:5", "E307"),
        ("a x.ark:5\r", "E307"),
        ("a x.ark", "E304"),
        ("a x.ark:-3", "E304"),
        ("a x.ark:5[0:3]", "E304"),
        ("a :4", "E304"),
        ("a cat|:5", "E306"),
        ("a |cat:5", "E306"),
    ],
)
def test_bad_scp_line(tmp_path, line, code):
    (tmp_path / "bad.scp").write_text(line + "\n", newline="")
    with pytest.raises(ArkError, match=f"^{code} .*bad.scp"):
        TokenReader.foreign(tmp_path / "bad.scp")


def test_pipe_is_not_run(tmp_path):
    canary = tmp_path / "canary"
    (tmp_path / "bad.scp").write_text(f"a touch${{IFS}}{canary}|\n")
    with pytest.raises(ArkError, match="^E306 "):
        TokenReader(tmp_path / "bad.scp")
    for name in (f"touch {canary} |", f"|touch {canary}"):
        with pytest.raises(ArkError, match="^E306 .*command"):
            TokenReader(name)
        with pytest.raises(ArkError, match="^E306 .*'|'"):
            TokenWriter(name)
    assert not canary.exists()


def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.ark")
    (tmp_path / "a.scp").write_text(f"a {tmp_path}/a.ark:2\n")
    for _ in range(2):
        with pytest.raises(ArkError, match="^E306 .*no ordinary file"):
            TokenReader.foreign(tmp_path / "a.scp")["a"]


def test_a_header_that_promises_more_than_memory(tmp_path):
    shape = np.array([(4, 2**31 - 1), (4, 2**31 - 1)], ark.DIMENSION).tobytes()
    (tmp_path / "a.ark").write_bytes(b"a " + ark.MAGIC + shape + bytes(100))
    (tmp_path / "a.scp").write_text(f"a {tmp_path}/a.ark:2\n")
    with pytest.raises(ArkError, match="^E301 .*cut record"):
        TokenReader.foreign(tmp_path / "a.scp")["a"]


FILL = """
import resource, sys
import numpy as np
from codecsep.data.ark import TokenWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with TokenWriter(sys.argv[1]) as writer:
    for number in range(1000):
        writer.write(f"new{number}", np.zeros((8, 100), int))
"""
LISTS = FILL.replace("20000", "40000").replace("range(1000)", "range(2)")


def child(code: str, *arguments, fault: str = "") -> subprocess.CompletedProcess:
    environment = os.environ | {"CODECSEP_FAULT": fault}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_a_full_disk_loses_nothing(written):
    """A10: the old shard stays as it was, the error names the room that is left."""
    scp, content = written
    before = {path.name: path.read_bytes() for path in scp.parent.iterdir()}
    result = child(FILL, scp.with_suffix(""))
    assert result.returncode == 1 and "E320 " in result.stderr and "MiB are free" in result.stderr, result.stderr
    assert {path.name: path.read_bytes() for path in scp.parent.iterdir()} == before
    assert all(np.array_equal(TokenReader(scp)[key], codes) for key, codes in content.items())


@pytest.mark.parametrize("fault", ["ark.record@2:raise:ENOSPC", "ark.before_lists:raise:EDQUOT"])
def test_a_full_disk_at_any_moment_loses_nothing(written, fault):
    scp, _ = written
    before = {path.name: path.read_bytes() for path in scp.parent.iterdir()}
    result = child(LISTS, scp.with_suffix(""), fault=fault)
    assert result.returncode == 1 and "E320 " in result.stderr, result.stderr
    assert {path.name: path.read_bytes() for path in scp.parent.iterdir()} == before


@pytest.mark.parametrize("fault", ["ark.record@2", "ark.before_lists", "atomic.mid", "atomic.before_rename@2"])
def test_killed_at_any_moment_what_is_read_is_whole(written, fault):
    """A1: the old ark, or an error; never codes of both."""
    scp, content = written
    result = child(LISTS, scp.with_suffix(""), fault=f"{fault}:kill")
    assert result.returncode == -9
    for key in content:
        try:
            assert np.array_equal(TokenReader(scp)[key], content[key])
        except ArkError as error:
            assert fault == "atomic.before_rename@2" and error.code in ("E301", "E302", "E304")


def test_duplicate_key_and_missing_files(tmp_path, written):
    scp, _ = written
    scp.write_text(scp.read_text() * 2)
    with pytest.raises(ArkError, match="^E101 .*is there twice"):
        TokenReader(scp)
    with pytest.raises(ArkError, match="none.scp"):
        TokenReader(tmp_path / "none.scp")
    (tmp_path / "gone.scp").write_text("a nowhere.ark:2\n")
    with pytest.raises(ArkError, match="^E304 .*no readable file"):
        TokenReader.foreign(tmp_path / "gone.scp")["a"]


@pytest.mark.parametrize("method", [2, 3])
def test_compressed_matrix_is_refused(tmp_path, method):
    kaldiio = pytest.importorskip("kaldiio")
    content = {"a": np.ones((20, 8), np.float32)}
    kaldiio.save_ark(str(tmp_path / "c.ark"), content, scp=str(tmp_path / "c.scp"), compression_method=method)
    with pytest.raises(ArkError, match="^E306 .*compressed"):
        TokenReader.foreign(tmp_path / "c.scp")["a"]


def test_pickle_record_is_refused_without_loading(tmp_path):
    (tmp_path / "p.ark").write_bytes(b"a PKL" + pickle.dumps([1, 2, 3] * 20))
    (tmp_path / "p.scp").write_text(f"a {tmp_path}/p.ark:2\n")
    with pytest.raises(ArkError, match="^E306 .*only float32"):
        TokenReader.foreign(tmp_path / "p.scp")["a"]


def test_reader_survives_pickling(written):
    scp, content = written
    reader = TokenReader(scp)
    assert np.array_equal(reader["utt00"], content["utt00"])
    assert np.array_equal(pickle.loads(pickle.dumps(reader))["utt02"], content["utt02"])


def test_codec_info_round_trip_and_refusals(tmp_path):
    info = ark.CodecInfo("toy", "ab" * 32, 16000, 50.0, 320, 8, 512, -8)
    ark.write_codec_info(tmp_path, info)
    assert ark.read_codec_info(tmp_path) == info
    good = (tmp_path / "codec.json").read_text()
    changes = [('"toy"', '"../../evil"'), ('"toy"', "7"), ("16000", "0"), ("16000", '"16000"'), ("50.0", "NaN")]
    changes += [("50.0", "1e999"), ("512", "true"), ("512", "-1"), (": 8,", ": 8.5,"), ("abab", "zz"), ("-8", "[]")]
    hostile = [good.replace(old, new, 1) for old, new in changes]
    assert good not in hostile
    for text in ("{", "[]", '{"name": "toy"}', '{"nonsense": 1}', "[" * 100000, "\0", *hostile):
        (tmp_path / "codec.json").write_text(text)
        with pytest.raises(ArkError, match="^E308 .*stage 1"):
            ark.read_codec_info(tmp_path)
    with pytest.raises(ArkError, match="missing"):
        ark.read_codec_info(tmp_path / "nowhere")
