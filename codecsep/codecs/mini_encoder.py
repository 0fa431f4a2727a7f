"""The mini codec's own encoder as the pretrained part of a mixture encoder, a Transformer on top.

SLM-SS starts from WavLM-large.  No registry ships weights of WavLM or its like, but the mini codec's encoder has been
trained on speech without labels, and its output is the very space in which the tokens are drawn: where one speaker is
alone the answer is nearly the input.  Frames line up with the codec's: ceil(L / 320) for L samples at 16 kHz.

The front end's weights come from the codec by the `init` of the training, and stay fixed:

    init:
      - {file: exp/codec/mini.safetensors, source: analysis, target: encoder.network.front.analysis}
      - {file: exp/codec/mini.safetensors, source: encoder, target: encoder.network.front.encoder}
      - {file: exp/codec/mini.safetensors, source: to_latent, target: encoder.network.front.to_latent}
    freeze: [encoder.network.front]
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from codecsep.codecs import mini
from codecsep.codecs.frame_encoder import FrameEncoder
from codecsep.nn.attention import init_weights
from codecsep.nn.transformer import Encoder as Transformer
from codecsep.nn.transformer import TransformerConfig
from codecsep.signal.stft import num_frames
from codecsep.tokens.padding import length_mask


@dataclass
class Config:
    """The codec's sizes (they must be those of its config.yaml) and the Transformer's."""

    codec: mini.Config = field(default_factory=mini.Config)
    transformer: TransformerConfig = field(
        default_factory=lambda: TransformerConfig(num_layers=4, width=256, num_heads=4, ffn_width=1024, dropout=0.1)
    )


class Encoder(FrameEncoder):
    """wav -> the hidden states of all layers."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.front = mini.Analyser(config.codec)
        self.join = nn.Linear(config.codec.width + config.codec.quantizer.width, self.width)
        self.join.apply(init_weights)
        self.transformer = Transformer(config.transformer)

    def forward(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L] at 16 kHz, lengths [B] samples -> (states [num_states, B, T, width], frame_lengths [B])."""
        hop = self.config.codec.hop
        frame_lengths = -(-lengths // hop)
        valid = length_mask(frame_lengths, num_frames(wav.shape[1], hop))
        hidden, latents = self.front(self.front.normalise(wav, lengths), valid)
        hidden = self.join(torch.cat([hidden, latents], -1))
        return self.states(hidden, valid), frame_lengths
