"""A mixture encoder trained from scratch: log-mel spectrum, convolutions to the codec's frame rate, Transformer.

It stands where SLM-SS has WavLM-large when no pretrained weights are at hand.  Frames line up with a 50 Hz codec:
ceil(L / 320) frames for L samples at 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codecsep.codecs.frame_encoder import FrameEncoder
from codecsep.nn.attention import init_weights
from codecsep.nn.convnext import ConvNeXtBlock
from codecsep.nn.transformer import Encoder as Transformer
from codecsep.nn.transformer import TransformerConfig
from codecsep.signal.stft import mel_filterbank, num_frames, same_stft
from codecsep.tokens.padding import length_mask


@dataclass
class Config:
    """Spectrum (hop in samples, two spectral frames to one output frame), convolutions, Transformer."""

    sample_rate: int = 16000
    fft_size: int = 512
    hop: int = 160
    num_mels: int = 80
    conv_blocks: int = 2
    kernel: int = 7
    transformer: TransformerConfig = field(
        default_factory=lambda: TransformerConfig(num_layers=4, width=256, num_heads=4, ffn_width=1024, dropout=0.1)
    )


class Encoder(FrameEncoder):
    """wav -> the hidden states of all layers."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        width = config.transformer.width
        bank = mel_filterbank(config.num_mels, config.fft_size, config.sample_rate)
        self.register_buffer("bank", bank, persistent=False)
        self.join = nn.Linear(2 * config.num_mels, width)
        self.convs = nn.ModuleList(ConvNeXtBlock(width, config.kernel) for _ in range(config.conv_blocks))
        self.join.apply(init_weights)
        self.transformer = Transformer(config.transformer)

    def forward(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L] at 16 kHz, lengths [B] samples -> (states [num_states, B, T, width], frame_lengths [B])."""
        frame_lengths = -(-lengths // (2 * self.config.hop))
        valid = length_mask(frame_lengths, num_frames(wav.shape[1], 2 * self.config.hop))
        hidden = self.join(self.spectrum(wav, lengths))
        for conv in self.convs:
            hidden = conv(hidden, valid[..., None].to(hidden))
        return self.states(hidden, valid), frame_lengths

    def spectrum(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """Log-mel frames, two stacked, zero mean and unit variance per utterance and band.  [B, T, 2 * num_mels]."""
        wav = wav * length_mask(lengths, wav.shape[1])
        logs = (torch.matmul(self.bank, same_stft(wav, self.config.fft_size, self.config.hop).abs()) + 1e-4).log()
        logs = F.pad(logs, (0, logs.shape[-1] % 2))
        valid = length_mask(-(-lengths // self.config.hop), logs.shape[-1])[:, None]
        count = valid.sum(-1, keepdim=True).clamp_min(1)
        logs = logs - (logs * valid).sum(-1, keepdim=True) / count
        spread = ((logs**2 * valid).sum((-1, -2), keepdim=True) / (count * logs.shape[1])).sqrt()
        logs = logs / spread.clamp_min(1e-3) * valid
        return logs.transpose(1, 2).reshape(len(wav), -1, 2 * self.config.num_mels)
