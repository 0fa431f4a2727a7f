"""Token arks: exact round trip, compatible with kaldiio both ways, and every fault an ArkError with the id."""

import pickle

import numpy as np
import pytest

from codecsep.data import ark
from codecsep.data.ark import ArkError, TokenReader, TokenWriter


def matrices(count: int = 3, num_codebooks: int = 8, size: int = 512) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(7)
    return {f"utt{i:02d}": generator.integers(0, size, (num_codebooks, 5 + i)) for i in range(count)}


@pytest.fixture
def written(tmp_path):
    content = matrices()
    with TokenWriter(tmp_path / "codes") as writer:
        for key in reversed(content):
            writer.write(key, content[key])
    return tmp_path / "codes.scp", content


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


def test_every_cut_is_found(written):
    scp, content = written
    whole = scp.with_suffix(".ark").read_bytes()
    last = sorted(content)[0]  # written last, so at the end of the ark
    for length in range(len(whole)):
        scp.with_suffix(".ark").write_bytes(whole[:length])
        with pytest.raises(ArkError, match=last):
            TokenReader(scp)[last]


def test_every_flipped_bit_is_found(written):
    scp, content = written
    whole = bytearray(scp.with_suffix(".ark").read_bytes())
    generator = np.random.default_rng(0)
    for position in generator.choice(len(whole), 200, replace=False):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(generator.integers(8))
        scp.with_suffix(".ark").write_bytes(flipped)
        reader, faults = TokenReader(scp), 0
        for key in content:
            try:
                assert np.array_equal(reader[key], content[key])
            except ArkError as error:
                faults += key in str(error)
        assert faults == 1


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
    with pytest.raises(ArkError, match=r"expected \[T, 4\]"):
        TokenReader(written[0], num_codebooks=4)["utt00"]


@pytest.mark.parametrize("shift", [-1, 1, 7, 100000])
def test_wrong_offset(written, shift):
    scp, _ = written
    lines = [line.rsplit(":", 1) for line in scp.read_text().splitlines()]
    scp.write_text("".join(f"{path}:{int(offset) + shift}\n" for path, offset in lines))
    for key in TokenReader(scp):
        with pytest.raises(ArkError, match="stage 2"):
            TokenReader(scp)[key]


def test_offset_of_another_record(written):
    scp, _ = written
    lines = [line.split() for line in scp.read_text().splitlines()]
    scp.write_text(f"{lines[0][0]} {lines[1][1]}\n{lines[1][0]} {lines[1][1]}\n{lines[2][0]} {lines[2][1]}\n")
    for reader in (TokenReader(scp), TokenReader.foreign(scp)):
        with pytest.raises(ArkError, match="^E304 .*another utterance"):
            reader[lines[0][0]]
        assert reader[lines[2][0]].shape[0] == 8


@pytest.mark.parametrize("line", ["", "a", "a b c", "a x.ark", "a x.ark:-3", "a x.ark:5[0:3]", "a cat|:5", "a :4"])
def test_bad_scp_line(tmp_path, line):
    (tmp_path / "bad.scp").write_text(line + "\n")
    with pytest.raises(ArkError, match="bad.scp"):
        TokenReader(tmp_path / "bad.scp")


def test_pipe_is_not_run(tmp_path):
    canary = tmp_path / "canary"
    (tmp_path / "bad.scp").write_text(f"a touch${{IFS}}{canary}|\n")
    with pytest.raises(ArkError):
        TokenReader(tmp_path / "bad.scp")
    assert not canary.exists()


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
    for text in ("{", "[]", '{"name": "toy"}', '{"nonsense": 1}'):
        (tmp_path / "codec.json").write_text(text)
        with pytest.raises(ArkError, match="stage 1"):
            ark.read_codec_info(tmp_path)
    with pytest.raises(ArkError, match="missing"):
        ark.read_codec_info(tmp_path / "nowhere")
