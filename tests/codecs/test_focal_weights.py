"""Weights of FocalCodec-Stream: official names, shapes and sizes; a release is converted whole or refused by name."""

import json
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from codecsep import config as configuration
from codecsep.codecs import base, focalcodec
from codecsep.codecs.base import CodecError
from codecsep.codecs.causal_wavlm import WavLMConfig
from codecsep.codecs.focal_modulation import FocalConfig
from codecsep.codecs.focal_network import Config, Network
from codecsep.codecs.focal_weights import meta_network, official_settings
from codecsep.codecs.wavenext import WaveNeXtConfig
from codecsep.data.ark import write_codec_info
from codecsep.data.digest import file_sha256

# Names and shapes of the tensors, written down from the module definitions of lucadellalib/focalcodec (focalnet.py,
# wavenext.py, wavlm.py at bd97c7c) and the sizes of SpeechBrain's recipe for it (LibriTTS/focalcodec-stream,
# hparams/joint.yaml). <n> stands for 0 .. n-1, B for the bits.
NAMES = """
encoder.feature_extractor.layers.0.conv.weight 512 1 10
encoder.feature_extractor.layers.{1,2,3,4}.conv.weight 512 512 3
encoder.feature_extractor.layers.{5,6}.conv.weight 512 512 2
encoder.feature_extractor.layers.<7>.norm.{weight,bias} 512
encoder.norm.{weight,bias} 512
encoder.feature_proj.weight 1024 512
encoder.feature_proj.bias 1024
encoder.encoder.positional_embedding.conv.weight 1024 64 128
encoder.encoder.positional_embedding.conv.bias 1024
encoder.encoder.relative_embedding.weight 320 16
encoder.encoder.layers.<6>.{attention_norm,feed_forward_norm}.{weight,bias} 1024
encoder.encoder.layers.<6>.attention.qkv_proj.weight 3072 1024
encoder.encoder.layers.<6>.attention.qkv_proj.bias 3072
encoder.encoder.layers.<6>.attention.out_proj.weight 1024 1024
encoder.encoder.layers.<6>.attention.out_proj.bias 1024
encoder.encoder.layers.<6>.attention.gru_rel_pos_linear.weight 8 64
encoder.encoder.layers.<6>.attention.gru_rel_pos_linear.bias 8
encoder.encoder.layers.<6>.attention.gru_rel_pos_const 1 16 1 1
encoder.encoder.layers.<6>.feed_forward.in_proj.weight 4096 1024
encoder.encoder.layers.<6>.feed_forward.in_proj.bias 4096
encoder.encoder.layers.<6>.feed_forward.out_proj.weight 1024 4096
encoder.encoder.layers.<6>.feed_forward.out_proj.bias 1024
compressor.layers.<3>.downscale.downscale.weight 1024 1024 1
compressor.layers.<3>.downscale.downscale.bias 1024
compressor.layers.<3>.downscale.activation.alpha 1024 1
{compressor,decompressor}.layers.<3>.focal_block.{modulation_norm,feed_forward_norm}.alpha 1
{compressor,decompressor}.layers.<3>.focal_block.modulation.in_proj.weight 2051 1024
{compressor,decompressor}.layers.<3>.focal_block.modulation.in_proj.bias 2051
{compressor,decompressor}.layers.<3>.focal_block.modulation.layers.0.0.weight 1024 1 14
{compressor,decompressor}.layers.<3>.focal_block.modulation.layers.1.0.weight 1024 1 18
{compressor,decompressor}.layers.<3>.focal_block.modulation.layers.2.0.weight 1024 1 512
{compressor,decompressor}.layers.<3>.focal_block.modulation.layers.<3>.0.bias 1024
{compressor,decompressor}.layers.<3>.focal_block.modulation.context_proj.weight 1024 1024 1
{compressor,decompressor}.layers.<3>.focal_block.modulation.context_proj.bias 1024
{compressor,decompressor}.layers.<3>.focal_block.modulation.out_proj.weight 1024 1024
{compressor,decompressor}.layers.<3>.focal_block.modulation.out_proj.bias 1024
{compressor,decompressor}.layers.<3>.focal_block.feed_forward.in_proj.weight 4096 1024
{compressor,decompressor}.layers.<3>.focal_block.feed_forward.in_proj.bias 4096
{compressor,decompressor}.layers.<3>.focal_block.feed_forward.out_proj.weight 1024 4096
{compressor,decompressor}.layers.<3>.focal_block.feed_forward.out_proj.bias 1024
compressor.out_proj.weight B 1024
compressor.out_proj.bias B
decompressor.in_proj.weight 1024 B
decompressor.in_proj.bias 1024
decompressor.layers.<3>.upscale.activation.alpha 1024 1
decompressor.layers.<3>.upscale.upscale.weight 1024 1024 1
decompressor.layers.<3>.upscale.upscale.bias 1024
decompressor.refiner.{in_proj,out_proj}.weight 4096 4096
decompressor.refiner.{in_proj,out_proj}.bias 4096
decoder.backbone.embedding.weight 1024 1024 7
decoder.backbone.embedding.bias 1024
decoder.backbone.{input_norm,output_norm}.{weight,bias} 1024
decoder.backbone.layers.<8>.gamma 1024
decoder.backbone.layers.<8>.dwconv.weight 1024 1 7
decoder.backbone.layers.<8>.dwconv.bias 1024
decoder.backbone.layers.<8>.norm.{weight,bias} 1024
decoder.backbone.layers.<8>.pwconv1.weight 2048 1024
decoder.backbone.layers.<8>.pwconv1.bias 2048
decoder.backbone.layers.<8>.pwconv2.weight 1024 2048
decoder.backbone.layers.<8>.pwconv2.bias 1024
decoder.head.proj.weight 480 1024
decoder.head.proj.bias 480
"""


