"""The simple token baseline: a frame-synchronous classifier trained with permutation invariance.

After the Libri2Mix recipe of DASB (Mousavi et al. 2024): an encoder, a linear layer to the codes of
all speakers and all levels at once, cross-entropy under the best of the N! permutations, one per utterance.  No level
knows the others and no frame knows its neighbours' choice: what a language model adds is measured against this.

Departures: the input is the mixture's spectrum (DASB's "continuous" variant; for its codes see `pit_classifier_codes`);
one extra class, "absent", marks the frames where a speaker has already ended, so that speakers may differ in length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codecsep.codecs import encoders
from codecsep.codecs.encoders import EncoderConfig
from codecsep.decode.options import DecodeOptions
from codecsep.models.base import Separation, require_targets
from codecsep.nn.codebooks import Codes
from codecsep.signal.permute import pit_loss
from codecsep.tokens.padding import pad_sequences
from codecsep.tokens.vocab import Vocab


@dataclass
class HeadConfig:
    """Codec sizes and number of speakers.  The defaults are DASB's EnCodec setting at medium rate.

    `levels_per_step`: 0 trains all levels in every step; n trains level 0 and n - 1 others, drawn anew each time.
    `code_width`: 0 for DASB's linear layer, or the width of the codec's code vectors for a head made of them.
    """

    num_codebooks: int = 8
    codebook_size: int = 1024
    code_width: int = 0
    num_speakers: int = 2
    levels_per_step: int = 0


@dataclass
class Config(HeadConfig):
    """The head's sizes, and the encoder of the mixture's spectrum."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)


class LinearHead(nn.Module):
    """One linear layer to the classes of all speakers and levels (DASB's)."""

    def __init__(self, config: HeadConfig, width: int):
        super().__init__()
        self.shape = (config.num_speakers, config.num_codebooks, config.codebook_size + 1)
        self.linear = nn.Linear(width, math.prod(self.shape))

    def forward(self, memory: Tensor, levels: list[int]) -> Tensor:
        """memory [B, T, D], the k levels wanted -> logits [B, T, N, k, V + 1]."""
        weight = self.linear.weight.unflatten(0, self.shape)[:, levels]
        bias = self.linear.bias.unflatten(0, self.shape)[:, levels]
        return F.linear(memory, weight.flatten(0, 2), bias.flatten()).unflatten(-1, bias.shape)


class CodebookHead(nn.Module):
    """Logits as products with the codec's code vectors (`nn.codebooks.Codes`), a vector per speaker and level."""

    def __init__(self, config: HeadConfig, width: int):
        super().__init__()
        self.shape = (config.num_speakers, config.num_codebooks, config.code_width)
        self.vectors = nn.Linear(width, math.prod(self.shape))
        self.codebooks = nn.ModuleList(
            Codes(config.codebook_size, config.code_width) for _ in range(config.num_codebooks)
        )
        self.absent = nn.Linear(width, math.prod(self.shape[:2]))
        self.biases = nn.Parameter(torch.zeros(config.num_codebooks, config.codebook_size))
        nn.init.normal_(self.vectors.weight, std=1.0 / (width * config.code_width) ** 0.5)

    def forward(self, memory: Tensor, levels: list[int]) -> Tensor:
        """memory [B, T, D], the k levels wanted -> logits [B, T, N, k, V + 1]."""
        vectors = self.vectors(memory).unflatten(-1, self.shape)
        absent = self.absent(memory).unflatten(-1, self.shape[:2])
        parts = []
        for level in levels:
            book = self.codebooks[level]
            present = F.linear(vectors[..., level, :], book.codes / book.rms(), self.biases[level])
            parts.append(torch.cat([present, absent[..., level, None]], -1))
        return torch.stack(parts, 3)


def make_head(config: HeadConfig, width: int) -> LinearHead | CodebookHead:
    """`CodebookHead` where the config names the width of the codec's code vectors, else `LinearHead`."""
    return CodebookHead(config, width) if config.code_width else LinearHead(config, width)


