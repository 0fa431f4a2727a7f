"""Padded batches: content at the start, the given value after it, lengths exact."""

import numpy as np
import pytest
import torch

from codecsep.tokens.padding import length_mask, pad_sequences


def test_content_padding_and_lengths():
    rows = [torch.arange(6).reshape(2, 3), torch.arange(10).reshape(2, 5), torch.zeros(2, 0, dtype=torch.int64)]
    batch, lengths = pad_sequences(rows, 99)
    assert batch.shape == (3, 2, 5) and batch.dtype == torch.int64 and lengths.tolist() == [3, 5, 0]
    mask = length_mask(lengths, 5)
    assert mask.dtype == torch.bool and mask.sum(1).tolist() == [3, 5, 0]
    assert (batch.masked_fill(mask[:, None], 99) == 99).all()
    for row, padded, length in zip(rows, batch, lengths, strict=True):
        assert torch.equal(padded[:, :length], row)


def test_takes_numpy_waves():
    batch, lengths = pad_sequences([np.ones(3, np.float32), np.ones(1, np.float32)], 0.0)
    assert batch.dtype == torch.float32 and batch.tolist() == [[1, 1, 1], [1, 0, 0]] and lengths.tolist() == [3, 1]


@pytest.mark.parametrize("rows", [[], [torch.zeros(2, 3), torch.zeros(3, 3)], [torch.tensor(1)]])
def test_refuses(rows):
    with pytest.raises(ValueError):
        pad_sequences(rows, 0)
