"""FocalCodec-Stream behind the contract: official names and sizes, codes, lengths, batches, long signals, weights."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from codecsep import config as configuration
from codecsep.codecs import base, binary_sphere, focalcodec
from codecsep.codecs.base import CodecError
from codecsep.codecs.causal_wavlm import WavLMConfig
from codecsep.codecs.focal_modulation import FocalConfig
from codecsep.codecs.focal_network import Config, Network
from codecsep.codecs.focal_weights import meta_network, official_settings
from codecsep.codecs.wavenext import WaveNeXtConfig
from codecsep.data.ark import write_codec_info
from codecsep.data.audio import read_audio
from codecsep.data.digest import file_sha256
from codecsep.plain_yaml import ConfigError

SPEECH = Path(__file__).resolve().parents[2] / "egs" / "prompts2mix" / "downloads" / "wav"

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


def tiny(**changes):
    """The smallest sizes in which every part still has something to do; segments of 3 chunks."""
    encoder = WavLMConfig(conv_width=6, layers=2, width=8, ffn_width=16, heads=2, buckets=16, max_distance=20,
                          position_kernel=5, position_groups=2, window=12)  # fmt: skip
    focal = FocalConfig(width=8, layers=2, focal_window=3, focal_factor=2, focal_levels=2, window=12)
    decoder = WaveNeXtConfig(layers=2, width=8, ffn_width=12, kernel=3)
    return replace(Config(bits=5, segment=3, encoder=encoder, focal=focal, decoder=decoder), **changes)


def speech(num_samples, skip=8000):
    paths = sorted(SPEECH.glob("en*/*.wav"), key=lambda path: -path.stat().st_size)
    if not paths:
        pytest.skip("no recordings: run egs/prompts2mix/slm_ss/run.sh --stop-stage 0 first")
    return torch.from_numpy(read_audio(paths[0], 16000)[0][skip : skip + num_samples])


def random_codec():
    torch.manual_seed(0)
    return focalcodec.FocalCodec(Network(tiny()).eval(), focalcodec.describe(tiny()))


@torch.inference_mode()
def balance(codec, wav):
    """Shift the latents so that each bit is set half of the time: random weights give few codes."""
    network = codec.network
    latents, _ = network.compressor(network.encoder(wav[None, : len(wav) // 1280 * 1280])[0])
    network.compressor.out_proj.bias.data -= latents[0].median(0).values
    return codec


@pytest.fixture(scope="module")
def codec():
    return random_codec()


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


def test_description_of_the_default():
    info = focalcodec.describe(Config())
    assert (info.sample_rate, info.output_rate, info.hop, info.frame_rate) == (16000, 24000, 320, 50.0)
    assert (info.num_codebooks, info.codebook_size) == (1, 4096)


def test_first_bit_is_the_most_significant():
    latents = torch.tensor([[0.9, -0.1, -0.2], [-0.1, 0.3, 0.1], [-1.0, -1.0, 1e-9], [1.0, 0.0, 2.0]])
    assert binary_sphere.to_codes(latents).tolist() == [0b100, 0b011, 0b001, 0b101]
    third = 3**-0.5
    wanted = torch.tensor([[-third, third, third], [third, third, -third]])
    torch.testing.assert_close(binary_sphere.to_vectors(torch.tensor([3, 6]), 3), wanted)


@pytest.mark.parametrize("bits", [11, 12, 16])
def test_every_code_comes_back_from_its_vector(bits):
    codes = torch.arange(0, 2**bits, 7)
    vectors = binary_sphere.to_vectors(codes, bits)
    assert torch.equal(binary_sphere.to_codes(vectors), codes)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(len(codes)))


@pytest.mark.parametrize("num_samples", [1, 1279, 1280, 1281, 5000])
def test_codes_come_in_fours(codec, num_samples):
    codes, frames = codec.encode(torch.randn(1, num_samples), torch.tensor([num_samples]))
    wanted = 4 * -(-num_samples // 1280)
    assert codes.shape == (1, 1, wanted) and codes.dtype == torch.int64
    assert frames.tolist() == [wanted] == [codec.num_frames(num_samples)]
    wav = codec.decode(codes, frames)
    assert wav.shape == (1, 480 * wanted) and float(wav.abs().max()) <= 1


def test_last_chunk_is_filled_with_zeros(codec):
    wav = torch.randn(1, 3000)
    filled = torch.nn.functional.pad(wav, (0, 3840 - 3000))
    assert torch.equal(codec.encode(wav, torch.tensor([3000]))[0], codec.encode(filled, torch.tensor([3840]))[0])


def test_batch_equals_one_by_one_on_speech():
    codec = balance(random_codec(), speech(64000))
    wavs = [speech(size, skip) for size, skip in ((16000, 0), (40001, 9000), (24320, 30000))]
    lengths = torch.tensor([len(wav) for wav in wavs])
    batch = torch.full((3, 40001), 0.3)  # what lies beyond a row's length must not matter
    for row, wav in zip(batch, wavs, strict=True):
        row[: len(wav)] = wav
    codes, frames = codec.encode(batch, lengths)
    decoded, features = codec.decode(codes, frames), codec.features(codes, frames)
    assert codes[1].unique().numel() > 16
    for i, wav in enumerate(wavs):
        alone, size = codec.encode(wav[None], lengths[i : i + 1]), int(frames[i])
        assert torch.equal(codes[i, :, :size], alone[0][0]) and not codes[i, :, size:].any()
        assert torch.equal(decoded[i, : size * 480], codec.decode(*alone)[0]) and not decoded[i, size * 480 :].any()
        torch.testing.assert_close(features[i, :size], codec.features(*alone)[0], atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        together = codec.analyse(batch, lengths)  # as on a GPU
    for i, size in enumerate(frames.tolist()):
        assert torch.equal(codec.quantize(together[i : i + 1, :size])[0], codes[i, :, :size])


def test_rows_of_any_number_of_codes_do_not_touch_each_other(codec):
    """A model may write 6 codes: the two frames that are missing in the last chunk count as zeros, in a batch too."""
    codes, lengths = torch.randint(0, 32, (2, 1, 9)), torch.tensor([6, 9])
    with torch.inference_mode():
        together = codec.render(codec.embed(codes), lengths)
        alone = codec.render(codec.embed(codes[:1, :, :6]), lengths[:1])
    torch.testing.assert_close(together[:1, : 6 * 480], alone, atol=1e-6, rtol=1e-5)


def test_encode_long_reads_piece_by_piece_and_gives_the_same_codes():
    wav, asked = speech(50_001), []
    codec = balance(random_codec(), wav)

    def read(start, stop):
        asked.append((start, stop))
        return wav[start:stop]

    codes = codec.encode_long(read, len(wav))
    assert torch.equal(codes, codec.encode(wav[None], torch.tensor([len(wav)]))[0][0])
    step = 3 * 1280
    assert asked == [(start, min(start + step, 50_001)) for start in range(0, 50_001, step)]


def test_what_has_no_codes_is_refused(codec):
    with pytest.raises(CodecError, match="0 samples"):
        codec.encode(torch.zeros(1, 320), torch.tensor([0]))
    with pytest.raises(CodecError, match="0 samples"):
        codec.encode_long(lambda start, stop: torch.zeros(stop - start), 0)
    for wrong in (32, -1):
        with pytest.raises(CodecError, match="E305.*codes are 0 to 31"):
            codec.decode(torch.tensor([[[3, wrong]]]), torch.tensor([2]))
    nothing = torch.zeros(2, 1, 0, dtype=torch.int64), torch.tensor([0, 0])
    assert codec.decode(*nothing).shape == (2, 0) and codec.features(*nothing).shape == (2, 0, 8)


def test_gradients_reach_every_weight():
    torch.manual_seed(0)
    network = Network(tiny())
    latents, _ = network.latents(0.1 * torch.randn(1, 3 * 1280))
    features, _ = network.features(latents, torch.ones(1, 12, dtype=torch.bool))
    (network.waveform(features)[0].square().sum() + latents[..., 0].sum()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_sizes_that_cannot_be_are_refused(tmp_path):
    path = tmp_path / "config.yaml"
    for text, message in (("bits: 0", "bits is 0"), ("encoder: {window: 10}", "window is 10"),
                          ("sample_rate: 16001", "multiple of the product")):  # fmt: skip
        path.write_text(text + "\n")
        with pytest.raises(ConfigError, match=message):
            configuration.load(Config, path)


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
