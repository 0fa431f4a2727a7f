"""What every codec has in common: encode is quantize after latents, decode is synthesise after embed."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from codecsep.codecs.base import CodecError
from codecsep.codecs.exact import exact_arithmetic
from codecsep.codecs.long import Read, encode_in_chunks, no_chunks
from codecsep.data.ark import CodecInfo
from codecsep.tokens.padding import length_mask, pad_sequences


class LatentCodec(nn.Module, ABC):
    """A codec of `codecs/base.py` from its four parts; a file of codecs/ fills in what is abstract here."""

    latent_size: int
    context: int | None = None

    def __init__(self, info: CodecInfo):
        super().__init__()
        self.info = info

    @abstractmethod
    def latents(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L], lengths [B] -> (latents [B, T, D], frame_lengths [B])."""

    @abstractmethod
    def quantize(self, latents: Tensor) -> Tensor:
        """latents [B, T, D] -> codes [B, K, T] int64."""

    @abstractmethod
    def embed(self, codes: Tensor) -> Tensor:
        """codes [B, k, T] -> latents [B, T, D]."""

    @abstractmethod
    def synthesise(self, latents: Tensor, frame_lengths: Tensor) -> Tensor:
        """latents [B, T, D], frame_lengths [B] -> wav [B, L]; what lies after a row's own samples is anything."""

    def num_frames(self, num_samples: int) -> int:
        """Frames of so many samples: ceil(num_samples / hop)."""
        return -(-num_samples // self.info.hop)

    def num_samples(self, num_frames: int) -> int:
        """Samples at info.output_rate that so many frames are decoded to."""
        return num_frames * self.info.hop * self.info.output_rate // self.info.sample_rate

    @torch.inference_mode()
    def encode(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L], lengths [B] samples -> (codes [B, K, T] int64, frame_lengths [B]).

        In float32 whatever surrounds it (`exact`). On a CPU rows are computed one by one at their own length: padding
        costs more there than a batch gains, and the codes of a row are those that it has alone, bit for bit.
        Raises CodecError on an empty row: a signal of no samples has no codes.
        """
        if int(lengths.min()) < 1:
            raise CodecError("E353", "a signal of 0 samples cannot be encoded", "", "remove it from wav.scp")
        with exact_arithmetic(self):
            if wav.device.type != "cpu":
                return self.encode_together(wav, lengths)
            sizes = lengths.tolist()
            rows = [self.encode_together(wav[i : i + 1, :size], lengths[i : i + 1]) for i, size in enumerate(sizes)]
        return pad_sequences([codes[0] for codes, _ in rows], 0)[0], torch.cat([frames for _, frames in rows])

    def encode_together(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What `encode` promises, computed as one padded batch."""
        latents, frame_lengths = self.latents(wav, lengths)
        codes = self.quantize(latents)
        return codes * length_mask(frame_lengths, codes.shape[2])[:, None], frame_lengths

    @torch.inference_mode()
    def encode_long(self, read: Read, num_samples: int) -> Tensor:
        """A signal of any length, given piece by piece -> codes [K, T] on the CPU, those of `encode` (`long`).

        Raises LongSignalError for a codec without `context`, which has to find a way of its own; CodecError (E353).
        """
        if num_samples < 1:
            raise CodecError("E353", "a signal of 0 samples cannot be encoded", "", "remove it from wav.scp")
        if self.context is None:
            raise no_chunks(self.info, num_samples)
        with exact_arithmetic(self):
            return self.encode_chunks(read, num_samples, self.context)

    def encode_chunks(self, read: Read, num_samples: int, context: int) -> Tensor:
        """codes [K, T]; a codec that looks at the signal as a whole first does so here."""
        device = next(self.parameters()).device

        def encode(wav: Tensor) -> Tensor:
            return self.encode_together(wav.to(device), torch.tensor([wav.shape[1]], device=device))[0]

        return encode_in_chunks(encode, read, num_samples, self.info, context)

    @torch.inference_mode()
    def decode(self, codes: Tensor, frame_lengths: Tensor) -> Tensor:
        """codes [B, k, T] of the lowest k levels, frame_lengths [B] -> wav [B, num_samples(T)], zero after each row."""
        if codes.shape[2] == 0:
            return codes.new_zeros(len(codes), 0, dtype=torch.float32)
        wav = self.synthesise(self.embed(codes), frame_lengths)
        sizes = [self.num_samples(int(frames)) for frames in frame_lengths]
        return wav * length_mask(torch.tensor(sizes, device=wav.device), wav.shape[1])


class QuantizerCodec(LatentCodec):
    """A codec whose `network` has a residual `quantizer` (`nn/quantize.py`) between latents and codes."""

    network: nn.Module

    @torch.inference_mode()
    def quantize(self, latents: Tensor) -> Tensor:
        """latents [B, T, D] -> codes [B, K, T], of each level the nearest code vector to what is left."""
        return self.network.quantizer.encode(latents)

    @torch.inference_mode()
    def embed(self, codes: Tensor) -> Tensor:
        """codes [B, k, T] with 1 <= k <= K levels -> latents [B, T, D], the sum of the code vectors."""
        return self.network.quantizer.embed(codes)
