"""Autoregressive decoding: ours against Hugging Face's generate, CTranslate2 and a loop without a cache.

A ragged queue with the lengths of Libri2Mix, batches of equal length, the share of the sampler, and how near a step
comes to what the machine can do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from codecsep.bin import bench_decode_tables as tables_of_decode
from codecsep.bin import bench_queue as work
from codecsep.bin.bench_decode_tables import Bench
from codecsep.bin.bench_own import PRECISIONS, Own
from codecsep.bin.bench_page import BenchError, Table
from codecsep.bin.bench_timing import clock_of
from codecsep.bin.bench_twins import HuggingFace, NoCache, sizes_of

QUICK = (
    "--num_layers=2", "--width=32", "--num_heads=2", "--ffn_width=64", "--codebook_size=32", "--utterances=6",
    "--slots=[2, 3]", "--frame_rate=1", "--memory_rate=4", "--batches=[2]", "--equal_tokens=12", "--equal_memory=10",
    "--whole_tokens=6", "--rounds=2",
)  # fmt: skip


@dataclass
class Settings:
    """Sizes of the decoder; the queue (utterances, slots, codec frames and memory frames per second); batches of equal
    length (rows, tokens, memory frames); whole_tokens: length at which the loop without a cache is run whole, to check
    what is computed from samples of its steps. Empty lists: what suits the device."""

    num_layers: int = 6
    width: int = 256
    num_heads: int = 4
    ffn_width: int = 1024
    codebook_size: int = 1024
    utterances: int = 64
    slots: list[int] = field(default_factory=list)
    frame_rate: float = 10.0
    memory_rate: float = 50.0
    batches: list[int] = field(default_factory=list)
    equal_tokens: int = 300
    equal_memory: int = 500
    whole_tokens: int = 40
    precisions: list[str] = field(default_factory=list)
    rounds: int = 5
    device: str = "cpu"

    def __post_init__(self):
        is_cuda = torch.device(self.device).type == "cuda"
        self.slots = self.slots or ([16, 64] if is_cuda else [8, 16])
        self.batches = self.batches or ([1, 16, 64] if is_cuda else [8])
        self.precisions = self.precisions or (["bf16"] if is_cuda else list(PRECISIONS))
        if strange := sorted(set(self.precisions) - set(PRECISIONS)):
            raise BenchError("E864", f"no precision '{strange[0]}'", "", f"give some of {', '.join(PRECISIONS)}")
        if min(self.rounds, self.utterances, *self.slots, *self.batches) < 1:
            raise BenchError("E864", "rounds, utterances, slots and batches must be at least 1", "", "raise them")


def run(settings: Settings) -> list[Table]:
    bench = make(settings)
    tables = [tables_of_decode.ragged(bench)]
    for rows in settings.batches:
        tables += tables_of_decode.equal(bench, rows)
    return [*tables, tables_of_decode.samplers(bench)]


def make(settings: Settings) -> Bench:
    """All contenders, with room for the longest sequence. Raises PackageError without transformers."""
    sizes, device = sizes_of(settings), settings.device
    queue = work.ragged(settings.utterances, settings.frame_rate, settings.memory_rate, settings.width, device)
    longest = max(settings.equal_tokens, settings.whole_tokens, *(row.tokens for row in queue)) + 8
    part = work.make_part(sizes, settings.codebook_size, longest, device)
    dtype = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
    return Bench(
        settings=settings,
        clock=clock_of(device),
        queue=queue,
        part=part,
        own={precision: Own(part, precision) for precision in settings.precisions},
        twin=HuggingFace(sizes, part.vocab, longest, device, dtype),
        naive=NoCache(sizes, part.vocab, longest, device, dtype),
    )
