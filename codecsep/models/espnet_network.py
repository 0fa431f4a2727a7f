"""Networks of ESPnet's enhancement toolkit (package espnet, optional): encoder, separator, decoder.

ESPnet's separators take features [B, T, F] and give one masked copy per speaker; its encoders and decoders go from
waveforms to features and back.  Nothing of ESPnet but these classes is used.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codecsep.models.waveform import needs


class ConvBasis(nn.Module):
    """Learned basis (kernel, stride in samples), separator on it, overlap-add: [B, L] -> [B, N, L]."""

    def __init__(self, separator: nn.Module, channels: int, kernel: int, stride: int):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        with needs("espnet"):
            from espnet2.enh.decoder.conv_decoder import ConvDecoder
            from espnet2.enh.encoder.conv_encoder import ConvEncoder
        self.encoder = ConvEncoder(channels, kernel, stride)
        self.separator = separator
        self.decoder = ConvDecoder(channels, kernel, stride)

    def forward(self, wav: Tensor) -> Tensor:
        padded = pad_to_frames(wav, self.kernel, self.stride)
        lengths = torch.full((len(wav),), padded.shape[1], device=wav.device)
        features, frames = self.encoder(padded, lengths)
        masked, _, _ = self.separator(features, frames)
        return torch.stack([self.decoder(each, lengths)[0][:, : wav.shape[1]] for each in masked], 1)


class FourierBasis(nn.Module):
    """STFT, separator on the complex spectrum, inverse STFT: [B, L] -> [B, N, L]."""

    def __init__(self, separator: nn.Module, size: int, hop: int):
        super().__init__()
        self.size = size
        with needs("espnet"):
            from espnet2.enh.decoder.stft_decoder import STFTDecoder
            from espnet2.enh.encoder.stft_encoder import STFTEncoder
        self.encoder = STFTEncoder(size, size, hop)
        self.separator = separator
        self.decoder = STFTDecoder(size, size, hop)

    def forward(self, wav: Tensor) -> Tensor:
        padded = F.pad(wav, (0, max(0, self.size - wav.shape[1])))
        lengths = torch.full((len(wav),), padded.shape[1], device=wav.device)
        spectrum, frames = self.encoder(padded, lengths)
        masked, _, _ = self.separator(spectrum, frames)
        return torch.stack([self.decoder(each, lengths)[0][:, : wav.shape[1]] for each in masked], 1)


def on_basis(make: Callable[[int], nn.Module], basis: str, channels: int, kernel: int, stride: int) -> nn.Module:
    """A separator on a basis: `learned`, of so many channels, or `fourier`, the STFT of `kernel` samples.  make: the
    separator for features of a width."""
    if basis == "learned":
        return ConvBasis(make(channels), channels, kernel, stride)
    return FourierBasis(make(kernel // 2 + 1), kernel, stride)


def pad_to_frames(wav: Tensor, kernel: int, stride: int) -> Tensor:
    """[B, L] filled up with zeros at the end to a whole number of frames, at least one: no sample is left out."""
    frames = max(1, -(-(wav.shape[1] - kernel) // stride) + 1)
    return F.pad(wav, (0, kernel + (frames - 1) * stride - wav.shape[1]))
