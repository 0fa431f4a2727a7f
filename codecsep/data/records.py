"""Records of Kaldi arks that hold float32 matrices, and the lists beside them: what token and latent arks share.

On disk a matrix is a record "FM " (readable by Kaldi, ESPnet and kaldiio). Nothing else is read: no text, no
compression, no pickles, no pipes. Beside an ark of ours lies `<prefix>.crc`: `<id> <CRC-32> <bytes>` of each record.
What the numbers of a matrix mean is for the subclasses to say.
"""

import os
import re
import stat
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from codecsep.data import atomic
from codecsep.data.codec_info import ArkError
from codecsep.data.token_lists import REPAIR, Note, note_of, place_of, read_list
from codecsep.faults import faultpoint

MAGIC = b"\0BFM "
HEADER_BYTES = len(MAGIC) + 10
DIMENSION = np.dtype([("width", "i1"), ("value", "<i4")])
LARGE = 1 << 20  # bytes; 11 minutes of 8 codebooks at 50 Hz
OTHER_RECORDS = {b"CM": "compressed (lossy)", b"FV": "float vector", b"DM": "float64", b"PK": "pickle", b"NP": "numpy"}
Header = tuple[int, int]  # T and K


class RecordWriter(ABC):
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

    def __enter__(self) -> "RecordWriter":
        # left in the reverse order: the scp, which makes the ark known, gets its name last
        self.beside = {
            ending: self._stack.enter_context(atomic.replacing(f"{self.prefix}.{ending}"))
            for ending in ("scp", "crc", "ark")
        }
        self.file = self._stack.enter_context(open(self.beside["ark"], "wb"))
        return self

    @abstractmethod
    def rows(self, key: str, values: np.ndarray) -> np.ndarray:
        """What is given -> the matrix [T, columns], "<f4" in C order, that is stored. Raises ArkError."""

    def write(self, key: str, values: np.ndarray) -> None:
        """Append one matrix. Raises ArkError on a bad or repeated key, and on what `rows` refuses."""
        if not key or re.search(r"\s", key):
            raise ArkError(
                "E104", f"utterance id {key!r} is empty or holds a blank", self.prefix, "rename the utterance"
            )
        if key in self.entries:
            raise ArkError("E101", f"utterance id {key!r} was written before", self.prefix, "give each utterance once")
        record = _record(self.rows(key, np.asarray(values)))
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


class RecordReader(Mapping):
    """Read-only mapping utterance id -> matrix over an scp file of ours; a subclass says what a matrix is.

    columns: that every matrix must have (None: any).
    May be shared by forked workers (reads carry their own position) and pickled for spawned ones.
    """

    UNIT = "K"  # what columns are called in messages

    def __init__(self, scp: Path | str, columns: int | None = None):
        self.scp, self.columns = Path(scp), columns
        self.places = {key: place_of(self.scp, key, words) for key, words in read_list(self.scp, 2).items()}
        self.notes: dict[str, Note] = self._read_notes()
        self._files: dict[str, int] = {}

    def rows(self, key: str) -> np.ndarray:
        """float32 [T, columns], not to be written to. Every fault in the files is an ArkError: cut or damaged records,
        wrong offsets, other kinds."""
        shape, payload = self._record(key)
        return np.frombuffer(payload, "<f4").reshape(shape)

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
        wrong = columns != (self.columns or columns)
        if rows_width != 4 or columns_width != 4 or rows < 1 or columns < 1 or wrong:
            fault = f"a matrix [{rows}, {columns}], expected [T, {self.columns or self.UNIT}]"
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


def _record(rows: np.ndarray) -> bytes:
    shape = np.array([(4, rows.shape[0]), (4, rows.shape[1])], DIMENSION)
    return MAGIC + shape.tobytes() + rows.tobytes()
