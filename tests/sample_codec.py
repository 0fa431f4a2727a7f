"""A codec without a network, for exact tests of models that compute inside one: its latents are the samples."""

import torch
from torch import nn
from torch.nn import functional as F

from codecsep.codecs.latent_codec import LatentCodec
from codecsep.data.ark import CodecInfo

STEPS = (8.0, 128.0)  # of the two levels, per unit of amplitude


class SampleCodec(LatentCodec):
    """Frames of `hop` samples are latents of as many values.  The two levels of its quantiser code the mean of a frame:
    what is transmitted is a staircase.

    delay: samples by which decoded speech lags, and which `info` tells; `gain` is a parameter that multiplies it.
    """

    def __init__(self, hop=4, rate=16000, delay=0, fingerprint="1"):
        super().__init__(CodecInfo("samples", fingerprint, rate, rate / hop, hop, 2, 257, delay))
        self.latent_size, self.context, self.delay = hop, 0, delay
        self.gain = nn.Parameter(torch.ones(()))

    def latents(self, wav, lengths):
        frame_lengths = -(-lengths // self.info.hop)
        wav = wav * (torch.arange(wav.shape[1]) < lengths[:, None])
        wav = F.pad(wav, (0, -wav.shape[1] % self.info.hop))
        return wav.unflatten(1, (-1, self.info.hop)), frame_lengths

    def quantize(self, latents):
        left, codes = latents.mean(-1), []
        for step in STEPS:
            codes.append((left * step).round().clamp(-128, 128).long() + 128)
            left = left - (codes[-1] - 128) / step
        return torch.stack(codes, 1)

    def embed(self, codes):
        made = sum((level - 128) / step for level, step in zip(codes.unbind(1), STEPS, strict=False))
        return made[..., None].expand(*made.shape, self.info.hop)

    def synthesise(self, latents, frame_lengths):
        wav = latents.flatten(1) * self.gain
        return F.pad(wav, (self.delay, -self.delay))
