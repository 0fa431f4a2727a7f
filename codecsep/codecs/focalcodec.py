"""FocalCodec-Stream at 50 Hz: one codebook of 2**11, 2**12 or 2**16 codes, 16 kHz in, 24 kHz out, causal, 80 ms.

The last chunk of a signal is filled with zeros to 4 frames (1,280 samples), so codes come in fours, also in a batch.
The waveform is not normalised.  A latent is the unit vector before the quantiser, `embed` gives the corner of the cube
that its code stands for, and `synthesise` takes either.  What WavSLM reads is neither: `features`, the decompressor's
output for the codes of a whole signal (its frames depend on all earlier codes, so no table could hold them).

A signal is computed in segments that carry their state, so memory does not grow with its length, and `encode_long` does
what `encode` does with a row, bit for bit on a CPU (rows are encoded one by one there, codecs/latent_codec.py).  In a
batch on a GPU, and in a `Stream` with pieces of another size, sums run in another order: a code whose latent is within
rounding of zero may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from codecsep.codecs import binary_sphere
from codecsep.codecs.base import REPAIR, CodecError, read_config
from codecsep.codecs.exact import exact_arithmetic
from codecsep.codecs.focal_network import Config, EncoderState, Network
from codecsep.codecs.focal_weights import meta_network, official_weights
from codecsep.codecs.latent_codec import LatentCodec
from codecsep.codecs.long import Read
from codecsep.data.ark import CodecInfo
from codecsep.tokens.padding import length_mask
from codecsep.weight_file import read_safetensors

__all__ = ["Config", "FocalCodec", "Stream", "build", "convert", "describe"]


class FocalCodec(LatentCodec):
    """The network behind the contract of `codecs/base.py`.

    `context` is None: the code of a frame depends on the 5,000 frames before it at most, too many to be of use; for
    signals that do not fit into memory there is `encode_long`.
    """

    def __init__(self, network: Network, info: CodecInfo):
        super().__init__(info)
        self.network = network
        self.latent_size = network.config.bits

    def num_frames(self, num_samples: int) -> int:
        """Frames of so many samples (a tensor of them too): 4 for every 1,280 begun."""
        config = self.network.config
        return -(-num_samples // config.chunk_samples()) * config.encoder.chunk

    @torch.inference_mode()
    def latents(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L] float32 at 16 kHz, lengths [B] samples -> (unit vectors [B, T, bits], frame_lengths [B])."""
        wav = wav.masked_fill(~length_mask(lengths, wav.shape[1]), 0)
        latents = torch.cat(list(self._latents(lambda start, stop: wav[:, start:stop], wav.shape[1])), 1)
        return latents, self.num_frames(lengths)

    @torch.inference_mode()
    def encode_long(self, read: Read, num_samples: int) -> Tensor:
        """A signal of any length, given piece by piece -> codes [1, T] on the CPU, those of `encode`.

        read(start, stop) -> float32 [stop - start] is asked once for each piece, in order.  Raises CodecError (E353).
        """
        if num_samples < 1:
            raise CodecError("E353", "a signal of 0 samples cannot be encoded", "", "remove it from wav.scp")
        device = next(self.network.parameters()).device
        parts = self._latents(lambda start, stop: read(start, stop)[None].to(device), num_samples)
        with exact_arithmetic(self):
            return torch.cat([self.quantize(part)[0].cpu() for part in parts], 1)

    def _latents(self, read: Callable[[int, int], Tensor], num_samples: int) -> Iterator[Tensor]:
        """The latents [B, t, bits] of one segment after the other; read(start, stop) -> [B, stop - start]."""
        state: EncoderState | None = None
        chunk = self.network.config.chunk_samples()
        for start in range(0, num_samples, step := self.network.config.segment * chunk):
            wav = read(start, min(start + step, num_samples))
            latents, state = self.network.latents(nn.functional.pad(wav, (0, -wav.shape[1] % chunk)), state)
            yield latents

    @torch.inference_mode()
    def quantize(self, latents: Tensor) -> Tensor:
        """latents [B, T, bits] -> codes [B, 1, T]."""
        return binary_sphere.to_codes(latents)[:, None]

    @torch.inference_mode()
    def embed(self, codes: Tensor) -> Tensor:
        """codes [B, 1, T] -> latents [B, T, bits].  Raises CodecError on ids that are no codes."""
        size = 1 << self.latent_size
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < size:
            what = f"holds ids from {int(codes.min())} to {int(codes.max())}; codes are 0 to {size - 1}"
            raise CodecError("E305", what, "codes", "take special tokens out, and give codes of this codec")
        return binary_sphere.to_vectors(codes[:, 0], self.latent_size)

    @torch.inference_mode()
    def features(self, codes: Tensor, frame_lengths: Tensor) -> Tensor:
        """codes [B, 1, T], frame_lengths [B] -> the decompressor's output [B, T, width], zero after each row."""
        if codes.shape[2] == 0:
            return torch.zeros(len(codes), 0, self.network.config.encoder.width, device=codes.device)
        features = torch.cat(list(self._features(self.embed(codes), frame_lengths)), 1)
        return features * length_mask(frame_lengths, features.shape[1])[..., None]

    @torch.inference_mode()
    def synthesise(self, latents: Tensor, frame_lengths: Tensor) -> Tensor:
        """latents [B, T, bits], frame_lengths [B] -> wav [B, num_samples(T)] at 24 kHz, in -1 .. 1."""
        parts, left = [], None
        for features in self._features(latents, frame_lengths):
            part, left = self.network.waveform(features, left)
            parts.append(part)
        return torch.cat(parts, 1)

    def _features(self, latents: Tensor, frame_lengths: Tensor) -> Iterator[Tensor]:
        """latents [B, T, bits] -> features [B, T', width] of one segment after the other."""
        left, valid = None, length_mask(frame_lengths, latents.shape[1])
        step = self.network.config.segment * self.network.config.encoder.chunk
        for part, mask in zip(latents.split(step, 1), valid.split(step, 1), strict=True):
            features, left = self.network.features(part, mask, left)
            yield features

    def stream(self) -> Stream:
        """Encoding and decoding piece by piece, from the beginning of a signal."""
        return Stream(self)


