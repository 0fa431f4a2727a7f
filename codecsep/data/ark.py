"""Token matrices <-> Kaldi ark/scp. (What is said here of codecs is in `codec_info`, and can be had from both.)

On disk a matrix is float32 `[T, K]` (record "FM ", exact below 2^24, readable by Kaldi, ESPnet and kaldiio); in memory
it is int64 `[K, T]`. Nothing else is read: no text, no compression (lossy on codes), no pickles, no pipes.
Beside an ark of ours lies `<prefix>.crc` with `<id> <CRC-32> <bytes>` of each record; without it an ark is refused,
unless it is read as one of others: `TokenReader.foreign(scp)`.
"""

import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from codecsep.data import atomic
from codecsep.data.codec_info import ArkError, CodecInfo, read_codec_info, require_codec, write_codec_info
from codecsep.data.token_lists import REPAIR, Note, note_of, place_of, read_list
from codecsep.faults import faultpoint

__all__ = ["ArkError", "CodecInfo", "TokenReader", "TokenWriter", "read_codec_info", "require_codec"]
__all__ += ["write_codec_info"]
MAGIC = b"\0BFM "
HEADER_BYTES = len(MAGIC) + 10
DIMENSION = np.dtype([("width", "i1"), ("value", "<i4")])
EXACT_BELOW = 1 << 24
LARGE = 1 << 20  # bytes; 11 minutes of 8 codebooks at 50 Hz
OTHER_RECORDS = {b"CM": "compressed (lossy)", b"FV": "float vector", b"DM": "float64", b"PK": "pickle", b"NP": "numpy"}
Header = tuple[int, int]  # T and K


