"""What separators of waveforms have in common: mixture [L] in, one waveform [L] per speaker out, PIT over SI-SDR.

A file of models/ with such a separator says how its network is built (`Config`, and `Model.estimate`); what it reads,
its loss and how it separates stand here.  Networks with global normalisation or recurrence see the padding of a batch,
so only rows of equal length are computed together: a mixture is separated, and weighs in the loss, as if it were alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from codecsep.decode.options import DecodeOptions
from codecsep.models.base import Separation, require_targets
from codecsep.signal.separation_loss import pit_si_sdr
from codecsep.tokens.padding import pad_sequences

THRESHOLD = -30.0  # dB of the loss at which a mixture is good enough not to count, as in SpeechBrain's recipes


class SeparatorConfig(Protocol):
    """What every `Config` here has."""

    sample_rate: int
    num_speakers: int


class WaveformSeparator(nn.Module, ABC):
    """A model of `models/base.py` around `estimate`."""

    fields = ("mixture", "sources")

    def __init__(self, config: SeparatorConfig):
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate

    @abstractmethod
    def estimate(self, wav: Tensor) -> Tensor:
        """Mixtures of one length [B, L] -> estimates [B, N, L]."""

    def sequence(self, example: dict) -> None:
        """There are no tokens."""
        return None

    def collate(self, examples: list[dict]) -> dict[str, Tensor]:
        """`mixture` [L] and `sources` [N, L] -> wav [B, L], sources [B, N, L], lengths [B].  Raises ModelError (E502)
        for an example without samples or with sources that are all silent."""
        for example in examples:
            require_targets(example, torch.as_tensor(np.abs(example["sources"]).max(-1) > 0))
        wav, lengths = pad_sequences([torch.as_tensor(e["mixture"]) for e in examples], 0.0)
        sources, _ = pad_sequences([torch.as_tensor(e["sources"]) for e in examples], 0.0)
        return {"wav": wav, "sources": sources, "lengths": lengths}

    def forward(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """Mixtures [B, L] with their lengths [B] -> estimates [B, N, L], zero after each row."""
        estimates = wav.new_zeros(len(wav), self.config.num_speakers, wav.shape[1])
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero()[:, 0]
            made = self.estimate(wav[rows, :length])
            estimates = estimates.index_copy(0, rows, nn.functional.pad(made.to(wav), (0, wav.shape[1] - length)))
        return estimates

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Negative SI-SDR in dB under the best permutation."""
        estimates = self(batch["wav"], batch["lengths"])
        loss, each = pit_si_sdr(estimates, batch["sources"], batch["lengths"], THRESHOLD)
        return loss, {"si_sdr": -float(each.detach().mean())}

    @torch.inference_mode()
    def separate(self, mixtures: Sequence[np.ndarray], options: DecodeOptions, keys: Sequence[str]) -> list[Separation]:
        """One waveform per speaker of the configuration, silence where the mixture is silent (some networks divide by
        its level); `options` has no effect."""
        device = next(self.parameters()).device
        wav, lengths = pad_sequences([torch.as_tensor(m) for m in mixtures], 0.0)
        estimates = self(wav.to(device), lengths.to(device)).float().cpu()
        estimates = torch.where(wav.any(1)[:, None, None], estimates, 0.0)
        return [
            Separation(waves=list(row[:, :length].clone()))
            for row, length in zip(estimates, lengths.tolist(), strict=True)
        ]
