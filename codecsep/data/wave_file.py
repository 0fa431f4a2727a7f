"""What an audio file says of itself, read by ourselves: libsndfile takes a file that was cut without a word.

The readers are total: any bytes at all give an answer or an AudioError.
"""

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from codecsep.errors import CodecsepError

UNKNOWN = 0xFFFFFFFF  # the length in the header of a file that was streamed
FIXED_SIZE = (1, 3, 6, 7)  # integer, float, A-law, mu-law: a block is one sample of each channel
EXTENSIBLE = 0xFFFE
MAX_CHUNKS = 10000
MIN_RATE, MAX_RATE = 1000, 768000  # Hz; what lies outside is a damaged header, not a recording
OGG_HEADER = struct.Struct("<4sBBqIIIB")
OGG_LAST = 4  # flag of the page that ends a stream
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
MAKE_AGAIN = "make the file again, or remove it from the list"


class AudioError(CodecsepError):
    """An audio file or signal that cannot be used; the message names the file and what to do."""


@dataclass(frozen=True)
class Promise:
    """Blocks of samples that a RIFF header promises (None: it was streamed and does not say) and that the file holds.

    block: bytes of one; unit: "samples" per channel, or "blocks" of a compressed format. rate: Hz.
    """

    promised: int | None
    held: int
    block: int
    unit: str
    rate: int


def check_whole(path: Path) -> None:
    """Raise AudioError when a RIFF or Ogg file is shorter than it says or damaged, or has an impossible rate; other
    formats are left to their decoder."""
    with open(path, "rb") as file:
        kind = file.read(4)
        file.seek(0)
        if kind in (b"RIFF", b"RIFX", b"RF64"):
            _check_riff(path, read_riff(file, str(path)))
        elif kind == b"OggS" and (fault := ogg_fault(file)):
            raise AudioError("E202", f"cut short or damaged: {fault}", path, MAKE_AGAIN)


def is_streamed(path: Path) -> bool:
    """Is this a RIFF file that was written into a pipe, so that its header cannot tell a cut?"""
    with open(path, "rb") as file:
        is_riff = file.read(4) in (b"RIFF", b"RIFX", b"RF64")
        file.seek(0)
        promise = read_riff(file, str(path)) if is_riff else None
    return promise is not None and promise.promised is None


def _check_riff(path: Path, promise: Promise | None) -> None:
    if promise is None:
        return
    check_rate(promise.rate, path)
    if promise.promised is None:
        return
    if promise.promised > promise.held or promise.promised == 0 < promise.held:
        numbers = f"its header promises {promise.promised:,} {promise.unit}, the file holds {promise.held:,}"
        raise AudioError("E202", f"cut short: {numbers}", path, MAKE_AGAIN)


def check_rate(rate: int, where: object) -> None:
    """Raise AudioError when `rate` (Hz) is no sampling rate of a recording."""
    if not MIN_RATE <= rate <= MAX_RATE:
        what = f"a sampling rate of {rate} Hz; {MIN_RATE} to {MAX_RATE} Hz are read"
        raise AudioError("E221", what, where, "mend the header of the file or make it again")


def read_riff(file: BinaryIO, name: str) -> Promise | None:
    """The promise of a RIFF/WAVE file (RIFX: big-endian, RF64: long); None when there is no chunk of samples, or none
    of their format before it: then libsndfile decides. Raises AudioError on a chain of chunks without end, and on a
    second chunk of samples or of their format: libsndfile would silently read that one."""
    size = _size(file)
    order = ">" if file.read(12)[:4] == b"RIFX" else "<"
    layout, long_length = b"", None
    for _ in range(MAX_CHUNKS):
        if len(head := file.read(8)) < 8:
            return None
        kind, length = struct.unpack(f"{order}4sI", head)
        start = file.tell()
        if kind == b"data":
            length = long_length if length == UNKNOWN and long_length is not None else length
            if start + length < size:
                _check_only_chunk(file, start + length + (length & 1), order, name)
            return _promise(layout, length, size - start, order)
        content = file.read(min(length, 40))
        if kind == b"fmt ":
            layout = content
        elif kind == b"ds64" and len(content) >= 16:
            long_length = struct.unpack("<Q", content[8:16])[0]
        file.seek(start + length + (length & 1))
    raise AudioError("E201", f"more than {MAX_CHUNKS} chunks and no samples", name, MAKE_AGAIN)


def _check_only_chunk(file: BinaryIO, place: int, order: str, name: str) -> None:
    for _ in range(MAX_CHUNKS):
        file.seek(place)
        if len(head := file.read(8)) < 8:
            return
        kind, length = struct.unpack(f"{order}4sI", head)
        if kind in (b"data", b"fmt "):
            raise AudioError("E201", f"a second {kind.decode()!r} chunk at byte {place}", name, MAKE_AGAIN)
        place += 8 + length + (length & 1)


def _promise(layout: bytes, length: int, held: int, order: str) -> Promise | None:
    if len(layout) < 16:
        return None
    kind, _, rate, _, block, _ = struct.unpack(f"{order}HHIIHH", layout[:16])
    if kind == EXTENSIBLE and len(layout) >= 26:
        kind = struct.unpack(f"{order}H", layout[24:26])[0]
    block = max(block, 1)
    promised = None if length == UNKNOWN else length // block
    return Promise(promised, held // block, block, "samples" if kind in FIXED_SIZE else "blocks", rate)


def ogg_fault(file: BinaryIO) -> str | None:
    """Why the pages of an Ogg file are not whole; None when each has its checksum and the last one ends its stream."""
    size, place, flags = _size(file), 0, 0
    while place < size:
        head = file.read(OGG_HEADER.size)
        if len(head) < OGG_HEADER.size or head[:4] != b"OggS":
            return f"no page at byte {place}"
        segments = file.read(head[26])
        body = file.read(sum(segments))
        if len(segments) < head[26] or len(body) < sum(segments):
            return f"the page at byte {place} is not whole"
        if _ogg_checksum(head[:22] + bytes(4) + head[26:] + segments + body) != head[22:26]:
            return f"the page at byte {place} is damaged"
        place, flags = file.tell(), head[5]
    return None if flags & OGG_LAST else "the last page is missing"


def _ogg_checksum(page: bytes) -> bytes:
    """CRC-32 with the highest bit first, which is zlib's over the bytes mirrored bit by bit."""
    mirrored = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return struct.pack(">I", mirrored).translate(REVERSED)


def _size(file: BinaryIO) -> int:
    place = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(place)
    return end
