"""Conv-TasNet (Luo and Mesgarani 2019): masks on a learned basis, from a stack of dilated convolutions.

The network is ESPnet's: ConvEncoder, TCNSeparator, ConvDecoder.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from codecsep.models.espnet_network import ConvBasis
from codecsep.models.waveform import WaveformSeparator, needs


@dataclass
class Config:
    """Defaults: the best non-causal configuration of the paper, in its letters N 512, L 16, B 128, H 512, P 3, X 8, R 3
    with global layer normalisation (table II; 8 kHz).  kernel, stride: of the basis, in samples."""

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


class Model(WaveformSeparator):
    """Mixture [L] -> `num_speakers` waveforms [L].  Raises PackageError without espnet."""

    def __init__(self, config: Config):
        super().__init__(config)
        with needs("espnet"):
            from espnet2.enh.separator.tcn_separator import TCNSeparator
        separator = TCNSeparator(
            config.channels,
            num_spk=config.num_speakers,
            layer=config.layers,
            stack=config.stacks,
            bottleneck_dim=config.bottleneck,
            hidden_dim=config.hidden,
            kernel=config.block_kernel,
            norm_type=config.norm,
            nonlinear=config.mask,
        )
        self.network = ConvBasis(separator, config.channels, config.kernel, config.stride)

    def estimate(self, wav: Tensor) -> Tensor:
        return self.network(wav)
