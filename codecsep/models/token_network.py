"""What networks over token sequences share: mixture encoder, embedding tables, positions, decoder, tied heads."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codecsep.codecs.encoders import EncoderConfig, FusedEncoder
from codecsep.models.base import ModelError
from codecsep.nn.codebooks import make_tables
from codecsep.nn.sequence_positions import PositionConfig, make_positions
from codecsep.nn.transformer import Decoder, TransformerConfig
from codecsep.tokens import sot
from codecsep.tokens.vocab import Vocab

MEMORY_RATE = 50.0  # frames a second of every encoder in codecs/
MEMORY_OFFSETS = {"ar": 0, "nar": -1}  # after frame t - 1 the AR part writes frame t; a NAR step is about its own frame


class TokenConfig(Protocol):
    """What the configuration of such a network has; models/slm_ss.py says what each means."""

    part: str
    encoder: EncoderConfig
    decoder: TransformerConfig
    codebook_size: int
    code_width: int
    frame_rate: float
    max_speakers: int
    max_positions: int
    positions: str


class TokenNetwork(nn.Module):
    """Mixture encoder, one embedding table per level, positions, decoder, tied heads."""

    def __init__(self, config: TokenConfig, num_tables: int):
        super().__init__()
        self.config = config
        self.vocab = Vocab(config.codebook_size)
        self.encoder = FusedEncoder(config.encoder)
        if self.encoder.width != config.decoder.width:
            what = f"encoder width {self.encoder.width} differs from decoder width {config.decoder.width}"
            raise ModelError("E506", what, "", "make network.decoder.width the encoder's")
        self.tables = make_tables(num_tables, self.vocab.size, config.decoder.width, config.code_width)
        sizes = (config.decoder.width, config.max_positions, config.max_speakers)
        timing = (MEMORY_RATE / config.frame_rate, MEMORY_OFFSETS[config.part])
        self.positions = make_positions(PositionConfig(config.positions, *sizes, *timing))
        self.decoder = Decoder(config.decoder)

    def place(self, level0: Tensor, memory: Tensor, memory_valid: Tensor) -> Tensor:
        """Position embeddings of every step of level-0 ids [B, S] -> [B, S, D]."""
        steps = torch.arange(level0.shape[1], device=level0.device).expand_as(level0)
        times, turns = sot.time_positions(level0, self.vocab), (level0 == self.vocab.sc).cumsum(1)
        return self.positions(steps, self.open_turn(times, level0), turns, memory, memory_valid)

    def open_turn(self, times: Tensor, ids: Tensor) -> Tensor:
        """Times with 0 at <sc>, which opens the next speaker's turn as <sos> opens the first one's."""
        return times.masked_fill(ids == self.vocab.sc, 0)

    def embed(self, level: int, ids: Tensor) -> Tensor:
        """ids of one level, padding included, -> vectors; padding reads row 0 and is masked elsewhere."""
        return self.tables.embed(level, ids.masked_fill(ids == self.vocab.pad, 0))

    def head(self, hidden: Tensor, level: int) -> Tensor:
        """hidden [.., D] -> logits [.., V]: the product with the level's own embedding table."""
        return F.linear(hidden, *self.tables.output(level))