class TokenWriter:
    """Write matrices into `<prefix>.ark`, `<prefix>.scp` (sorted by key) and `<prefix>.crc`.

    A context manager: the files get their names only when all three are on the disk; after an exception nothing is
    left, and what was there before stays.
    """

    def __init__(self, prefix: Path | str):
        self.prefix = str(prefix)
        if re.search(r"[|\s]", self.prefix):
            what = f"the prefix {self.prefix!r} holds a blank or '|'; Kaldi tables cannot name such a path"
            raise ArkError("E306", what, "", "give another directory")
        self.entries: dict[str, tuple[int, Note]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "TokenWriter":
        # left in the reverse order: the scp, which makes the ark known, gets its name last
        self.beside = {
            ending: self._stack.enter_context(atomic.replacing(f"{self.prefix}.{ending}"))
            for ending in ("scp", "crc", "ark")
        }
        self.file = self._stack.enter_context(open(self.beside["ark"], "wb"))
        return self

    def write(self, key: str, codes: np.ndarray) -> None:
        """Append codes [K, T] (integers, 0 <= id < 2^24). Raises ArkError on a bad or repeated key, shape or id."""
        if not key or re.search(r"\s", key):
            raise ArkError(
                "E104", f"utterance id {key!r} is empty or holds a blank", self.prefix, "rename the utterance"
            )
        if key in self.entries:
            raise ArkError("E101", f"utterance id {key!r} was written before", self.prefix, "give each utterance once")
        record = _record(key, np.asarray(codes))
        self.file.write(key.encode() + b" ")
        faultpoint("ark.record")
        self.entries[key] = (self.file.tell(), (zlib.crc32(record), len(record)))
        self.file.write(record)

    def __exit__(self, kind, value, trace) -> None:
        if kind is not None:
            self._stack.__exit__(kind, value, trace)
            return
        with self._stack:
            self._write_lists()

    def _write_lists(self) -> None:
        self.file.flush()
        faultpoint("ark.before_lists")
        rows = sorted(self.entries.items())
        crc = "".join(f"{key} {crc:08x} {size}\n" for key, (_, (crc, size)) in rows)
        self.beside["crc"].write_text(crc, encoding="utf-8")
        scp = "".join(f"{key} {self.prefix}.ark:{at}\n" for key, (at, _) in rows)
        self.beside["scp"].write_text(scp, encoding="utf-8")
        for path in self.beside.values():  # a full disk shows here at the latest, before anything old is replaced
            atomic.force(path)


class TokenReader(Mapping):
    """Read-only mapping utterance id -> int64 [K, T] over an scp file of ours.

    size: ids must be below it (codebook_size, or V for sequences); num_codebooks: the K that every matrix must have.
    Every fault in the files is an ArkError: cut or damaged records, wrong offsets, other kinds, ids that are no codes.
    May be shared by forked workers (reads carry their own position) and pickled for spawned ones.
    """

    def __init__(self, scp: Path | str, size: int = EXACT_BELOW, num_codebooks: int | None = None):
        self.scp, self.size, self.num_codebooks = Path(scp), size, num_codebooks
        self.places = {key: place_of(self.scp, key, words) for key, words in read_list(self.scp, 2).items()}
        self.notes: dict[str, Note] = self._read_notes()
        self._files: dict[str, int] = {}

    @classmethod
    def foreign(cls, scp: Path | str, size: int = EXACT_BELOW, num_codebooks: int | None = None) -> "TokenReader":
        """A reader of float32 matrices that Kaldi, ESPnet or kaldiio wrote: without checksums, a damaged id goes
        unnoticed as long as it is an id."""
        return _ForeignReader(scp, size, num_codebooks)

    def __getitem__(self, key: str) -> np.ndarray:
        (num_frames, num_codebooks), payload = self._record(key)
        values = np.frombuffer(payload, "<f4").reshape(num_frames, num_codebooks)
        if not (values.min() >= 0 and values.max() < self.size):
            fault = f"ids {values.min():g} .. {values.max():g}, allowed are 0 .. {self.size - 1}"
            raise self._error("E305", key, fault)
        if not np.array_equal(np.rint(values), values):
            raise self._error("E305", key, "values that are no integers")
        return values.T.astype(np.int64, order="C")

    def num_frames(self, key: str) -> int:
        """T of one matrix, from its header only."""
        return self._header(key)[0]

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

    def _read_notes(self) -> dict[str, Note]:
        path = self.scp.with_suffix(".crc")
        if not path.is_file():
            what = "missing: the checksums of an ark of ours lie beside it"
            raise ArkError("E307", what, path, f"{REPAIR}; arks of others are read by TokenReader.foreign")
        notes = {key: note_of(path, key, words) for key, words in read_list(path, 3).items()}
        if notes.keys() != self.places.keys():
            what = f"lists {len(self.places)} utterances, {path.name} {len(notes)}: one of them was cut or changed"
            raise ArkError("E307", what, self.scp, REPAIR)
        return notes

    def _record(self, key: str) -> tuple[Header, memoryview]:
        """T, K and payload of a record whose bytes are those that were written."""
        (path, offset), (crc, size) = self.places[key], self.notes[key]
        name = key.encode() + b" "
        found = self._bytes(key, offset - len(name), len(name) + size)
        if len(found) < len(name) + size:
            if found.startswith(name) or self._file_size(key) < self._written_size(path):
                raise self._error("E301", key, "a cut record, or none: the file is shorter than what was written")
            raise self._error("E304", key, f"nothing: its offset {offset} lies outside the file")
        record = memoryview(found)[len(name) :]  # a slice of bytes would be a copy
        is_whole, is_named = zlib.crc32(record) == crc, found.startswith(name)
        if not is_whole and not is_named:
            raise self._error("E304", key, f"another utterance at the offset {offset}")
        if not is_whole or not is_named:
            raise self._error("E302", key, "a record whose CRC-32 differs from the one noted when it was written")
        header = self._shape(key, bytes(record[:HEADER_BYTES]))
        self._check_size(key, header)
        return header, record[HEADER_BYTES:]

    def _header(self, key: str) -> Header:
        _, offset = self.places[key]
        name = key.encode() + b" "
        head = self._bytes(key, offset - len(name), len(name) + HEADER_BYTES)
        if len(head) != len(name) + HEADER_BYTES:
            raise self._error("E304", key, f"nothing: its offset {offset} lies outside the file, or the file was cut")
        if not head.startswith(name):
            raise self._error("E304", key, f"another utterance at the offset {offset}")
        header = self._shape(key, head[len(name) :])
        self._check_size(key, header)
        return header

    def _shape(self, key: str, header: bytes) -> Header:
        if header[: len(MAGIC)] != MAGIC:
            found = OTHER_RECORDS.get(header[2:4], "unknown") if header[:2] == b"\0B" else "text, pickle or unknown"
            raise self._error("E306", key, f"a record of kind {found}; only float32 matrices are read")
        (rows_width, rows), (columns_width, columns) = np.frombuffer(header, DIMENSION, 2, len(MAGIC)).tolist()
        wrong = columns != (self.num_codebooks or columns)
        if rows_width != 4 or columns_width != 4 or rows < 1 or columns < 1 or wrong:
            fault = f"a matrix [{rows}, {columns}], expected [T, {self.num_codebooks or 'K'}]"
            raise self._error("E305", key, fault)
        return rows, columns

    def _check_size(self, key: str, header: Header) -> None:
        if HEADER_BYTES + 4 * header[0] * header[1] != self.notes[key][1]:
            raise self._error("E302", key, f"a matrix {list(header)} of another size than the one that was written")

    def _bytes(self, key: str, start: int, count: int) -> bytes:
        """At most `count` bytes from `start`; fewer where the file ends (and never more memory than it has bytes)."""
        descriptor = self._descriptor(key)
        if count > LARGE:  # a list that was tampered with may promise anything; asking costs a tenth of a short read
            count = min(count, max(0, self._file_size(key) - start))
        return os.pread(descriptor, count, start) if start >= 0 else b""

    def _file_size(self, key: str) -> int:
        return os.fstat(self._descriptor(key)).st_size

    def _written_size(self, path: str) -> int:
        """Bytes that an ark had when it was whole (as far as this list knows)."""
        keys = [key for key, place in self.places.items() if place[0] == path]
        return sum(len(key.encode()) + 1 + self.notes[key][1] for key in keys)

    def _descriptor(self, key: str) -> int:
        path = self.places[key][0]
        if path not in self._files:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a named pipe must not block
            except OSError as error:
                raise self._error("E304", key, f"no readable file ({error.strerror})") from None
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise self._error("E306", key, "no ordinary file")
            self._files[path] = descriptor
        return self._files[path]

    def _error(self, code: str, key: str, fault: str) -> ArkError:
        path, offset = self.places[key]
        return ArkError(code, f"holds {fault}", f"{path}:{offset} (utterance {key} of {self.scp})", REPAIR)


class _ForeignReader(TokenReader):
    """Arks without checksums: lengths come from the headers."""

    def _read_notes(self) -> dict[str, Note]:
        return {}

    def _check_size(self, key: str, header: Header) -> None:
        """Nothing was noted when it was written."""

    def _record(self, key: str) -> tuple[Header, memoryview]:
        header = self._header(key)
        count = 4 * header[0] * header[1]
        payload = self._bytes(key, self.places[key][1] + HEADER_BYTES, count)
        if len(payload) < count:
            raise self._error("E301", key, f"a cut record ({len(payload)} of {count} bytes)")
        return header, memoryview(payload)


def _record(key: str, codes: np.ndarray) -> bytes:
    fix = "give the codes of the codec as they are"
    if codes.ndim != 2 or 0 in codes.shape or codes.dtype.kind not in "iu":
        what = f"codes must be integers [K, T], not empty; got {list(codes.shape)} of {codes.dtype}"
        raise ArkError("E305", what, key, fix)
    if codes.min() < 0 or codes.max() >= EXACT_BELOW:
        what = f"codes are {codes.min()} .. {codes.max()}, allowed are 0 .. {EXACT_BELOW - 1}"
        raise ArkError("E305", what, key, fix)
    shape = np.array([(4, codes.shape[1]), (4, codes.shape[0])], DIMENSION)
    return MAGIC + shape.tobytes() + codes.T.astype("<f4", order="C").tobytes()
