"""The parts that run when speech is separated: networks at the sizes that are used, and what they read.

A part is an entry of `PARTS`: its name, and a function that makes it on the meta device, with the inputs that stand for
so many seconds of audio. All are in evaluation mode, with a batch of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from codecsep.bin.bench_counters import Made, Make
from codecsep.codecs import dac_layers, encoders, focal_network, mini
from codecsep.models import slm_ss
from codecsep.nn import hifigan as hifigan_network
from codecsep.nn.transformer import TransformerConfig
from codecsep.torch_audio import import_torchaudio


class Call(nn.Module):
    """A method of a module as a module: both counters want one."""

    def __init__(self, module: nn.Module, function: Callable[..., Any]):
        super().__init__()
        self.module, self.function = module, function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self.module, *inputs)


def wave(rate: int, seconds: float) -> Tensor:
    """[1, L]."""
    return torch.zeros(1, round(rate * seconds))


def wavlm(size: str) -> Make:
    """torchaudio's WavLM, base or large."""

    def make(seconds: float) -> Made:
        models = import_torchaudio().models
        return {"base": models.wavlm_base, "large": models.wavlm_large}[size](), (wave(16000, seconds),)

    return make


def mini_encoder(seconds: float) -> Made:
    network = mini.Network(mini.Config())
    samples = wave(16000, seconds)
    valid = torch.ones(1, -(-samples.shape[1] // network.config.hop), dtype=torch.bool)
    return Call(network, lambda net, wav, ok: net.latents(wav, ok)), (samples, valid)


def mini_decoder(seconds: float) -> Made:
    network = mini.Network(mini.Config())
    latents = torch.zeros(1, round(50 * seconds), network.config.quantizer.width)
    valid = torch.ones(latents.shape[:2], dtype=torch.bool)
    return Call(network, spectrum), (latents, valid)


def spectrum(network: mini.Network, latents: Tensor, valid: Tensor) -> Tensor:
    """What `mini.Network.synthesise` multiplies: all but its inverse STFT, which has no form on the meta device."""
    mask = valid.to(latents)
    hidden = network.split(network.decoder(network.from_latent(latents), mask[..., None]))
    hidden = hidden.reshape(len(hidden), -1, network.config.width)
    return network.head(network.synthesis(hidden, mask.repeat_interleave(2, 1)[..., None]))


def focalcodec(half: str) -> Make:
    """FocalCodec-Stream at 50 Hz: encoder (WavLM and compressor) or decoder (decompressor and WaveNeXt)."""

    def make(seconds: float) -> Made:
        network = focal_network.Network(focal_network.Config())
        chunk = network.config.chunk_samples()
        chunks = -(-round(16000 * seconds) // chunk)
        if half == "encoder":
            return Call(network, lambda net, wav: net.latents(wav)), (torch.zeros(1, chunks * chunk),)
        latents = torch.zeros(1, chunks * network.config.encoder.chunk, network.config.bits)
        valid = torch.ones(latents.shape[:2], dtype=torch.bool)
        return Call(network, lambda net, x, ok: net.waveform(net.features(x, ok)[0])), (latents, valid)

    return make


def hifigan(seconds: float) -> Made:
    """The generator of melrvq."""
    config = hifigan_network.HifiGanConfig()
    frames = round(22050 * seconds / math.prod(config.rates))
    valid = torch.ones(1, frames, dtype=torch.bool)
    return hifigan_network.HifiGan(config), (torch.zeros(1, frames, config.num_mels), valid)


def encodec(half: str) -> Make:
    """The 24 kHz model of the package encodec, random weights."""

    def make(seconds: float) -> Made:
        import_torchaudio()
        from encodec import EncodecModel

        model = EncodecModel.encodec_model_24khz(pretrained=False)
        inputs = {"encoder": wave(24000, seconds)[:, None], "decoder": torch.zeros(1, 128, round(75 * seconds))}
        return getattr(model, half), (inputs[half],)

    return make


def dac(half: str, rate: int) -> Make:
    """A model of descript-audio-codec at one of its three rates, random weights, run as `codecs/dac.py` runs it (the
    package's own snake is a compiled script, which the meta device does not always bear)."""

    def make(seconds: float) -> Made:
        import_torchaudio()
        from dac import DAC

        encoder_rates = {16000: [2, 4, 5, 8], 24000: [2, 4, 5, 8], 44100: [2, 4, 8, 8]}[rate]
        model = DAC(encoder_rates=encoder_rates, decoder_rates=encoder_rates[::-1], sample_rate=rate)
        frames = -(-round(rate * seconds) // model.hop_length)
        inputs = {"encoder": wave(rate, seconds)[:, None], "decoder": torch.zeros(1, model.latent_dim, frames)}
        network, lengths = getattr(model, half), torch.tensor([inputs[half].shape[2]])
        layers = network.block if half == "encoder" else network.model
        return Call(network, lambda net, x: dac_layers.run(layers, x, lengths)), (inputs[half],)

    return make


def dac_quantizer(seconds: float) -> Made:
    """The residual quantiser of the model at 16 kHz: from latents to codes and back."""
    import_torchaudio()
    from dac.nn import quantize

    network = quantize.ResidualVectorQuantize(1024, 12, 1024, 8)
    return network, (torch.zeros(1, 1024, round(50 * seconds)),)


def mixture_encoder(kind: str) -> Make:
    """A mixture encoder with its fusion, as slm_ss has it."""

    def make(seconds: float) -> Made:
        samples = wave(16000, seconds)
        with torch.device("meta" if kind == "wavlm" else "cpu"):  # the mel filters of fbank are computed
            network = encoders.FusedEncoder(encoders.EncoderConfig(kind=kind))
        return network.to("meta"), (samples, torch.tensor([samples.shape[1]]))

    return make


def token_decoder(part: str, sizes: TransformerConfig, rate: float, passes: int) -> Make:
    """Decoder and output layer of slm_ss over all tokens of two speakers that speak all the time, so many passes."""

    def make(seconds: float) -> Made:
        encoder = encoders.EncoderConfig(kind="mini_encoder")
        encoder.mini_encoder.transformer = TransformerConfig(0, sizes.width, sizes.num_heads, sizes.ffn_width)
        config = slm_ss.Config(part=part, encoder=encoder, decoder=sizes, frame_rate=rate)
        network = slm_ss.PARTS[part](config)
        steps, frames = 2 * (round(rate * seconds) + 1), round(50 * seconds)
        valid = None if part == "ar" else torch.ones(1, steps, dtype=torch.bool)

        def logits(net: nn.Module, hidden: Tensor, memory: Tensor, memory_valid: Tensor) -> None:
            for level in range(passes):
                net.head(net.decoder(hidden, valid, memory, memory_valid), level)

        inputs = torch.zeros(1, steps, sizes.width), torch.zeros(1, frames, sizes.width)
        network.encoder = None  # counted in its own row
        return Call(network, logits), (*inputs, torch.ones(1, frames, dtype=torch.bool))

    return make


PAPER, LARGE, SMALL = TransformerConfig(), TransformerConfig(12), TransformerConfig(3, 256, 4, 1024)
PARTS: dict[str, tuple[Make, str]] = {
    "SLM-SS mixture encoder (WavLM-large)": (mixture_encoder("wavlm"), "mixture, 16 kHz"),
    "SLM-SS AR decoder 16 x 1024": (token_decoder("ar", PAPER, 75.0, 1), "150 tokens/s, 50 memory frames/s"),
    "SLM-SS NAR decoder 16 x 1024 (7 levels)": (token_decoder("nar", PAPER, 75.0, 7), "150 steps/s"),
    "SLM-SS AR decoder 12 x 1024": (token_decoder("ar", LARGE, 75.0, 1), "150 tokens/s"),
    "SLM-SS NAR decoder 12 x 1024 (7 levels)": (token_decoder("nar", LARGE, 75.0, 7), "150 steps/s"),
    "SLM-SS AR decoder 3 x 256 (mini recipe)": (token_decoder("ar", SMALL, 50.0, 1), "100 tokens/s"),
    "fbank mixture encoder 4 x 256": (mixture_encoder("fbank"), "mixture, 16 kHz"),
    "WavLM base": (wavlm("base"), "mixture, 16 kHz"),
    "WavLM large": (wavlm("large"), "mixture, 16 kHz"),
    "mini codec encoder": (mini_encoder, "wave, 16 kHz"),
    "mini codec decoder": (mini_decoder, "50 frames/s"),
    "melrvq decoder (HiFi-GAN)": (hifigan, "86 mel frames/s"),
    "FocalCodec-Stream encoder": (focalcodec("encoder"), "wave, 16 kHz"),
    "FocalCodec-Stream decoder": (focalcodec("decoder"), "50 frames/s"),
    "EnCodec 24 kHz encoder": (encodec("encoder"), "wave, 24 kHz"),
    "EnCodec 24 kHz decoder": (encodec("decoder"), "75 frames/s"),
    "DAC 16 kHz encoder": (dac("encoder", 16000), "wave, 16 kHz"),
    "DAC 16 kHz decoder": (dac("decoder", 16000), "50 frames/s"),
    "DAC 24 kHz encoder": (dac("encoder", 24000), "wave, 24 kHz"),
    "DAC 24 kHz decoder": (dac("decoder", 24000), "75 frames/s"),
    "DAC 44.1 kHz encoder": (dac("encoder", 44100), "wave, 44.1 kHz"),
    "DAC 44.1 kHz decoder": (dac("decoder", 44100), "86 frames/s"),
}
