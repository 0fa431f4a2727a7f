"""The fast twin of `sequence_step`: level 0 of a network over serialised sequences, prepared once for decoding.

`SequenceEngine` is what `decode.queue` calls a step maker: it holds the inference copy of the network and makes the
state of rows from their memories. Tables are computed once, memories projected once per row, and a step changes its
state in place and never waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codecsep.nn.fast_decoder import FastConfig, FastDecoder
from codecsep.nn.linears import make_linear
from codecsep.nn.row_caches import LockstepCache, SlotCache, grown, moved
from codecsep.nn.sequence_step import SequenceNetwork

ROOM = 256  # positions for which caches have room at first
BUCKET = 64  # lengths of bf16 caches: see `LockstepCache`


class SequenceEngine:
    """An inference copy of level 0 of `part`.  `window`: see `decode.engine_options`.

    Raises Int8Error where int8 is asked for and cannot be had.
    """

    @torch.inference_mode()
    def __init__(self, part: SequenceNetwork, config: FastConfig, window: int = 128):
        self.decoder = FastDecoder(part.decoder, config)
        self.vocab, self.positions, self.window = part.vocab, part.positions, window
        self.device = self.decoder.shape.device
        self.table = part.embed(0, torch.arange(part.vocab.size, device=self.device)).detach().clone()
        precision = "bf16" if self.decoder.dtype == torch.bfloat16 else "fp32"  # never int8: it is small and decides
        self.head = make_linear(*part.tables.output(0), precision)

    @torch.inference_mode()
    def lockstep(self, given: Sequence[Tensor]) -> EngineStep:
        """Rows that begin together, with memories [M_i, D]."""
        shape = self.decoder.shape
        bucket = 1 if shape.dtype == torch.float32 else BUCKET
        return EngineStep(self, LockstepCache(shape, len(given), ROOM, bucket), given)

    @torch.inference_mode()
    def slots(self, given: Sequence[Tensor]) -> EngineSlots:
        """Rows whose places others may take, with memories [M_i, D]."""
        return EngineSlots(self, SlotCache(self.decoder.shape, len(given), ROOM, self.window), given)


class EngineStep:
    """The state of rows: cached keys and values, projected memories, where each row stands."""

    def __init__(self, engine: SequenceEngine, past: LockstepCache | SlotCache, given: Sequence[Tensor]):
        self.engine, self.past = engine, past
        self.memories, self.frames = engine.decoder.memories(given), _prepared(engine, given)
        self.times = torch.zeros(len(given), dtype=torch.int64, device=engine.device)  # of the latest token
        self.turns, self.steps = torch.zeros_like(self.times), torch.full_like(self.times, -1)

    @torch.inference_mode()
    def __call__(self, tokens: Tensor) -> Tensor:
        """tokens [B] -> logits [B, V] of the next token."""
        vocab, engine = self.engine.vocab, self.engine
        is_change = tokens == vocab.sc
        self.steps.add_(1)
        self.turns.add_(is_change)
        self.times.add_(1).masked_fill_(is_change | (tokens == vocab.sos), 0)
        last = self.memories.lengths - 1
        places = engine.positions.at(self.steps, self.times, self.turns, self.frames, last)
        hidden = F.embedding(tokens, engine.table) + places
        return engine.head(engine.decoder.step(hidden, self.past, self.memories))

    @torch.inference_mode()
    def keep(self, rows: Tensor) -> None:
        """Keep only these rows of the state, in this order."""
        self.past.keep(rows)
        self.memories.keep(rows)
        self.times, self.turns, self.steps = self.times[rows], self.turns[rows], self.steps[rows]
        self.frames = None if self.frames is None else moved(self.frames, rows)


class EngineSlots(EngineStep):
    """Rows of lengths of their own, in places that others may take."""

    def __init__(self, engine: SequenceEngine, past: SlotCache, given: Sequence[Tensor]):
        super().__init__(engine, past, given)
        self.past: SlotCache = past
        self.memories.widen(self.memories.room)
        self.generation = 0  # how often tensors were replaced: graphs of before are of no use

    @torch.inference_mode()
    def plan(self) -> tuple[int, int]:
        """Make room for one step more; what the step's shapes depend on."""
        room = self.past.room
        window = self.past.plan()
        self.generation += self.past.room != room
        return self.generation, window

    @torch.inference_mode()
    def admit(self, places: Sequence[int], given: Sequence[Tensor]) -> None:
        """New rows with memories [M_i, D] in these places."""
        fresh, frames = self.engine.decoder.memories(given), _prepared(self.engine, given)
        if fresh.room > self.memories.room:
            self.generation += 1
            self.frames = None if self.frames is None else grown(self.frames, fresh.room, self.memories.room)
            self.memories.widen(fresh.room)
        index = torch.tensor(places, device=self.engine.device)
        self.memories.put(index, fresh)
        if frames is not None:
            self.frames[index, : frames.shape[1]] = frames
        self._restart(places)

    @torch.inference_mode()
    def release(self, places: Sequence[int]) -> None:
        """What stands here is read by nobody: it begins anew, so that it widens no window."""
        self._restart(places)

    def _restart(self, places: Sequence[int]) -> None:
        index = torch.tensor(places, device=self.engine.device)
        self.past.restart(places)
        for count, start in ((self.times, 0), (self.turns, 0), (self.steps, -1)):
            count.index_fill_(0, index, start)


def _prepared(engine: SequenceEngine, given: Sequence[Tensor]) -> Tensor | None:
    """What the positions need of the memories, padded: [B, M, D] or None."""
    return engine.positions.prepare(nn.utils.rnn.pad_sequence(list(given), batch_first=True))
