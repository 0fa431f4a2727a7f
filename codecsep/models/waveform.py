"""What separators of waveforms have in common: mixture [L] in, one waveform [L] per speaker out, PIT over SI-SDR.

A file of models/ with such a separator says how its network is built (`Config`, and `Model.estimate`); what it reads,
its loss and how it separates stand here.  Networks with global normalisation or recurrence see the padding of a batch,
so only rows of equal length are computed together: a mixture is separated, and weighs in the loss, as if it were alone.
They see every mixture at the same level, and no silence, which some of them divide by.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from codecsep.decode.options import DecodeOptions
from codecsep.models.base import ModelError, Separation
from codecsep.signal.separation_loss import pit_si_sdr
from codecsep.tokens.padding import pad_sequences
from codecsep.torch_audio import PackageError, import_torchaudio

THRESHOLD = -30.0  # dB of the loss at which a mixture is good enough not to count, as in SpeechBrain's recipes
SILENT = 1e-7  # root mean square of what counts as silence: below the steps of 16 bits
INSTALL = "tools/setup_venv.sh --extras separators"


class SeparatorConfig(Protocol):
    """What every `Config` here has."""

    sample_rate: int
    num_speakers: int


class WaveformSeparator(nn.Module, ABC):
    """A model of `models/base.py` around `estimate`."""

    fields = ("mixture", "sources")
    gives_waves = True

    def __init__(self, config: SeparatorConfig):
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate

    @abstractmethod
    def estimate(self, wav: Tensor) -> Tensor:
        """Mixtures of one length [B, L], none silent, mean square 1 -> estimates [B, N, L]."""

    def sequence(self, example: dict) -> None:
        """There are no tokens."""
        return None

    def collate(self, examples: list[dict]) -> dict[str, Tensor]:
        """`mixture` [L] and `sources` [N, L] -> wav [B, L], sources [B, N, L], lengths [B].  Raises ModelError (E502)
        for an example without samples.  A crop may be silent: it has no say in the loss."""
        for example in examples:
            if len(example["mixture"]) == 0:
                where = f"utterance {example.get('id', '?')}"
                raise ModelError("E502", "0 samples", where, "remove it from the data directory")
        wav, lengths = pad_sequences([torch.as_tensor(e["mixture"]) for e in examples], 0.0)
        sources, _ = pad_sequences([torch.as_tensor(e["sources"]) for e in examples], 0.0)
        return {"wav": wav, "sources": sources, "lengths": lengths}

    def forward(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """Mixtures [B, L] with their lengths [B] -> estimates [B, N, L], zero after each row."""
        wav, level = levelled(wav, lengths)
        estimates = wav.new_zeros(len(wav), self.config.num_speakers, wav.shape[1])
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero()[:, 0]
            made = self.estimate(wav[rows, :length])
            estimates = estimates.index_copy(0, rows, nn.functional.pad(made.to(wav), (0, wav.shape[1] - length)))
        return estimates * level[:, None, None]

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Negative SI-SDR in dB under the best permutation."""
        estimates = self(batch["wav"], batch["lengths"])
        loss, each = pit_si_sdr(estimates, batch["sources"], batch["lengths"], THRESHOLD)
        return loss, {"si_sdr": -float(each.detach().mean())}

    @torch.inference_mode()
    def separate(self, mixtures: Sequence[np.ndarray], options: DecodeOptions, keys: Sequence[str]) -> list[Separation]:
        """One waveform per speaker of the configuration, silent ones where the mixture is; `options` has no effect."""
        device = next(self.parameters()).device
        wav, lengths = pad_sequences([torch.as_tensor(m) for m in mixtures], 0.0)
        estimates = self(wav.to(device), lengths.to(device)).float().cpu()
        return [
            Separation(waves=list(row[:, :length].clone()))
            for row, length in zip(estimates, lengths.tolist(), strict=True)
        ]


def levelled(wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [B, L], zero after their lengths [B], at mean square 1, and the factors [B] that undo it.  A silent row
    becomes a ramp with the factor 0."""
    level = (wav.square().sum(1) / lengths).sqrt()
    silent = level < SILENT
    ramp = torch.linspace(-1.0, 1.0, wav.shape[1], device=wav.device, dtype=wav.dtype)
    rows = torch.where(silent[:, None], ramp, wav / level.clamp_min(SILENT)[:, None])
    return rows, level.masked_fill(silent, 0.0)


@contextmanager
def needs(package: str) -> Iterator[None]:
    """Around imports from an optional package that imports torchaudio: one that fails is a PackageError that says how
    to install it."""
    import_torchaudio()
    try:
        yield
    except ImportError as error:
        what = f"this separator needs the package {package} ({error})"
        raise PackageError("E901", what, package, INSTALL) from error
