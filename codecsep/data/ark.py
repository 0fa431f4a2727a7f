"""Token matrices <-> Kaldi ark/scp. (What is said here of codecs is in `codec_info`, and can be had from both.)

On disk a matrix is float32 `[T, K]` (exact below 2^24); in memory it is int64 `[K, T]`. Without the checksums that lie
beside it an ark is refused, unless it is read as one of others: `TokenReader.foreign(scp)`. See `records`.
"""

from pathlib import Path

import numpy as np

from codecsep.data.codec_info import ArkError, CodecInfo, read_codec_info, require_codec, write_codec_info
from codecsep.data.records import DIMENSION, HEADER_BYTES, MAGIC, Header, RecordReader, RecordWriter
from codecsep.data.token_lists import Note

__all__ = ["ArkError", "CodecInfo", "TokenReader", "TokenWriter", "read_codec_info", "require_codec"]
__all__ += ["write_codec_info", "DIMENSION", "HEADER_BYTES", "MAGIC"]
EXACT_BELOW = 1 << 24


class TokenWriter(RecordWriter):
    """Writes codes [K, T] (integers, 0 <= id < 2^24)."""

    def rows(self, key: str, values: np.ndarray) -> np.ndarray:
        """codes [K, T] -> [T, K]. Raises ArkError on a bad shape, type or id."""
        fix = "give the codes of the codec as they are"
        if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "iu":
            what = f"codes must be integers [K, T], not empty; got {list(values.shape)} of {values.dtype}"
            raise ArkError("E305", what, key, fix)
        if values.min() < 0 or values.max() >= EXACT_BELOW:
            what = f"codes are {values.min()} .. {values.max()}, allowed are 0 .. {EXACT_BELOW - 1}"
            raise ArkError("E305", what, key, fix)
        return values.T.astype("<f4", order="C")


class TokenReader(RecordReader):
    """Read-only mapping utterance id -> int64 [K, T] over an scp file of ours.

    size: ids must be below it (codebook_size, or V for sequences); num_codebooks: the K that every matrix must have.
    Every fault in the files is an ArkError: cut or damaged records, wrong offsets, other kinds, ids that are no codes.
    """

    def __init__(self, scp: Path | str, size: int = EXACT_BELOW, num_codebooks: int | None = None):
        super().__init__(scp, num_codebooks)
        self.size = size

    @classmethod
    def foreign(cls, scp: Path | str, size: int = EXACT_BELOW, num_codebooks: int | None = None) -> "TokenReader":
        """A reader of float32 matrices that Kaldi, ESPnet or kaldiio wrote: without checksums, a damaged id goes
        unnoticed as long as it is an id."""
        return _ForeignReader(scp, size, num_codebooks)

    def __getitem__(self, key: str) -> np.ndarray:
        values = self.rows(key)
        if not (values.min() >= 0 and values.max() < self.size):
            fault = f"ids {values.min():g} .. {values.max():g}, allowed are 0 .. {self.size - 1}"
            raise self._error("E305", key, fault)
        if not np.array_equal(np.rint(values), values):
            raise self._error("E305", key, "values that are no integers")
        return values.T.astype(np.int64, order="C")


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
