"""Token matrices <-> Kaldi ark/scp, and the description of the codec that made them.

On disk a matrix is float32 `[T, K]` (record "FM ", exact below 2^24, readable by Kaldi, ESPnet and kaldiio); in memory
it is int64 `[K, T]`. Nothing else is read: no text, no compression (lossy on codes), no pickles, no pipes.
A file `<prefix>.crc` with the CRC-32 of each record lies beside; it is checked when it is there.
"""

import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from codecsep.data import atomic

MAGIC = b"\0BFM "
HEADER_BYTES = len(MAGIC) + 10
DIMENSION = np.dtype([("width", "i1"), ("value", "<i4")])
EXACT_BELOW = 1 << 24
REPAIR = "remake it with stage 2 (codes) or stage 3 (sequences)"
OTHER_RECORDS = {b"CM": "compressed (lossy)", b"FV": "float vector", b"DM": "float64", b"PK": "pickle", b"NP": "numpy"}


class ArkError(ValueError):
    """A token file that cannot be trusted; the message names the file, the utterance and the stage that repairs it."""


@dataclass(frozen=True)
class CodecInfo:
    """What must be known of a codec to use its codes. `fingerprint` is the sha256 of its weights, in hex."""

    name: str
    fingerprint: str
    sample_rate: int
    frame_rate: float
    hop: int
    num_codebooks: int
    codebook_size: int
    delay_samples: int = 0


def write_codec_info(directory: Path | str, info: CodecInfo) -> None:
    """Write `codec.json` into `directory`, beside and renamed."""
    atomic.write_text(Path(directory) / "codec.json", json.dumps(asdict(info), indent=2) + "\n")


def read_codec_info(directory: Path | str) -> CodecInfo:
    """Read `codec.json` of a codec or dump directory. Raises ArkError when missing, unreadable or with other fields."""
    path = Path(directory) / "codec.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArkError(f"{path} is missing; make it with stage 1 (codec) or stage 2 (tokenise)") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArkError(f"{path} is not JSON ({error}); remake it with stage 1 or stage 2") from None
    names = {field.name for field in fields(CodecInfo)}
    if not isinstance(given, dict) or not names - {"delay_samples"} <= set(given) <= names:
        raise ArkError(f"{path} must hold exactly {', '.join(sorted(names))}; remake it with stage 1 or stage 2")
    return CodecInfo(**given)


