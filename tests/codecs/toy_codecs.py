"""Every codec at toy size with random weights in its official layout: what the contract test builds and breaks.

A new file in codecs/ needs an entry in TOYS: a function that gives (its Config, the state dict that `convert` reads).
"""

from dataclasses import replace

import torch
from safetensors.torch import save_file
from torch import nn

from codecsep import config as configs
from codecsep.codecs import base, centres, dac, encodec, focal_network, focalcodec, melrvq, mini, units
from codecsep.codecs.causal_wavlm import WavLMConfig
from codecsep.codecs.focal_modulation import FocalConfig
from codecsep.codecs.wavenext import WaveNeXtConfig
from codecsep.data.ark import CodecInfo, write_codec_info
from codecsep.data.digest import file_sha256
from codecsep.nn.hifigan import HifiGan, HifiGanConfig, official_shapes
from codecsep.nn.quantize import QuantizeConfig


def randomised(network: nn.Module) -> dict[str, torch.Tensor]:
    """A state dict in which no table of codes is left at its initial zeros."""
    return {
        name: torch.randn_like(value) if name.endswith((".embed", ".codes")) else value.detach().clone()
        for name, value in network.state_dict().items()
    }


def toy_encodec():
    sizes = encodec.Config(num_codebooks=8, stored_codebooks=10, codebook_size=32, filters=2, latent_size=16)
    return sizes, randomised(encodec.Network(sizes))


def toy_dac():
    sizes = dac.Config(num_codebooks=8, codebook_size=32, encoder_width=4, decoder_width=32)
    return sizes, randomised(dac.Network(sizes))


def toy_focalcodec():
    encoder = WavLMConfig(conv_width=6, layers=2, width=8, ffn_width=16, heads=2, buckets=16, max_distance=20,
                          position_kernel=5, position_groups=2, window=12)  # fmt: skip
    focal = FocalConfig(width=8, layers=2, focal_window=3, focal_factor=2, focal_levels=2, window=12)
    sizes = focalcodec.Config(bits=5, encoder=encoder, focal=focal, decoder=WaveNeXtConfig(2, 8, 480, 3))
    return sizes, randomised(focal_network.Network(sizes))


def toy_melrvq():
    sizes = melrvq.Config(codebook_size=32, generator=HifiGanConfig(width=32, kernels=[3], dilations=[1, 3]))
    shapes = official_shapes(HifiGan(sizes.generator))
    return sizes, {name: 0.3 * torch.randn(shape) for name, shape in shapes.items()}


def toy_units():
    sizes = units.Config("whisper", 1, 32, units.WhisperSizes(80, 1500, 16, 2, 2))
    whole = units.make_encoder(sizes, 2).network
    return sizes, {f"encoder.{name}": value for name, value in randomised(whole).items()}


def toy_mini():
    sizes = mini.Config(width=16, encoder_blocks=1, decoder_blocks=1, synthesis_blocks=1)
    sizes.quantizer = QuantizeConfig(8, 32, 8)
    network = mini.Network(sizes)
    left_out = mini.training_state(network)
    return sizes, {name: value for name, value in randomised(network).items() if name not in left_out}


TOYS = {
    "dac": toy_dac,
    "encodec": toy_encodec,
    "focalcodec": toy_focalcodec,
    "melrvq": toy_melrvq,
    "mini": toy_mini,
    "units": toy_units,
}


def official(name, folder):
    """(module, sizes, path of the official weights) of a toy."""
    torch.manual_seed(7)
    sizes, state = TOYS[name]()
    path = folder / "official.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return base.codec_module(name), sizes, path


def install(name, folder):
    """A codec directory of a toy in `folder`, converted from its official weights; returns the loaded codec."""
    module, sizes, path = official(name, folder)
    if name == "mini":
        info = CodecInfo("mini", "0", 16000, 50.0, 320, 8, 32)
        state = mini.read_safetensors(path)
    else:
        state, info = module.convert(path, sizes), module.describe(sizes)
    if hasattr(module, "centres_shape"):
        levels, size, width = module.centres_shape(sizes)
        state |= {key: torch.randn(size, width) for key in centres.names(levels)}
    save_file(state, folder / f"{name}.safetensors")
    (folder / "config.yaml").write_text(configs.dump(sizes))
    write_codec_info(folder, replace(info, fingerprint=file_sha256(folder / f"{name}.safetensors")))
    return base.load(folder)
