"""The work of `bench decode`: utterances with the lengths of Libri2Mix, and a decoder of the wanted size.

Every contender decodes the same number of tokens for the same utterance, whatever its network thinks of it, so that
ratios compare equal work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codecsep.codecs.encoders import EncoderConfig
from codecsep.models import slm_ss
from codecsep.nn.transformer import TransformerConfig

NUM_SPEAKERS = 2
# Seconds of both speakers of 64 mixtures: every 46.875th line of the official list of Libri2Mix test-clean (JorisCos/
# LibriMix, metadata/Libri2Mix/libri2mix_test-clean.csv, MIT), lengths from its metadata/LibriSpeech/test-clean.csv.
# Mode max: mean 8.35 s of the longer and 5.36 s of the shorter speaker (all 3,000 mixtures: 8.41 and 5.02 s).
SECONDS = (
    (3.77, 5.20), (5.09, 7.01), (4.67, 16.51), (9.88, 4.86), (8.30, 16.71), (6.73, 7.16), (16.84, 13.99),
    (6.21, 10.98), (5.25, 3.27), (5.42, 3.17), (3.06, 9.44), (6.62, 11.02), (5.60, 14.24), (7.97, 7.64),
    (10.94, 4.73), (8.50, 13.59), (3.81, 5.92), (5.21, 3.50), (6.44, 7.82), (8.80, 5.12), (6.63, 5.62),
    (7.44, 15.64), (5.92, 6.21), (4.03, 10.98), (5.51, 4.18), (6.25, 11.09), (7.76, 9.62), (9.18, 13.34),
    (6.15, 5.87), (8.71, 11.31), (9.81, 14.63), (4.25, 4.17), (5.78, 8.06), (3.38, 3.52), (3.08, 11.26),
    (6.99, 12.46), (12.03, 7.34), (3.00, 3.38), (7.49, 3.05), (11.02, 9.66), (10.01, 4.04), (4.29, 3.38),
    (5.98, 11.70), (4.73, 4.21), (5.06, 3.97), (3.40, 4.83), (4.60, 5.58), (4.72, 6.51), (4.02, 3.29),
    (8.39, 7.17), (9.72, 5.43), (7.84, 6.72), (3.25, 4.34), (7.67, 6.75), (4.79, 3.08), (4.50, 3.92),
    (4.48, 3.76), (4.78, 4.38), (10.23, 6.53), (3.28, 4.12), (5.42, 3.16), (7.12, 3.33), (4.83, 6.56), (3.27, 7.00),
)  # fmt: skip


@dataclass(frozen=True)
class Utterance:
    """frames: codec frames of each of the two speakers; memory: float32 [M, D], what cross-attention reads."""

    key: str
    frames: int
    memory: Tensor

    @property
    def tokens(self) -> int:
        """Tokens to be decoded: after <sos>, up to <eos>."""
        return NUM_SPEAKERS * (self.frames + 1)


def ragged(count: int, frame_rate: float, memory_rate: float, width: int, device: str) -> list[Utterance]:
    """The first `count` mixtures (again from the first after the last), the memory as long as the mixture.

    Both speakers get the mean of their lengths, so that the sequence is as long as theirs.
    """
    picked = [SECONDS[index % len(SECONDS)] for index in range(count)]
    sizes = [(max(1, round(frame_rate * sum(pair) / 2)), max(1, round(memory_rate * max(pair)))) for pair in picked]
    return _utterances(sizes, width, device)


def equal(count: int, tokens: int, memory: int, width: int, device: str) -> list[Utterance]:
    """`count` utterances of `tokens` tokens (made even) and so many frames of memory."""
    return _utterances([(max(1, tokens // NUM_SPEAKERS - 1), memory)] * count, width, device)


def _utterances(sizes: Sequence[tuple[int, int]], width: int, device: str) -> list[Utterance]:
    draw = torch.Generator().manual_seed(1)
    memories = [torch.randn(memory, width, generator=draw).to(device) for _, memory in sizes]
    return [Utterance(str(index), sizes[index][0], memory) for index, memory in enumerate(memories)]


def make_part(sizes: TransformerConfig, codebook_size: int, longest: int, device: str) -> slm_ss.AutoregressivePart:
    """The AR part of SLM-SS, random weights, without its encoder: the memories are given."""
    encoder = EncoderConfig(kind="mini_encoder")
    encoder.mini_encoder.transformer = TransformerConfig(0, sizes.width, sizes.num_heads, sizes.ffn_width)
    torch.manual_seed(1)
    config = slm_ss.Config(encoder=encoder, decoder=sizes, codebook_size=codebook_size, max_positions=longest)
    part = slm_ss.AutoregressivePart(config)
    part.encoder = None
    return part.to(device).eval()


def batches(queue: Sequence[Utterance], size: int) -> list[Sequence[Utterance]]:
    """The queue in its own order, `size` at a time."""
    return [queue[start : start + size] for start in range(0, len(queue), size)]


def padded_memory(rows: Sequence[Utterance]) -> tuple[Tensor, Tensor]:
    """Memories of a batch, [B, M, D] with zeros at the end, and which frames are real, [B, M] bool."""
    memory = torch.nn.utils.rnn.pad_sequence([row.memory for row in rows], batch_first=True)
    lengths = torch.tensor([len(row.memory) for row in rows], device=memory.device)
    return memory, torch.arange(memory.shape[1], device=memory.device) < lengths[:, None]
