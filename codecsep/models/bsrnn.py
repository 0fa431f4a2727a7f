"""Band-split RNN (Luo and Yu 2023; Yu and Luo 2023): LSTMs along time and across sub-bands of the spectrum.

The network is ESPnet's BSRNNSeparator on an STFT.  SLM-SS and other papers compare with "BSRNN" and give no sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from codecsep.models.espnet_network import FourierBasis
from codecsep.models.waveform import WaveformSeparator, needs

EDGES = (*range(200, 4001, 200), *range(4500, 7001, 500), *range(9000, 21001, 2000))  # Hz, upper ends of the sub-bands


@dataclass
class Config:
    """Defaults: 128 channels, 6 blocks, as target speech extraction toolkits have it for 16 kHz.  size, hop: of the
    STFT, in samples."""

    sample_rate: int = 16000
    num_speakers: int = 2
    size: int = 512
    hop: int = 128
    channels: int = 128
    blocks: int = 6


class Model(WaveformSeparator):
    """Mixture [L] -> `num_speakers` waveforms [L].  Raises PackageError without espnet."""

    def __init__(self, config: Config):
        super().__init__(config)
        with needs("espnet"):
            from espnet2.enh.separator.bsrnn_separator import BSRNNSeparator
        bins = config.size // 2 + 1
        separator = BSRNNSeparator(
            bins,
            num_spk=config.num_speakers,
            num_channels=config.channels,
            num_layers=config.blocks,
            target_fs=config.sample_rate,
            subbands=subbands(bins, config.sample_rate),
        )
        self.network = FourierBasis(separator, config.size, config.hop)

    def estimate(self, wav: Tensor) -> Tensor:
        return self.network(wav)


def subbands(bins: int, rate: int) -> list[tuple[int, int]]:
    """First and last bin of each sub-band: 200 Hz wide up to 4 kHz, 500 Hz up to 7 kHz, 2 kHz above, the last one up to
    half of the rate (the division of the 48 kHz network of Yu and Luo, cut).  All bins are in one, none is empty."""
    width = rate / 2 / (bins - 1)
    ends = [round(edge / width) for edge in EDGES if edge < rate / 2]
    starts = [0, *(end + 1 for end in sorted(set(ends)) if end + 1 < bins), bins]
    return [(start, stop - 1) for start, stop in pairwise(starts)]
