"""DPRNN-TasNet (Luo, Chen and Yoshioka 2020): LSTMs along and across the chunks of a learned basis.

The network is ESPnet's: ConvEncoder, DPRNNSeparator, ConvDecoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor

from codecsep.models.espnet_network import on_basis
from codecsep.models.waveform import WaveformSeparator, needs


@dataclass
class Config:
    """Defaults: the paper's best for WSJ0-2mix at 8 kHz: windows of 2 samples, chunks of 250 frames, 6 blocks of 128
    units in each direction.  kernel, stride: of the basis, in samples.

    basis: `learned` as in the paper, or `fourier`, masks on the STFT of `kernel` samples, which are learnt in fewer
    steps; `channels` is without effect then.
    """

    sample_rate: int = 8000
    num_speakers: int = 2
    channels: int = 64
    kernel: int = 2
    stride: int = 1
    blocks: int = 6
    units: int = 128
    chunk: int = 250
    mask: str = "sigmoid"
    basis: Literal["learned", "fourier"] = "learned"


class Model(WaveformSeparator):
    """Mixture [L] -> `num_speakers` waveforms [L].  Raises PackageError without espnet."""

    def __init__(self, config: Config):
        super().__init__(config)
        with needs("espnet"):
            from espnet2.enh.separator.dprnn_separator import DPRNNSeparator
        make = partial(
            DPRNNSeparator,
            num_spk=config.num_speakers,
            layer=config.blocks,
            unit=config.units,
            segment_size=config.chunk,
            nonlinear=config.mask,
        )
        self.network = on_basis(make, config.basis, config.channels, config.kernel, config.stride)

    def estimate(self, wav: Tensor) -> Tensor:
        return self.network(wav)