class Stream:
    """A signal (or B at the same pace) in pieces of whole chunks: n * 1,280 samples, 4 n codes, n * 1,920 samples.

    All state is in the three attributes; a stream may be copied to go on twice from the same place.
    """

    def __init__(self, codec: FocalCodec):
        self.codec = codec
        self.encoder: EncoderState | None = None
        self.decompressor: list[list[Tensor]] | None = None
        self.decoder: list[Tensor] | None = None

    @torch.inference_mode()
    def encode(self, wav: Tensor) -> Tensor:
        """The next samples [B, n * 1280] -> their codes [B, 1, 4 n]."""
        self._check(wav.shape[-1], self.codec.network.config.chunk_samples(), "samples")
        with exact_arithmetic(self.codec):
            latents, self.encoder = self.codec.network.latents(wav, self.encoder)
        return self.codec.quantize(latents)

    @torch.inference_mode()
    def features(self, codes: Tensor) -> Tensor:
        """The next codes [B, 1, 4 n] -> the decompressor's output [B, 4 n, width]."""
        self._check(codes.shape[-1], self.codec.network.config.encoder.chunk, "codes")
        valid = torch.ones_like(codes[:, 0], dtype=torch.bool)
        features, self.decompressor = self.codec.network.features(self.codec.embed(codes), valid, self.decompressor)
        return features

    @torch.inference_mode()
    def waveform(self, features: Tensor) -> Tensor:
        """The next features [B, 4 n, width] -> their samples [B, n * 1920]."""
        wav, self.decoder = self.codec.network.waveform(features, self.decoder)
        return wav

    def decode(self, codes: Tensor) -> Tensor:
        """The next codes [B, 1, 4 n] -> their samples [B, n * 1920]."""
        return self.waveform(self.features(codes))

    @staticmethod
    def _check(size: int, chunk: int, what: str) -> None:
        if size < 1 or size % chunk:
            fix = "keep what is over for the next piece; fill the last one with zeros"
            raise CodecError("E331", f"a piece has {size} {what}, not a multiple of {chunk}", "stream", fix)


def describe(config: Config) -> CodecInfo:
    """Rates and sizes of what `config` builds; the fingerprint is filled in when there are weights."""
    hop = config.encoder.hop()
    output_rate = config.sample_rate * config.decoder.hop // hop
    frame_rate = config.sample_rate / hop
    size, chunk = 1 << config.bits, config.encoder.chunk
    return CodecInfo("focalcodec", "0", config.sample_rate, frame_rate, hop, 1, size, 0, output_rate, chunk)


def convert(weights: Path, config: Config) -> dict[str, Tensor]:
    """The state dict of an official release (`focal_weights.official_weights`), checked name by name."""
    return official_weights(Path(weights), config)


def build(config_path: Path, weights: Path, info: CodecInfo) -> FocalCodec:
    """The codec from its config and weights, keys strict.  Raises CodecError."""
    config = read_config(config_path, Config)
    described = describe(config)
    if (info.codebook_size, info.output_rate) != (described.codebook_size, described.output_rate):
        raise CodecError("E350", "codec.json and config.yaml are of different codecs", config_path, REPAIR)
    network = meta_network(config)
    try:
        network.load_state_dict(read_safetensors(weights), assign=True)
    except RuntimeError as error:
        raise CodecError("E350", f"does not fit config.yaml: {str(error)[:300]}", weights, REPAIR) from error
    return FocalCodec(network, info)
