"""Codecs that go through a signal block by block: activations of a few seconds stay in a CPU's cache.

Whatever the length, the blocks are the same, so the codes of a recording that is read piece by piece are those of the
recording in memory, bit for bit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from codecsep.codecs.base import CodecError
from codecsep.codecs.exact import exact_arithmetic
from codecsep.codecs.latent_codec import LatentCodec
from codecsep.codecs.long import Read

GPU_SECONDS = 60.0  # no cache to stay in, but a cost for every block


class BlockCodec(LatentCodec):
    """A subclass gives the length of a block, and encodes a batch, a signal block by block, and latents of a block."""

    block_seconds: float
    min_block: int = 1

    @abstractmethod
    def together(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """wav [B, L], lengths [B] -> latents [B, T, D]; rows do not depend on each other."""

    @abstractmethod
    def blocks(self, read: Read, num_samples: int) -> Iterator[Tensor]:
        """The latents [1, t, D] of a signal, `block` frames at a time."""

    @abstractmethod
    def nearest(self, latents: Tensor) -> Tensor:
        """latents [B, t, D] of a block -> codes [B, K, t]."""

    @property
    def block(self) -> int:
        """Frames that go through the encoder at a time."""
        seconds = self.block_seconds if self.device.type == "cpu" else GPU_SECONDS
        return max(self.min_block, round(seconds * self.info.frame_rate))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @torch.inference_mode()
    def latents(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L], lengths [B] samples -> (latents [B, T, D], frame_lengths [B]); one row goes block by block."""
        frame_lengths = -(-lengths // self.info.hop)
        if len(wav) > 1:
            return self.together(wav, lengths), frame_lengths
        signal = wav[0, : int(lengths)]
        blocks = self.blocks(lambda start, stop: signal[start:stop], len(signal))
        return torch.cat(list(blocks), 1), frame_lengths

    @torch.inference_mode()
    def quantize(self, latents: Tensor) -> Tensor:
        """latents [B, T, D] -> codes [B, K, T]."""
        return torch.cat([self.nearest(block) for block in latents.split(self.block, 1)], 2)

    @torch.inference_mode()
    def encode_long(self, read: Read, num_samples: int) -> Tensor:
        """A signal of any length -> codes [K, T] on the CPU: those of `encode`, bit for bit.

        Raises CodecError for a signal of no samples, and for a codec that is not in float32.
        """
        if num_samples < 1:
            raise CodecError("E353", "a signal of 0 samples cannot be encoded", "", "remove it from wav.scp")
        with exact_arithmetic(self):
            return torch.cat([self.quantize(block)[0].cpu() for block in self.blocks(read, num_samples)], 1)