def spread(name):
    """All names that one line of NAMES stands for."""
    if found := re.search(r"<(\d)>|\{(.*?)\}", name):
        options = range(int(found[1])) if found[1] else found[2].split(",")
        return [n for option in options for n in spread(f"{name[: found.start()]}{option}{name[found.end() :]}")]
    return [name]


def official_shapes(bits):
    lines = [line.split() for line in NAMES.strip().splitlines()]
    return {n: tuple(bits if s == "B" else int(s) for s in shape) for name, *shape in lines for n in spread(name)}


def tiny(bits=5):
    """Sizes all different from the official ones, few thousand weights."""
    encoder = WavLMConfig(conv_width=4, layers=1, width=8, ffn_width=12, heads=2, buckets=8, max_distance=20,
                          position_kernel=3, position_groups=2, window=8)  # fmt: skip
    focal = FocalConfig(width=6, layers=2, focal_window=3, focal_factor=2, focal_levels=1, window=8)
    return Config(bits=bits, encoder=encoder, focal=focal, decoder=WaveNeXtConfig(1, 8, 12, 3))


@pytest.mark.parametrize("bits", [11, 12, 16])
def test_names_and_shapes_are_the_official_ones(bits):
    found = {name: tuple(tensor.shape) for name, tensor in meta_network(Config(bits=bits)).state_dict().items()}
    assert found == official_shapes(bits)


def test_parts_have_their_published_sizes():
    def millions(part):
        return round(sum(p.numel() for p in part.parameters()) / 1e6, 1)

    network = meta_network(Config())
    parts = network.encoder, network.compressor, network.decompressor, network.decoder
    assert [millions(part) for part in parts] == [88.7, 42.6, 76.2, 41.5]
    assert sum(p.numel() for p in network.parameters()) == 249_038_490


