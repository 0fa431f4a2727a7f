"""The target of fuzz_sot.py, apart from the others because it needs torch."""

import numpy as np
import torch

from codecsep.tokens import sot as sequences
from codecsep.tokens.vocab import Vocab


def sot(data: bytes) -> None:
    """Any integers at all are split into speakers of codes; what is split can be built and split again."""
    vocab = Vocab(16)
    levels = 1 + (data[0] % 4 if data else 0)
    ids = np.frombuffer(data[1:], np.int8).astype(np.int64)
    matrix = torch.from_numpy(ids[: len(ids) // levels * levels].reshape(levels, -1))
    speakers = sequences.split(matrix, vocab)
    assert 1 <= len(speakers) <= int((matrix[0] == vocab.sc).sum()) + 1
    assert all(bool(vocab.is_code(speaker).all()) and speaker.shape[0] == levels for speaker in speakers)
    again = sequences.split(sequences.build(speakers, vocab), vocab)
    assert all(torch.equal(a, b) for a, b in zip(speakers, again, strict=True))
    counter = sequences.PositionCounter(levels, vocab)
    steps = [counter.step(matrix[:, step]) for step in range(min(matrix.shape[1], 200))]
    if steps:
        assert torch.equal(torch.stack(steps, 1), sequences.time_positions(matrix[:, :200], vocab))
