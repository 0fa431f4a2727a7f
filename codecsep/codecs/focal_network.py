"""The network of FocalCodec-Stream (Della Libera et al. 2025, arXiv 2509.16195), in steps that carry their state.

    wav, 16 kHz -> causal WavLM, 6 layers -> compressor -> unit vector of `bits` values | sign
        -> decompressor -> WaveNeXt -> wav, 24 kHz

Whatever is given in several chunks gives what it gives at once, if every chunk but the last holds whole chunks of the
encoder (4 frames, 1,280 samples) and the state of one call is given to the next.  Names of parameters are those of
lucadellalib/focalcodec; sizes of its causal releases (2k, 4k, 65k at 50 Hz) are the defaults, bits apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from codecsep.codecs.causal_wavlm import CausalWavLM, WavLMConfig, WavLMState
from codecsep.codecs.focal_modulation import Compressor, Decompressor, FocalConfig, Left
from codecsep.codecs.wavenext import WaveNeXt, WaveNeXtConfig


@dataclass
class Config:
    """Sizes of the codec.  `bits`: 11, 12 or 16 in the official weights (2k, 4k, 65k).  `segment`: how many chunks of a
    long signal are computed at once; it bounds memory and changes nothing but the order of sums."""

    sample_rate: int = 16000
    bits: int = 12
    segment: int = 64
    encoder: WavLMConfig = field(default_factory=WavLMConfig)
    focal: FocalConfig = field(default_factory=FocalConfig)
    decoder: WaveNeXtConfig = field(default_factory=WaveNeXtConfig)

    def __post_init__(self) -> None:
        chunk, window = self.encoder.chunk, self.encoder.window
        if not 1 <= self.bits <= 24:
            raise ValueError(f"bits is {self.bits}, and must be from 1 to 24")
        if chunk < 1 or window < 2 * chunk or window % chunk:
            raise ValueError(f"encoder.window is {window}, and must be twice encoder.chunk ({chunk}), or thrice, ...")
        if self.segment < 1:
            raise ValueError(f"segment is {self.segment}, and must be 1 at least")
        if self.sample_rate * self.decoder.hop % self.encoder.hop():
            raise ValueError("sample_rate * decoder.hop must be a multiple of the product of encoder.strides")

    def chunk_samples(self) -> int:
        """Samples of the input that make one chunk of codes."""
        return self.encoder.chunk * self.encoder.hop()


@dataclass
class EncoderState:
    """What encoding needs of the signal so far."""

    wavlm: WavLMState
    compressor: list[Left]


class Network(nn.Module):
    """The four trained parts; the quantiser between them has no parameters (codecs/binary_sphere.py)."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        width = config.encoder.width
        self.encoder = CausalWavLM(config.encoder)
        self.compressor = Compressor(width, config.bits, config.focal)
        self.decompressor = Decompressor(config.bits, width, config.encoder.chunk, config.focal)
        self.decoder = WaveNeXt(width, config.decoder)

    def latents(self, wav: Tensor, state: EncoderState | None = None) -> tuple[Tensor, EncoderState]:
        """wav [B, n * chunk_samples] -> (unit vectors [B, n * chunk, bits], state)."""
        wavlm, left = (state.wavlm, state.compressor) if state else (None, None)
        features, wavlm = self.encoder(wav, wavlm)
        latents, left = self.compressor(features, left)
        return nn.functional.normalize(latents, dim=-1), EncoderState(wavlm, left)

    def features(self, latents: Tensor, valid: Tensor, left: list[Left] | None = None) -> tuple[Tensor, list[Left]]:
        """latents [B, T, bits], valid frames [B, T] -> (features [B, T, encoder.width], state)."""
        return self.decompressor(latents, valid, left)

    def waveform(self, features: Tensor, left: Left | None = None) -> tuple[Tensor, Left]:
        """features [B, T, encoder.width] -> (wav [B, T * decoder.hop] in -1 .. 1, state)."""
        return self.decoder(features, left)
