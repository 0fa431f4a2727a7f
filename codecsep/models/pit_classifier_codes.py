"""The PIT token classifier on the mixture's own codes: the separation recipe of DASB (Mousavi et al. 2024), any codec.

    codes of the mixture -> one embedding table per codebook -> pooled over codebooks by softmax attention
        -> Conformer -> one linear layer to the codes of all speakers and levels

Input and targets are codes of the same codec, so they share their frames, whatever the rate of these is.  Loss, head
and decoding are those of `pit_classifier`, where the input is the mixture's spectrum; so is the class "absent", which
DASB does not need because it cuts its mixtures to the shorter speaker.

The mixture is encoded in every step, by the codec that is given with --codec, so that mixtures may be made on the fly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from codecsep.codecs.base import Codec
from codecsep.models.base import ModelError
from codecsep.models.in_codec import InCodec
from codecsep.models.pit_classifier import HeadConfig, TokenClassifier
from codecsep.nn.conformer import Conformer, ConformerConfig
from codecsep.nn.positions import sinusoids
from codecsep.nn.transformer import Encoder as Transformer
from codecsep.nn.transformer import TransformerConfig
from codecsep.tokens.padding import length_mask


@dataclass
class Config(HeadConfig):
    """Sizes; the defaults are DASB's at medium rate.  `network`: which of the two encoders is used, of `conformer` and
    `transformer`.  num_codebooks and codebook_size must be the codec's."""

    embedding_width: int = 1024
    network: Literal["conformer", "transformer"] = "conformer"
    conformer: ConformerConfig = field(default_factory=ConformerConfig)
    transformer: TransformerConfig = field(
        default_factory=lambda: TransformerConfig(num_layers=6, width=256, num_heads=4, ffn_width=2048, dropout=0.1)
    )


class TransformerNetwork(nn.Module):
    """The Transformer of `nn/` with a norm at the end, in the shape of `Conformer`."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.layers, self.norm = Transformer(config), nn.LayerNorm(config.width)

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        """hidden [B, T, D], valid [B, T] -> [B, T, D]."""
        return self.norm(self.layers(hidden, valid)[-1])


class CodesEncoder(InCodec):
    """wav -> its codes -> memory; the counterpart of `encoders.FusedEncoder`."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, width = config, config.embedding_width
        self.width = getattr(config, config.network).width
        self.tables = nn.ModuleList(nn.Embedding(config.codebook_size, width) for _ in range(config.num_codebooks))
        self.score = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1, bias=False))
        self.join = nn.Linear(width, self.width)
        is_conformer = config.network == "conformer"
        self.network = Conformer(config.conformer) if is_conformer else TransformerNetwork(config.transformer)

    def use_codec(self, codec: Codec) -> None:
        """Raises ModelError when its codes are of another shape, or when the weights belong to another codec."""
        found, wanted = ((of.num_codebooks, of.codebook_size) for of in (codec.info, self.config))
        if found != wanted:
            what = f"{codec.info.name} has {found[0]} x {found[1]} codes, the network is for {wanted[0]} x {wanted[1]}"
            raise ModelError("E508", what, "--codec", "set network.num_codebooks and network.codebook_size")
        super().use_codec(codec)

    def forward(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L] at the codec's rate, lengths [B] -> (memory [B, T, width], valid [B, T])."""
        with torch.no_grad():
            codes, frame_lengths = self.codec.encode(wav, lengths)
        return self.read(codes.clone(), frame_lengths.clone())  # made in inference mode, which autograd refuses

    def read(self, codes: Tensor, frame_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """codes [B, K, T], frame_lengths [B] -> (memory [B, T, width], valid [B, T])."""
        valid = length_mask(frame_lengths, codes.shape[2])
        positions = sinusoids(torch.arange(codes.shape[2], device=codes.device), self.width)
        return self.network(self.join(self.pooled(codes)) + positions, valid), valid

    def pooled(self, codes: Tensor) -> Tensor:
        """codes [B, K, T] -> [B, T, E]: the embeddings of the levels, weighted by a softmax over levels."""
        vectors = torch.stack([table(level) for table, level in zip(self.tables, codes.unbind(1), strict=True)], 2)
        return (self.score(vectors).softmax(2) * vectors).sum(2)


class Model(TokenClassifier):
    """Mixture [L] -> codes of `num_speakers` speakers, frame by frame, read off the codes of the mixture."""

    encoder: CodesEncoder

    def __init__(self, config: Config):
        super().__init__(config, CodesEncoder(config))

    @property
    def sample_rate(self) -> int:
        """The codec's.  Raises ModelError when none was given."""
        return self.encoder.codec.info.sample_rate

    def use_codec(self, codec: Codec) -> None:
        """Raises ModelError when it does not fit."""
        self.encoder.use_codec(codec)