class TokenClassifier(nn.Module):
    """Mixture [L] -> codes of `num_speakers` speakers, frame by frame, whatever the encoder reads of the mixture.

    encoder: wav [B, L], lengths [B] -> (memory [B, T, encoder.width], valid [B, T]), T the frames of the codec.
    """

    fields = ("mixture", "codes")

    def __init__(self, config: HeadConfig, encoder: nn.Module):
        super().__init__()
        self.config = config
        self.vocab = Vocab(config.codebook_size)
        self.absent = config.codebook_size
        self.encoder = encoder
        self.head = make_head(config, encoder.width)

    def sequence(self, example: dict) -> None:
        """Frame-synchronous: there is no sequence to build."""
        return None

    def collate(self, examples: list[dict]) -> dict[str, Tensor]:
        """`mixture` [L] and `codes` (N arrays [K, T_j]) -> wav [B, L], lengths [B], codes [B, N, K, T]."""
        for example in examples:
            require_targets(example, torch.tensor([codes.shape[-1] > 0 for codes in example["codes"]]))
        wav, lengths = pad_sequences([torch.as_tensor(e["mixture"]) for e in examples], 0.0)
        rows = [pad_sequences(e["codes"], self.absent)[0] for e in examples]
        codes, _ = pad_sequences(rows, self.absent)
        return {"wav": wav, "lengths": lengths, "codes": codes}

    def logits(self, wav: Tensor, lengths: Tensor, levels: list[int] | None = None) -> tuple[Tensor, Tensor]:
        """wav [B, L], the levels wanted (None: all) -> (logits [B, T, N, k, V + 1], valid [B, T])."""
        memory, valid = self.encoder(wav, lengths)
        return self.head(memory, list(range(self.config.num_codebooks)) if levels is None else levels), valid

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy per code under the best permutation, averaged over frames and levels."""
        levels = self._draw_levels()
        logits, valid = self.logits(batch["wav"], batch["lengths"], levels)
        codes = fit_frames(batch["codes"][:, :, levels], logits.shape[1], self.absent)
        pairs = pair_losses(logits, codes, valid)
        loss, _ = pit_loss(pairs)
        loss = loss.mean()
        return loss, {"cross_entropy": float(loss.detach())}

    def _draw_levels(self) -> list[int]:
        """All levels in evaluation; in training level 0 and a few others, if the config says so."""
        count = self.config.levels_per_step
        if not self.training or count == 0:
            return list(range(self.config.num_codebooks))
        return [0, *(1 + torch.randperm(self.config.num_codebooks - 1)[: count - 1]).sort().values.tolist()]

    @torch.inference_mode()
    def separate(self, mixtures: Sequence[np.ndarray], options: DecodeOptions, keys: Sequence[str]) -> list[Separation]:
        """The likeliest code of every frame and level; each speaker ends where that is likeliest.  `options` has no
        effect: nothing is sampled."""
        wav, lengths = pad_sequences([torch.as_tensor(m) for m in mixtures], 0.0)
        device = next(self.parameters()).device
        logits, valid = self.logits(wav.to(device), lengths.to(device))
        log_probs = logits.log_softmax(-1)
        codes = logits[..., : self.absent].argmax(-1)
        found = []
        for row, frames in enumerate(valid.sum(1).tolist()):
            ends = last_frames(log_probs[row, :frames, :, 0], self.absent)
            found.append(Separation([codes[row, :end, i].T.cpu() for i, end in enumerate(ends)]))
        return found


class Model(TokenClassifier):
    """The classifier that reads the mixture's spectrum, or what an encoder makes of it."""

    sample_rate = 16000  # of the mixtures that the encoders read

    def __init__(self, config: Config):
        super().__init__(config, encoders.FusedEncoder(config.encoder))


def pair_losses(logits: Tensor, codes: Tensor, valid: Tensor) -> Tensor:
    """Cross-entropy of every (estimate, reference) pair.

    logits [B, T, N, K, V + 1], codes [B, M, K, T], valid [B, T] -> [B, M, N] (reference, estimate), the mean over valid
    frames and levels.
    """
    log_probs = logits.float().log_softmax(-1)
    weights = valid / valid.sum(1, keepdim=True)
    columns = []
    for reference in codes.unbind(1):
        wanted = reference.transpose(1, 2)[:, :, None, :, None].expand(*log_probs.shape[:-1], 1)
        chosen = log_probs.gather(-1, wanted)[..., 0].mean(-1)
        columns.append(-(chosen * weights[..., None]).sum(1))
    return torch.stack(columns, 1)


def fit_frames(codes: Tensor, size: int, fill: int) -> Tensor:
    """Cut or fill the last axis to `size` frames."""
    return F.pad(codes[..., :size], (0, max(0, size - codes.shape[-1])), value=fill)


def last_frames(log_probs: Tensor, absent: int) -> list[int]:
    """Where each speaker most likely ends: log_probs [T, N, V + 1] of level 0 -> N frame counts in 0..T.

    The end e maximises sum over t < e of log P(present) + sum over t >= e of log P(absent).
    """
    gone = log_probs[..., absent]
    here = torch.log1p(-gone.exp().clamp_max(1 - 1e-6))
    gain = F.pad((here - gone).cumsum(0), (0, 0, 1, 0))
    return gain.argmax(0).tolist()
