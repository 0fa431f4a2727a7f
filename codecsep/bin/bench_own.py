"""Our own decoder as a contender: the only file of the benchmarks that knows how it is called."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from codecsep.bin.bench_queue import NUM_SPEAKERS, Utterance, batches, padded_memory
from codecsep.decode import autoregressive
from codecsep.decode.options import DecodeOptions
from codecsep.models.slm_ss import AutoregressivePart
from codecsep.nn.sequence_step import SequenceStep

EXACT = DecodeOptions(num_speakers=NUM_SPEAKERS, length_rule="exact")  # as many frames as each utterance asks for
SAMPLED = DecodeOptions("sample", 0.8, 50, 0.9, num_speakers=NUM_SPEAKERS, length_rule="exact")
PRECISIONS = ("fp32",)


class Own:
    """The AR part of SLM-SS at one precision, with all rules of its sequences."""

    def __init__(self, part: AutoregressivePart, precision: str):
        self.part, self.precision = part, precision

    @torch.inference_mode()
    def decode(self, rows: Sequence[Utterance], options: DecodeOptions = EXACT) -> list[int]:
        """One batch of rows that leave when they end. Tokens decoded for each row."""
        return self._run(self._step(rows), rows, options)

    def decode_queue(self, queue: Sequence[Utterance], slots: int) -> list[int]:
        """All utterances, `slots` of them at a time, in the order that is best for us."""
        order = sorted(range(len(queue)), key=lambda index: queue[index].tokens)
        counts: dict[int, int] = {}
        for places in batches(order, slots):
            counts.update(zip(places, self.decode([queue[index] for index in places]), strict=True))
        return [counts[index] for index in range(len(queue))]

    @torch.inference_mode()
    def sampler_share(self, rows: Sequence[Utterance], options: DecodeOptions) -> float:
        """Share of a decoding that is not the network: rules, noise, choice, bookkeeping (of processor time)."""
        step, start = _Timed(self._step(rows)), time.process_time()
        self._run(step, rows, options)
        return 1 - step.seconds / (time.process_time() - start)

    def _step(self, rows: Sequence[Utterance]) -> SequenceStep:
        return SequenceStep(self.part, *padded_memory(rows))

    def _run(self, step: autoregressive.Step, rows: Sequence[Utterance], options: DecodeOptions) -> list[int]:
        bounds = torch.tensor([row.frames for row in rows], device=rows[0].memory.device)
        keys = [row.key for row in rows]
        found, _ = autoregressive.decode(step, len(rows), self.part.vocab, options, bounds, keys)
        return [len(tokens) - 1 for tokens in found]


class _Timed:
    """A step that knows how much processor time it has taken."""

    def __init__(self, step: autoregressive.Step):
        self.step, self.seconds = step, 0.0

    def __call__(self, tokens: Tensor) -> Tensor:
        start = time.process_time()
        logits = self.step(tokens)
        self.seconds += time.process_time() - start
        return logits

    def keep(self, rows: Tensor) -> None:
        start = time.process_time()
        self.step.keep(rows)
        self.seconds += time.process_time() - start
