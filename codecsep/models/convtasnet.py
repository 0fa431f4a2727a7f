"""Conv-TasNet (Luo and Mesgarani 2019): masks on a learned basis, from a stack of dilated convolutions.

The network is ESPnet's: ConvEncoder, TCNSeparator, ConvDecoder.
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
    """Defaults: the best non-causal configuration of the paper, in its letters N 512, L 16, B 128, H 512, P 3, X 8, R 3
    with global layer normalisation (table II; 8 kHz).  kernel, stride: of the basis, in samples.

    basis: `learned` as in the paper, or `fourier`, masks on the STFT of `kernel` samples (Heitkaemper et al. 2020),
    which are learnt in fewer steps; `channels` is without effect then.
    """

    sample_rate: int = 8000
    num_speakers: int = 2
    channels: int = 512
    kernel: int = 16
    stride: int = 8
    bottleneck: int = 128
    hidden: int = 512
    block_kernel: int = 3
    layers: int = 8
    stacks: int = 3
    norm: str = "gLN"
    mask: str = "sigmoid"
    basis: Literal["learned", "fourier"] = "learned"


class Model(WaveformSeparator):
    """Mixture [L] -> `num_speakers` waveforms [L].  Raises PackageError without espnet."""

    def __init__(self, config: Config):
        super().__init__(config)
        with needs("espnet"):
            from espnet2.enh.separator.tcn_separator import TCNSeparator
        make = partial(
            TCNSeparator,
            num_spk=config.num_speakers,
            layer=config.layers,
            stack=config.stacks,
            bottleneck_dim=config.bottleneck,
            hidden_dim=config.hidden,
            kernel=config.block_kernel,
            norm_type=config.norm,
            nonlinear=config.mask,
        )
        self.network = on_basis(make, config.basis, config.channels, config.kernel, config.stride)

    def estimate(self, wav: Tensor) -> Tensor:
        return self.network(wav)
