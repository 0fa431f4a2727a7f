"""Latent arks: what was written comes back, kaldiio reads it, damage, NaN and other kinds are errors."""

import numpy as np
import pytest

from codecsep.data.ark import ArkError, TokenReader, TokenWriter
from codecsep.data.latent_ark import LatentReader, LatentWriter


def matrices() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    return {f"utt{i}": random.normal(0, 100, (5 + i, 3)).astype(np.float32) for i in range(3)}


def write(prefix, content) -> None:
    with LatentWriter(prefix) as writer:
        for key in reversed(content):
            writer.write(key, content[key])


def test_round_trip_is_bit_exact_and_keeps_the_axes(tmp_path):
    content = matrices() | {"tiny": np.array([[1e-42, -0.0, np.finfo(np.float32).max]], np.float32)}
    write(tmp_path / "l", content)
    reader = LatentReader(tmp_path / "l.scp", 3)
    assert list(reader) == sorted(content)
    for key, rows in content.items():
        assert reader[key].dtype == np.float32 and reader[key].tobytes() == rows.tobytes()
        assert reader[key].shape == rows.shape and reader.num_frames(key) == len(rows)
        assert reader[key].flags.writeable and reader[key].flags.aligned


def test_transposed_and_double_input_is_stored_by_rows(tmp_path):
    values = np.arange(12.0).reshape(3, 4)
    write(tmp_path / "l", {"a": values.T, "b": values[:, ::2]})
    reader = LatentReader(tmp_path / "l.scp")
    assert reader["a"].tolist() == values.T.tolist() and reader["b"].tolist() == values[:, ::2].tolist()


def test_kaldiio_reads_ours(tmp_path):
    kaldiio = pytest.importorskip("kaldiio")
    content = matrices()
    write(tmp_path / "l", content)
    theirs = kaldiio.load_scp(str(tmp_path / "l.scp"))
    for key, rows in content.items():
        assert theirs[key].dtype == np.float32 and np.array_equal(theirs[key], rows)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_nan_and_infinity_are_not_written(tmp_path, value):
    rows = np.zeros((4, 3))
    rows[2, 1] = value
    with np.errstate(over="ignore"), LatentWriter(tmp_path / "l") as writer:
        writer.write("good", np.ones((1, 3)))
        with pytest.raises(ArkError, match=r"^E309 bad: 1 of 12 latents are NaN or infinite"):
            writer.write("bad", rows)
    assert list(LatentReader(tmp_path / "l.scp")) == ["good"]


@pytest.mark.parametrize("rows", [np.zeros((2, 3), int), np.zeros(3), np.zeros((0, 3)), np.zeros((1, 2, 3))])
def test_other_shapes_and_types_are_not_written(tmp_path, rows):
    with pytest.raises(ArkError, match=r"^E305 a: latents must be floats \[T, D\]"):
        write(tmp_path / "l", {"a": rows})
    assert not list(tmp_path.iterdir())


def test_nan_is_not_read_even_with_the_right_checksum(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(LatentWriter, "rows", lambda self, key, values: values.astype("<f4"))
        write(tmp_path / "l", {"a": np.array([[1.0, np.nan]])})
    with pytest.raises(ArkError, match=r"^E309 .*l\.ark:2 .*NaN"):
        LatentReader(tmp_path / "l.scp")["a"]


def test_every_bit_of_a_record_counts(tmp_path):
    write(tmp_path / "l", {"a": np.ones((2, 3))})
    whole = (tmp_path / "l.ark").read_bytes()
    for bit in range(len(whole) * 8):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / "l.ark").write_bytes(changed)
        with pytest.raises(ArkError, match=r"^E30[1-6] "):
            LatentReader(tmp_path / "l.scp")["a"]
    for size in range(len(whole)):
        (tmp_path / "l.ark").write_bytes(whole[:size])
        with pytest.raises(ArkError, match=r"^E301 "):
            LatentReader(tmp_path / "l.scp")["a"]


def test_another_width_and_another_kind_are_refused(tmp_path):
    write(tmp_path / "l", {"a": np.full((2, 3), 0.5)})
    with pytest.raises(ArkError, match=r"^E305 .*a matrix \[2, 3\], expected \[T, 4\]"):
        LatentReader(tmp_path / "l.scp", 4)["a"]
    with pytest.raises(ArkError, match=r"^E305 .*no integers"):
        TokenReader(tmp_path / "l.scp")["a"]
    with TokenWriter(tmp_path / "c") as writer:
        writer.write("a", np.array([[1, 2]]))
    (tmp_path / "c.crc").unlink()
    with pytest.raises(ArkError, match=r"^E307 .*c\.crc: missing"):
        LatentReader(tmp_path / "c.scp")
