"""Mixture encoders by name, with their layers fused into one memory.

SLM-SS (section 2.2) fuses all hidden layers of WavLM by one linear layer and normalises the result; here that is one
trained weight per layer (a linear layer from num_states to 1, no softmax) followed by layer norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from codecsep.codecs import fbank, mini_encoder, wavlm
from codecsep.errors import CodecsepError
from codecsep.tokens.padding import length_mask, pad_sequences, similar_lengths

KINDS = {"fbank": fbank, "mini_encoder": mini_encoder, "wavlm": wavlm}


@dataclass
class EncoderConfig:
    """`kind` names a file of codecs/ (fbank, mini_encoder or wavlm); only that part's config is used."""

    kind: str = "wavlm"
    fbank: fbank.Config = field(default_factory=fbank.Config)
    mini_encoder: mini_encoder.Config = field(default_factory=mini_encoder.Config)
    wavlm: wavlm.Config = field(default_factory=wavlm.Config)


class EncoderError(CodecsepError):
    """An encoder that does not exist."""


class FusedEncoder(nn.Module):
    """wav -> memory for cross-attention or for a classifier.  Raises EncoderError on an unknown kind."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        if config.kind not in KINDS:
            raise EncoderError("E354", f"is '{config.kind}'", "network.encoder.kind", f"give one of {', '.join(KINDS)}")
        self.network = KINDS[config.kind].Encoder(getattr(config, config.kind))
        self.fusion = nn.Linear(self.network.num_states, 1, bias=False)
        nn.init.constant_(self.fusion.weight, 1.0 / self.network.num_states)
        self.norm = nn.LayerNorm(self.width)

    @property
    def width(self) -> int:
        return self.network.width

    def forward(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L], lengths [B] samples -> (memory [B, T, width], valid [B, T] bool)."""
        states, frame_lengths = self.network(wav, lengths)
        memory = self.norm(self.fusion(states.movedim(0, -1))[..., 0])
        return memory, length_mask(frame_lengths, memory.shape[1])

    @torch.inference_mode()
    def remember(self, mixtures: Sequence[Tensor], batch_size: int) -> list[Tensor]:
        """Mixtures [L_i] -> memories [M_i, D], in the order given; encoded in batches of similar length."""
        device, memories = self.fusion.weight.device, [torch.empty(0)] * len(mixtures)
        for places in similar_lengths([len(mixture) for mixture in mixtures], batch_size):
            wav, lengths = pad_sequences([mixtures[place] for place in places], 0.0)
            memory, valid = self(wav.to(device), lengths.to(device))
            for place, row, size in zip(places, memory, valid.sum(1).tolist(), strict=True):
                memories[place] = row[:size].clone()
        return memories


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    """Do two encoders compute the same?  Then a memory is computed once for both."""
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
