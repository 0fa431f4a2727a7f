"""TF-GridNet (Wang et al. 2023): LSTMs along frequency and time and attention over frames, on the complex spectrum.

The network is ESPnet's TFGridNetV2, which has its STFT inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from codecsep.models.waveform import WaveformSeparator, needs


@dataclass
class Config:
    """Defaults: the paper's network for WSJ0-2mix at 8 kHz, in its letters D 64, B 6, I 4, J 1, H 256, L 4, E 8.

    size, hop: of the STFT, in samples (32 ms, 8 ms).  attention_size: E times the number of frequencies, about.
    """

    sample_rate: int = 8000
    num_speakers: int = 2
    size: int = 256
    hop: int = 64
    width: int = 64
    blocks: int = 6
    units: int = 256
    kernel: int = 4
    stride: int = 1
    num_heads: int = 4
    attention_size: int = 512


class Model(WaveformSeparator):
    """Mixture [L] -> `num_speakers` waveforms [L].  Raises PackageError without espnet."""

    def __init__(self, config: Config):
        super().__init__(config)
        with needs("espnet"):
            from espnet2.enh.separator.tfgridnetv2_separator import TFGridNetV2
        self.network = TFGridNetV2(
            None,
            n_srcs=config.num_speakers,
            n_fft=config.size,
            stride=config.hop,
            n_layers=config.blocks,
            lstm_hidden_units=config.units,
            attn_n_head=config.num_heads,
            attn_approx_qk_dim=config.attention_size,
            emb_dim=config.width,
            emb_ks=config.kernel,
            emb_hs=config.stride,
        )

    def estimate(self, wav: Tensor) -> Tensor:
        padded = F.pad(wav, (0, max(0, self.config.size - wav.shape[1])))
        lengths = torch.full((len(wav),), padded.shape[1], device=wav.device)
        waves, _, _ = self.network(padded, lengths)
        return torch.stack(waves, 1)[..., : wav.shape[1]]
