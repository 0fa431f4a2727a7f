"""What separators in a codec's continuous latent space have in common: the way in and out, and three losses.

Codecformer (Yip et al., arXiv 2406.12434) and what followed it work between a frozen codec's encoder and decoder:

    mixture -> the codec's rate -> divided by its peak -> codec encoder -> z [B, T, D] -> estimates [B, N, T, D]
        -> codec decoder -> the model's rate -> divided by its peak

What a paper puts between z and the estimates is its file's `estimate`.  The codec computes in float32 whatever the
precision of the training, never in training mode, and without a gradient of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from codecsep.codecs.base import Codec
from codecsep.codecs.exact import exact_arithmetic
from codecsep.decode.options import DecodeOptions
from codecsep.models.base import ModelError, Separation, require_targets
from codecsep.models.in_codec import InCodec
from codecsep.signal.permute import pit_loss
from codecsep.signal.resample import resample
from codecsep.signal.separation_loss import pit_si_sdr
from codecsep.tokens.padding import length_mask, pad_sequences

STORED = ("mixture_latents", "source_latents")
QUIET = 1e-5  # peak below which a signal is silence (a step of 16 bits is 3e-5): it is not divided by


@dataclass
class LatentConfig:
    """Rate of the mixtures, width D of the codec's latents, speakers, loss.

    loss: `clean`        negative SI-SDR against the sources, the codec's constant delay taken out of the estimates
          `transmitted`  negative SI-SDR against the sources as the codec transmits them, with its quantiser
                         (cSI-SDR, Codecformer's score)
          `latent`       mean squared error to the sources' latents, read from the dump directories of stage 2; the
                         decoder is not used (Codecformer-EL)
          `encoded`      the same with latents that are made in every step, for mixtures that are made on the fly
    threshold: dB; a mixture whose SI-SDR loss is already below it does not count in a batch.
    """

    sample_rate: int = 8000
    latent_size: int = 1024
    num_speakers: int = 2
    loss: Literal["clean", "transmitted", "latent", "encoded"] = "clean"
    threshold: float = -30.0


class LatentSeparator(InCodec, ABC):
    """The members of a model (`models/base.py`) for a file that fills in `estimate`."""

    config: LatentConfig

    def __init__(self, config: LatentConfig):
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate
        self.fields = STORED if config.loss == "latent" else ("mixture", "sources")

    @abstractmethod
    def estimate(self, latents: Tensor, frame_lengths: Tensor) -> Tensor:
        """z [B, T, D] of mixtures, frame_lengths [B] -> latents of the speakers [B, N, T, D]; rows do not depend on
        each other nor on padding."""

    def use_codec(self, codec: Codec) -> None:
        """Raises ModelError when its latents are of another width, or when the weights belong to another codec."""
        wanted = self.config.latent_size
        if codec.latent_size != wanted:
            what = f"the latents of {codec.info.name} have {codec.latent_size} values, network.latent_size is {wanted}"
            raise ModelError(
                "E508", what, "--codec", "give the codec that the configuration is for, or set latent_size"
            )
        super().use_codec(codec)

    def sequence(self, example: dict) -> None:
        """Frame-synchronous: there is no sequence to build."""
        return None

    def collate(self, examples: list[dict]) -> dict[str, Tensor]:
        """`mixture` [L], `sources` [N, L] -> wav [B, L], lengths [B], sources [B, N, L]; or `mixture_latents` [T, D],
        `source_latents` [N, T, D] -> latents [B, T, D], frame_lengths [B], targets [B, N, T, D].

        Raises ModelError for an example of no samples, no frames, or of another number of speakers.
        """
        mixture, sources = self.fields
        for example in examples:
            require_speakers(example, len(example[sources]), self.config.num_speakers)
            require_targets({"mixture": example[mixture]} | example, torch.ones(1))
        if self.fields == STORED:
            return collate_latents(examples)
        wav, lengths = pad_sequences([torch.as_tensor(example["mixture"]) for example in examples], 0.0)
        references, _ = pad_sequences([torch.as_tensor(example["sources"]) for example in examples], 0.0)
        return {"wav": wav, "lengths": lengths, "sources": references}

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """What `config.loss` names, under the best permutation of each mixture."""
        in_latents = self.config.loss in ("latent", "encoded")
        return self.latent_loss(batch) if in_latents else self.wave_loss(batch)

    def wave_loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Negative SI-SDR in dB; the permutation is chosen by the same references that the loss is computed with."""
        lengths = batch["lengths"]
        latents, frame_lengths = self.encode(batch["wav"], lengths)
        estimates = self.estimate(latents, frame_lengths)
        references, delay = batch["sources"], self.codec.info.delay_samples
        if self.config.loss == "transmitted":
            references, delay = self.transmitted(references, lengths), 0
        waves = self.decode(estimates, frame_lengths, lengths, delay)
        loss, losses = pit_si_sdr(waves, references, lengths, self.config.threshold)
        return loss, {"si_sdr": -float(losses.detach().mean())}

    def latent_loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error per value over the valid frames of each mixture, averaged over mixtures."""
        batch = batch if self.fields == STORED else self.with_latents(batch)
        frame_lengths, targets = batch["frame_lengths"], batch["targets"]
        estimates = self.estimate(batch["latents"], frame_lengths).float()
        losses, _ = pit_loss(pair_squared_errors(estimates, targets, frame_lengths))
        loss = losses.mean()
        return loss, {"squared_error": float(loss.detach())}

    def with_latents(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch of waveforms with the latents that stage 2 would have stored."""
        latents, frame_lengths = self.encode(batch["wav"], batch["lengths"])
        rows = [self.encode(sources, batch["lengths"])[0] for sources in batch["sources"].unbind(1)]
        return batch | {"latents": latents, "frame_lengths": frame_lengths, "targets": torch.stack(rows, 1)}

    def encode(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L] and lengths [B] at the model's rate -> (latents [B, T, D], frame_lengths [B]), no gradient."""
        with torch.no_grad(), exact_arithmetic(self.codec):
            latents, frame_lengths = self.codec.latents(*self.to_codec(wav, lengths))
        return latents.clone(), frame_lengths.clone()  # made in inference mode, which autograd refuses

    def decode(self, latents: Tensor, frame_lengths: Tensor, lengths: Tensor, delay: int = 0) -> Tensor:
        """latents [B, N, T, D] -> waveforms [B, N, L] at the model's rate with peak 1, zero after `lengths` [B].

        delay: samples at the codec's output rate by which decoded speech lags, to be taken out.
        """
        count, info = latents.shape[1], self.codec.info
        frames = frame_lengths.repeat_interleave(count)
        with exact_arithmetic(self.codec):
            wav = self.codec.synthesise(latents.flatten(0, 1).float(), frames)
            sizes = torch.tensor([self.codec.num_samples(size) for size in frames.tolist()], device=wav.device)
            wav = advance(wav * length_mask(sizes, wav.shape[1]), delay)
            wav = peak_normalised(resample(wav, sizes, info.output_rate, self.sample_rate)[0])
        wav = fit(wav, int(lengths.max())).unflatten(0, (-1, count))
        return wav * length_mask(lengths, wav.shape[2])[:, None]

    def transmitted(self, sources: Tensor, lengths: Tensor) -> Tensor:
        """Sources [B, N, L] as a receiver hears them: coded with the codec's quantiser and decoded, no gradient.

        A silent source stays silent, whatever the codec makes of silence.
        """
        count = sources.shape[1]
        with torch.no_grad(), exact_arithmetic(self.codec):
            wav, sizes = self.to_codec(sources.flatten(0, 1), lengths.repeat_interleave(count))
            codes, frames = self.codec.encode(wav, sizes)
            latents = self.codec.embed(codes).unflatten(0, (-1, count)).clone()
            heard = self.decode(latents, frames[::count].clone(), lengths)
        return heard * (sources.abs().amax(-1, keepdim=True) > QUIET)

    def codes(self, latents: Tensor) -> Tensor:
        """latents [B, T, D] -> the codes [B, K, T] that the codec's quantiser gives them."""
        with torch.no_grad(), exact_arithmetic(self.codec):
            return self.codec.quantize(latents.float()).clone()

    def embedded(self, codes: Tensor) -> Tensor:
        """codes [B, k, T] of the k lowest levels -> latents [B, T, D], no gradient."""
        with torch.no_grad(), exact_arithmetic(self.codec):
            made = self.codec.embed(codes)
        return made.clone()

    def to_codec(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L] at the model's rate -> (the same at the codec's rate with peak 1, its lengths)."""
        wav, rate = wav * length_mask(lengths, wav.shape[1]), self.codec.info.sample_rate
        wav, lengths = resample(wav, lengths, self.sample_rate, rate)
        return peak_normalised(wav), lengths

    @torch.inference_mode()
    def separate(self, mixtures: Sequence[np.ndarray], options: DecodeOptions, keys: Sequence[str]) -> list[Separation]:
        """Latents of the speakers, as many frames as the mixture has.  `options` has no effect: nothing is sampled."""
        wav, lengths = pad_sequences([torch.as_tensor(mixture) for mixture in mixtures], 0.0)
        device = self.codec_fingerprint.device
        latents, frame_lengths = self.encode(wav.to(device), lengths.to(device))
        estimates = self.estimate(latents, frame_lengths).float().cpu()
        rows = zip(estimates, frame_lengths.tolist(), strict=True)
        return [Separation(latents=[speaker[:frames] for speaker in row]) for row, frames in rows]


def require_speakers(example: dict, found: int, wanted: int) -> None:
    """Raise ModelError when an example has another number of speakers than the network gives."""
    if found != wanted:
        what = f"{found} sources, the network separates {wanted}"
        raise ModelError("E502", what, f"utterance {example.get('id', '?')}", "set network.num_speakers, or the data's")


def collate_latents(examples: list[dict]) -> dict[str, Tensor]:
    """Stored latents of a batch -> latents [B, T, D], frame_lengths [B], targets [B, N, T, D], zero after each row."""
    latents, frame_lengths = pad_sequences([torch.as_tensor(e["mixture_latents"]).T for e in examples], 0.0)
    targets, _ = pad_sequences([torch.as_tensor(e["source_latents"]).transpose(1, 2) for e in examples], 0.0)
    return {"latents": latents.mT, "frame_lengths": frame_lengths, "targets": targets.mT}


def pair_squared_errors(estimates: Tensor, references: Tensor, frame_lengths: Tensor) -> Tensor:
    """Mean squared error of every pair over valid frames: estimates [B, N, T, D], references [B, M, T, D] ->
    [B, M, N]."""
    valid = length_mask(frame_lengths, estimates.shape[2])
    rows = [(estimates - one[:, None]).square().mean(-1) for one in references.unbind(1)]
    return (torch.stack(rows, 1) * valid[:, None, None]).sum(-1) / frame_lengths[:, None, None]


def peak_normalised(wav: Tensor) -> Tensor:
    """Each row of [B, L] divided by its absolute peak; silence stays silence."""
    return wav / wav.abs().amax(-1, keepdim=True).clamp_min(QUIET)


def advance(wav: Tensor, delay: int) -> Tensor:
    """[B, L] with a delay of so many samples taken out (negative: it led by as much); the length stays."""
    return F.pad(wav, (-delay, delay))


def fit(wav: Tensor, size: int) -> Tensor:
    """[B, L] cut, or filled up with zeros, to `size` samples."""
    return F.pad(wav, (0, size - wav.shape[1]))
