"""Recordings that do not fit into memory: encoded in chunks, with the codes that they have as a whole.

A codec whose codes look at most `context` frames to either side is given each chunk with so many frames more on both
sides, whose codes are dropped. Where the arithmetic of a frame does not depend on how many frames are computed with it,
the codes are those of the whole signal, bit for bit; where a matrix product sums in another order, a code changes only
when two candidates are within float32 rounding of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from codecsep.codecs.base import CodecError
from codecsep.data.codec_info import CodecInfo

CHUNK_SECONDS = 30.0
Read = Callable[[int, int], Tensor]  # (start, stop) in samples at the codec's rate -> float32 [stop - start]


class LongSignalError(CodecError):
    """A codec that cannot encode in chunks, and a signal that may not be encoded at once."""


def chunks(num_frames: int, size: int, context: int) -> Iterator[tuple[int, int, int, int]]:
    """(begin, start, stop, end): frames `start` to `stop` are wanted, `begin` to `end` are computed for them."""
    for start in range(0, num_frames, size):
        stop = min(start + size, num_frames)
        yield max(0, start - context), start, stop, min(num_frames, stop + context)


def encode_in_chunks(
    encode: Callable[[Tensor], Tensor], read: Read, num_samples: int, info: CodecInfo, context: int
) -> Tensor:
    """encode: wav [1, L] -> codes [1, K, T]; the codes [K, T] of all num_samples, T = ceil(num_samples / hop)."""
    size, num_frames = max(1, round(CHUNK_SECONDS * info.frame_rate)), -(-num_samples // info.hop)
    codes = torch.empty(info.num_codebooks, num_frames, dtype=torch.int64)  # small parts would split up the memory
    for begin, start, stop, end in chunks(num_frames, size, context):
        wav = read(begin * info.hop, min(end * info.hop, num_samples))
        codes[:, start:stop] = encode(wav[None])[0, :, start - begin : stop - begin].cpu()
    return codes


def no_chunks(info: CodecInfo, num_samples: int) -> LongSignalError:
    """What is raised for a codec without a bound on what its codes depend on."""
    what = f"{info.name} cannot encode in chunks, and the signal lasts {num_samples / info.sample_rate:.0f} s"
    return LongSignalError("E344", what, "", "cut it into pieces, or raise --long_seconds to encode it at once")
