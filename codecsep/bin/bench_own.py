"""Our own decoder as a contender: the only file of the benchmarks that knows how it is called."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from codecsep.bin.bench_queue import NUM_SPEAKERS, Utterance
from codecsep.decode.engine_options import CHOICES, EngineOptions
from codecsep.decode.options import DecodeOptions
from codecsep.decode.queue import Request, StepMaker
from codecsep.models.slm_ss import AutoregressivePart

EXACT = DecodeOptions(num_speakers=NUM_SPEAKERS, length_rule="exact")  # as many frames as each utterance asks for
SAMPLED = DecodeOptions("sample", 0.8, 50, 0.9, num_speakers=NUM_SPEAKERS, length_rule="exact")
PRECISIONS = CHOICES["precision"]


class Own:
    """The AR part of SLM-SS at one precision, with all rules of its sequences."""

    def __init__(self, part: AutoregressivePart, precision: str):
        self.part, self.precision = part, precision
        self.engine = part.engine(EngineOptions(precision=precision))

    def decode(self, rows: Sequence[Utterance], options: DecodeOptions = EXACT) -> list[int]:
        """One batch. Tokens decoded for each row."""
        return self._run(self.engine, rows, len(rows), options)

    def decode_queue(self, queue: Sequence[Utterance], slots: int) -> list[int]:
        """All utterances, `slots` of them at a time, in the order and by the policy that the engine chooses."""
        return self._run(self.engine, queue, slots, EXACT)

    def choose_only(self, rows: Sequence[Utterance], options: DecodeOptions) -> list[int]:
        """As `decode`, with a network that takes no time: rules, noise, choice and bookkeeping are left."""
        return self._run(Constant(self.part.vocab.size, self.engine.device), rows, len(rows), options)

    def _run(self, maker: StepMaker, queue: Sequence[Utterance], slots: int, options: DecodeOptions) -> list[int]:
        requests = [Request(row.key, row.frames, row.memory) for row in queue]
        found, _ = self.part.generate(maker, requests, options, EngineOptions(slots, self.precision))
        return [len(tokens) - 1 for tokens in found]


class Constant:
    """Makes steps that give the same logits for every row, at once."""

    def __init__(self, vocab_size: int, device: torch.device):
        draw = torch.Generator().manual_seed(1)
        self.logits, self.device = torch.randn(vocab_size, generator=draw).to(device), device

    def lockstep(self, given: Sequence[Any]) -> ConstantStep:
        return ConstantStep(self.logits, len(given))

    slots = lockstep


class ConstantStep:
    """A step without a network."""

    def __init__(self, logits: Tensor, rows: int):
        self.logits = logits.expand(rows, -1)

    def __call__(self, tokens: Tensor) -> Tensor:
        return self.logits

    def keep(self, rows: Tensor) -> None:
        self.logits = self.logits[: len(rows)]

    def plan(self) -> Hashable:
        return 0

    def admit(self, places: Sequence[int], given: Sequence[Any]) -> None:
        pass

    def release(self, places: Sequence[int]) -> None:
        pass
