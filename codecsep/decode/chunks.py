"""Streaming: a chunk of C tokens per step, each yielded as soon as it is there (WavSLM, arXiv 2603.05299).

The logits at token i are those of token i + C, so the C tokens of the next chunk come from one step and are drawn
independently of each other. There is no token that ends a sequence: a row ends at its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from codecsep.decode.noise import GumbelNoise
from codecsep.decode.options import ChunkOptions
from codecsep.decode.sampler import Sampling, draw
from codecsep.decode.step import DecodeError, not_numbers


class ChunkStep(Protocol):
    """A network with a rolling cache over the rows of a batch, all of which have the same number of tokens.

    chunk: tokens of a chunk (C). Inside a chunk every token sees every other one, and all chunks before it.
    window: tokens that can be seen at all, those of the chunk included; a multiple of C. It must be counted from the
        end of the chunk (not from each token), as the cache is cut by whole chunks.
    """

    chunk: int
    window: int

    def advance(self, tokens: Tensor) -> Tensor:
        """tokens [B, n * C], whole chunks -> logits [B, n * C, V], those at i of token i + C; the cache grows."""
        ...

    def evict(self, num_tokens: int) -> None:
        """Forget the oldest so many tokens of the cache."""
        ...

    def keep(self, rows: Tensor) -> None:
        """From now on only these rows ([B'] int64), in this order."""
        ...


@dataclass
class Chunk:
    """rows: which rows of the call; tokens [len(rows), C] int64, their next ones."""

    rows: list[int]
    tokens: Tensor


def stream(
    step: ChunkStep, prompt: Tensor, lengths: Sequence[int], options: ChunkOptions, keys: Sequence[str] | None = None
) -> Iterator[Chunk]:
    """Continue a prompt, chunk by chunk.

    Args:
        step: fresh, with one row per prompt.
        prompt: [B, P] int64, P a positive multiple of C.
        lengths: new tokens of each row, multiples of C; a row leaves the batch when it has them.
        keys: one name per row, which seeds its random numbers; row numbers when left out.

    Returns:
        An iterator over the next chunk of all rows that are not at their end. A step is computed when its chunk is
        asked for.

    Raises:
        ValueError: the numbers of prompts and lengths disagree.
        DecodeError: a prompt or a length is no multiple of C; or, from the iterator, NaN logits.
    """
    _check(step, prompt, lengths)
    names = [str(row) for row in range(len(prompt))] if keys is None else list(keys)
    return _chunks(step, prompt, list(lengths), options, GumbelNoise(options.seed, names, prompt.device))


def _chunks(
    step: ChunkStep, prompt: Tensor, lengths: list[int], options: ChunkOptions, noise: GumbelNoise
) -> Iterator[Chunk]:
    rows, tokens, cache = list(range(len(prompt))), prompt, _Cache(step)
    for made in range(0, max(lengths, default=0), step.chunk):
        stay = [place for place, row in enumerate(rows) if lengths[row] > made]
        if len(stay) < len(rows):
            kept = torch.tensor(stay, device=prompt.device)
            rows, tokens = [rows[place] for place in stay], tokens[kept]
            step.keep(kept)
            noise.keep(kept)
        logits = cache.advance(tokens)
        if bool(logits.isnan().any()):
            raise not_numbers(f" after {prompt.shape[1] + made} tokens")
        tokens = _choose(logits, prompt.shape[1] + made, noise, options)
        yield Chunk(list(rows), tokens)


class _Cache:
    """Feeds a step so that its cache never holds more than a window, the chunk that is fed included."""

    def __init__(self, step: ChunkStep) -> None:
        self.step, self.held = step, 0

    def advance(self, tokens: Tensor) -> Tensor:
        """tokens [B, n * C] -> logits of the chunk after them, [B, C, V]."""
        chunk, window = self.step.chunk, self.step.window
        first = chunk if self.held else window  # nothing is out of sight within the first window
        pieces = [tokens[:, :first], *tokens[:, first:].split(chunk, dim=1)]
        for piece in (piece for piece in pieces if piece.shape[1]):
            surplus = self.held + piece.shape[1] - window
            if surplus > 0:
                self.step.evict(surplus)
                self.held -= surplus
            logits = self.step.advance(piece)
            self.held += piece.shape[1]
        return logits[:, -chunk:]


def _choose(logits: Tensor, position: int, noise: GumbelNoise, options: ChunkOptions) -> Tensor:
    """logits [B, C, V] of the tokens from `position` on -> [B, C]; the noise belongs to a token's position."""
    if options.top_p == 0.0:
        return logits.argmax(dim=-1)
    steps = position + torch.arange(logits.shape[1], device=logits.device)[None]
    sampling = Sampling(options.temperature, options.top_k, options.top_p)
    return draw(logits.float(), sampling, lambda ids: noise.at_steps(steps, logits.shape[-1], ids))


def _check(step: ChunkStep, prompt: Tensor, lengths: Sequence[int]) -> None:
    if len(lengths) != len(prompt):
        raise ValueError(f"{len(lengths)} lengths for {len(prompt)} prompts; give one per row")
    if not prompt.shape[1]:
        raise _not_chunks("a prompt", 0, step.chunk, "give at least one chunk, e.g. of silence")
    sizes = [("a prompt", prompt.shape[1]), ("a window", step.window), *(("a length", length) for length in lengths)]
    for what, count in sizes:
        if count % step.chunk:
            raise _not_chunks(what, count, step.chunk, f"cut it to a multiple of {step.chunk}")


def _not_chunks(what: str, count: int, chunk: int, fix: str) -> DecodeError:
    return DecodeError("E538", f"{what} of {count} tokens is not made of chunks of {chunk}", "decoding", fix)