class TokenWriter:
    """Write matrices into `<prefix>.ark`, `<prefix>.scp` (sorted by key) and `<prefix>.crc`.

    A context manager: the files get their names only when the block ends well; after an exception nothing is left.
    """

    def __init__(self, prefix: Path | str):
        self.prefix = str(prefix)
        if re.search(r"[|\s]", self.prefix):
            raise ArkError(f"ark prefix {self.prefix!r} holds a blank or '|'; Kaldi tables cannot name such a path")
        self.entries: dict[str, tuple[int, int]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "TokenWriter":
        beside = self._stack.enter_context(atomic.replacing(f"{self.prefix}.ark"))
        self.file = self._stack.enter_context(open(beside, "wb"))
        return self

    def write(self, key: str, codes: np.ndarray) -> None:
        """Append codes [K, T] (integers, 0 <= id < 2^24). Raises ArkError on a bad or repeated key, shape or id."""
        if not key or re.search(r"\s", key) or key in self.entries:
            raise ArkError(f"utterance id {key!r} is empty, holds a blank, or was written before")
        record = _record(key, np.asarray(codes))
        self.file.write(key.encode() + b" ")
        self.entries[key] = (self.file.tell(), zlib.crc32(record))
        self.file.write(record)

    def __exit__(self, kind, value, trace) -> None:
        self._stack.__exit__(kind, value, trace)
        if kind is None:
            rows = sorted(self.entries.items())
            atomic.write_text(f"{self.prefix}.crc", "".join(f"{key} {crc:08x}\n" for key, (_, crc) in rows))
            atomic.write_text(f"{self.prefix}.scp", "".join(f"{key} {self.prefix}.ark:{at}\n" for key, (at, _) in rows))


class TokenReader(Mapping):
    """Read-only mapping utterance id -> int64 [K, T] over an scp file of ours or of kaldiio.

    size: ids must be below it (codebook_size, or V for sequences); num_codebooks: the K that every matrix must have.
    Every fault in the files is an ArkError: cut records, wrong offsets, other record kinds, ids that are no integers.
    May be shared by forked workers (reads carry their own position) and pickled for spawned ones.
    """

    def __init__(self, scp: Path | str, size: int = EXACT_BELOW, num_codebooks: int | None = None):
        self.scp, self.size, self.num_codebooks = Path(scp), size, num_codebooks
        self.places = {key: _place(self.scp, key, value) for key, value in _table(self.scp).items()}
        crc = self.scp.with_suffix(".crc")
        self.crc = _table(crc) if crc.is_file() else {}
        self._files: dict[str, int] = {}

    def __getitem__(self, key: str) -> np.ndarray:
        path, offset = self.places[key]
        num_frames, num_codebooks, payload = self._record(key, path, offset)
        values = np.frombuffer(payload, "<f4").reshape(num_frames, num_codebooks)
        if not (values.min() >= 0 and values.max() < self.size):
            raise self._error(key, f"ids {values.min():g} .. {values.max():g}, allowed are 0 .. {self.size - 1}")
        codes = values.T.astype(np.int64, order="C")
        if not np.array_equal(codes, values.T):
            raise self._error(key, "values that are no integers")
        return codes

    def num_frames(self, key: str) -> int:
        """T of one matrix, from its header only."""
        return self._header(key, *self.places[key])[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, key) -> bool:
        return key in self.places

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files = {}

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_files": {}}

    def __del__(self):
        with suppress(AttributeError, OSError):
            self.close()

    def _record(self, key: str, path: str, offset: int) -> tuple[int, int, bytes]:
        num_frames, num_codebooks, header = self._header(key, path, offset)
        num_bytes = 4 * num_frames * num_codebooks
        payload = os.pread(self._files[path], num_bytes, offset + HEADER_BYTES)
        if len(payload) != num_bytes:
            raise self._error(key, f"a cut record ({len(payload)} of {num_bytes} bytes)")
        if key in self.crc and f"{zlib.crc32(payload, zlib.crc32(header)):08x}" != self.crc[key]:
            raise self._error(key, "a record whose CRC-32 differs from the one noted when it was written")
        return num_frames, num_codebooks, payload

    def _header(self, key: str, path: str, offset: int) -> tuple[int, int, bytes]:
        name = key.encode() + b" "
        start, descriptor = offset - len(name), self._descriptor(key, path)
        head = os.pread(descriptor, len(name) + HEADER_BYTES, start) if start >= 0 else b""
        if len(head) != len(name) + HEADER_BYTES:
            raise self._error(key, f"an offset ({offset}) outside the file, or a cut record")
        if head[: len(name)] != name:
            raise self._error(key, f"an offset ({offset}) where this utterance does not start")
        header = head[len(name) :]
        if header[: len(MAGIC)] != MAGIC:
            found = OTHER_RECORDS.get(header[2:4], "unknown") if header[:2] == b"\0B" else "text or unknown"
            raise self._error(key, f"a record of kind {found}; only float32 matrices are read")
        (rows_width, rows), (columns_width, columns) = np.frombuffer(header, DIMENSION, 2, len(MAGIC)).tolist()
        wrong = columns != (self.num_codebooks or columns)
        if rows_width != 4 or columns_width != 4 or rows < 1 or columns < 1 or wrong:
            raise self._error(key, f"a matrix [{rows}, {columns}], expected [T, {self.num_codebooks or 'K'}]")
        return rows, columns, header

    def _descriptor(self, key: str, path: str) -> int:
        if path not in self._files:
            try:
                self._files[path] = os.open(path, os.O_RDONLY)
            except OSError as error:
                raise self._error(key, f"no readable file ({error.strerror})") from None
        return self._files[path]

    def _error(self, key: str, fault: str) -> ArkError:
        path, offset = self.places[key]
        return ArkError(f"{path}:{offset} (utterance {key} of {self.scp}) holds {fault}; {REPAIR}")


def _record(key: str, codes: np.ndarray) -> bytes:
    if codes.ndim != 2 or 0 in codes.shape or codes.dtype.kind not in "iu":
        raise ArkError(f"codes of {key} must be integers [K, T], not empty; got {list(codes.shape)} of {codes.dtype}")
    if codes.min() < 0 or codes.max() >= EXACT_BELOW:
        raise ArkError(f"codes of {key} are {codes.min()} .. {codes.max()}, allowed are 0 .. {EXACT_BELOW - 1}")
    shape = np.array([(4, codes.shape[1]), (4, codes.shape[0])], DIMENSION)
    return MAGIC + shape.tobytes() + codes.T.astype("<f4", order="C").tobytes()


def _table(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ArkError(f"{path} cannot be read ({error}); {REPAIR}") from None
    table = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if len(words) != 2 or words[0] in table:
            raise ArkError(f"{path}:{number}: expected one new utterance id and one value, got {line[:80]!r}; {REPAIR}")
        table[words[0]] = words[1]
    return table


def _place(scp: Path, key: str, value: str) -> tuple[str, int]:
    path, colon, offset = value.rpartition(":")
    if not colon or not path or "|" in value or not re.fullmatch(r"[0-9]{1,18}", offset):
        raise ArkError(f"{scp}: {key} has {value[:80]!r}, expected path:offset (no pipes, no ranges); {REPAIR}")
    return path, int(offset)