@pytest.mark.parametrize("bits, published", [(11, 305.04), (12, 307.14), (16, 370.06)])
def test_wavslm_has_its_published_size_with_this_decompressor(bits, published):
    """WavSLM: 18 such layers, their bias table, a layer norm, a head without bias, and the decompressor."""
    network = meta_network(Config(bits=bits))
    layer = sum(p.numel() for p in network.encoder.encoder.layers[0].parameters())
    total = 18 * layer + 320 * 16 + 2 * 1024 + 1024 * 2**bits
    assert round((total + sum(p.numel() for p in network.decompressor.parameters())) / 1e6, 2) == published


def release(folder, settings, change=None, suffix="safetensors"):
    """A release of random weights as its authors lay it out."""
    torch.manual_seed(1)
    folder.mkdir(exist_ok=True)
    state = {name: tensor.clone() for name, tensor in Network(settings).state_dict().items()}
    (change or (lambda state: None))(state)
    save = save_file if suffix == "safetensors" else torch.save
    save(state, folder / f"model.{suffix}")
    return state


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_release_is_converted_and_loaded_with_strict_names(tmp_path, suffix):
    settings = tiny()
    state = release(tmp_path / "release", settings, suffix=suffix)
    converted = focalcodec.convert(tmp_path / "release", settings)
    assert list(converted) == list(state) and all(torch.equal(converted[n], state[n]) for n in state)
    out = tmp_path / "codec"
    out.mkdir()
    save_file(converted, out / "focalcodec.safetensors")
    (out / "config.yaml").write_text(configuration.dump(settings))
    sha = file_sha256(out / "focalcodec.safetensors")
    write_codec_info(out, replace(focalcodec.describe(settings), fingerprint=sha))
    network = Network(settings)
    network.load_state_dict(state)
    wav = (0.1 * torch.randn(1, 5000), torch.tensor([5000]))
    wanted = focalcodec.FocalCodec(network.eval(), focalcodec.describe(settings)).encode(*wav)[0]
    assert torch.equal(base.load(out).encode(*wav)[0], wanted)
    write_codec_info(out, replace(focalcodec.describe(tiny(bits=6)), fingerprint=sha))
    with pytest.raises(CodecError, match="E350.*different codecs"):
        base.load(out)


@pytest.mark.parametrize("change, message", [
    (lambda state: state.pop("decompressor.refiner.in_proj.bias"), "decompressor.refiner.in_proj.bias"),
    (lambda state: state.update(extra=torch.zeros(1)), "extra"),
    (lambda state: state.update({"compressor.out_proj.bias": torch.zeros(6)}), "compressor.out_proj.bias"),
])  # fmt: skip
def test_weights_that_are_not_these_are_named(tmp_path, change, message):
    release(tmp_path / "release", tiny(), change)
    with pytest.raises(CodecError, match=f"E440.*{message}"):
        focalcodec.convert(tmp_path / "release" / "model.safetensors", tiny())


def test_settings_of_a_release_are_compared(tmp_path):
    def converted(settings):
        (folder / "config.json").write_text(json.dumps(settings))
        return focalcodec.convert(folder, tiny())

    folder, good = tmp_path / "release", {}
    release(folder, tiny())
    for key, value in official_settings(tiny()).items():
        section, _, name = key.rpartition(".")
        (good.setdefault(section, {}) if section else good)[name] = value
    assert len(converted(good)) == len(Network(tiny()).state_dict())
    causal = {**good, "encoder_config": {k: v for k, v in good["encoder_config"].items() if k != "causal"}}
    with pytest.raises(CodecError, match="encoder_config.causal is False, not True"):
        converted(causal)
    with pytest.raises(CodecError, match="decoder_name is Vocos"):
        converted({**good, "decoder_name": "Vocos"})
    with pytest.raises(CodecError, match="max_distance is 800, not 20"):
        converted({**good, "encoder_config": {**good["encoder_config"], "max_distance": 800}})
    with pytest.raises(CodecError, match="E350.*holds none of"):
        focalcodec.convert(tmp_path, tiny())
