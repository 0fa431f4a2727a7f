"""Arithmetic in which codes are made: float32 all through, whatever the program around has chosen.

A code is an argmax or a sign, so a coarser type changes codes wherever two candidates are close: in bfloat16 nearly all
of them, with the ten bits of TF32 some at every level of a residual quantiser.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from codecsep.codecs.base import CodecError

COARSE = (torch.bfloat16, torch.float16)


def places() -> list:
    """What torch lets one choose the precision of float32 products of: CUDA, cuDNN and oneDNN, kind by kind."""
    backends = torch.backends
    mkldnn = (backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn)
    return [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, *mkldnn]


@contextmanager
def exact_arithmetic(codec: nn.Module) -> Iterator[None]:
    """No autocast and no TF32 or bfloat16 inside float32 products. Raises CodecError (E343) for weights in a coarser
    type: they were rounded, and nothing here can undo that."""
    weights = next(codec.parameters(), torch.zeros(()))
    if weights.dtype in COARSE:
        what = f"the codec is in {str(weights.dtype).removeprefix('torch.')}; codes are made in float32"
        raise CodecError("E343", what, "", "load the codec again and leave its type as it is")
    before = [(place, place.fp32_precision) for place in places()]
    with torch.autocast(weights.device.type, enabled=False):
        try:
            for place, _ in before:
                place.fp32_precision = "ieee"
            yield
        finally:
            for place, precision in before:
                place.fp32_precision = precision
