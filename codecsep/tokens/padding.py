"""A list of sequences of different length <-> one padded batch with lengths."""

from collections.abc import Sequence

import torch


def pad_sequences(sequences: Sequence[torch.Tensor], value: int | float) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack arrays or tensors [.., S_i] (equal leading axes, any dtype), shorter ones filled at the end with `value`.

    Returns ([B, .., S], lengths int64 [B]) with S the longest S_i. Raises ValueError on an empty list or unequal axes.
    """
    if len(sequences) == 0:
        raise ValueError("cannot pad an empty list: a batch holds at least one example")
    rows = [torch.as_tensor(sequence) for sequence in sequences]
    leading = {tuple(row.shape[:-1]) for row in rows}
    if len(leading) > 1 or any(row.dim() == 0 for row in rows):
        raise ValueError(f"only the last axis may differ in a batch, got leading axes {sorted(leading)}")
    lengths = torch.tensor([row.shape[-1] for row in rows], dtype=torch.int64)
    batch = rows[0].new_full((len(rows), *rows[0].shape[:-1], int(lengths.max())), value)
    for target, row in zip(batch, rows, strict=True):
        target[..., : row.shape[-1]] = row
    return batch, lengths


def length_mask(lengths: torch.Tensor, num_steps: int) -> torch.Tensor:
    """lengths int64 [B] -> bool [B, num_steps], True where a step is valid (not padding)."""
    return torch.arange(num_steps, device=lengths.device) < lengths.unsqueeze(-1)


def similar_lengths(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """The places 0 .. n - 1 of a list in batches of similar length, the longest first."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
