"""DAC against the package it is built from: the same codes and audio, whatever the batch, the chunk, the key names."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from codecsep import config as configs
from codecsep.codecs import dac, dac_layers, upstream
from codecsep.codecs.base import CodecError
from codecsep.torch_audio import import_torchaudio
from codecsep.weight_file import WeightFileError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("dac") is None, reason="descript-audio-codec is not installed")

SIZES = dac.Config(num_codebooks=4, codebook_size=16, codebook_dim=3, strides=[2, 5], encoder_width=4, decoder_width=16)
EVEN = dac.Config(num_codebooks=2, codebook_size=16, codebook_dim=3, strides=[2, 4], encoder_width=4, decoder_width=16)
HOP = 10


def package_model(sizes):
    """The package's own DAC of these sizes, random; snakes that differ from channel to channel."""
    import_torchaudio()
    from dac import DAC

    torch.manual_seed(5)
    model = DAC(
        encoder_dim=sizes.encoder_width,
        encoder_rates=sizes.strides,
        decoder_dim=sizes.decoder_width,
        decoder_rates=sizes.strides[::-1],
        n_codebooks=sizes.num_codebooks,
        codebook_size=sizes.codebook_size,
        codebook_dim=sizes.codebook_dim,
        sample_rate=sizes.sample_rate,
    ).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("alpha"):
            parameter.data.uniform_(0.5, 2.0)
        if name.endswith("bias"):
            parameter.data.normal_(std=0.1)
    return model


def codec_of(path, sizes, folder):
    """`convert`, then `build`, as bin/get_codec does it."""
    save_file(dac.convert(path, sizes), folder / "dac.safetensors")
    (folder / "config.yaml").write_text(configs.dump(sizes))
    return dac.build(folder / "config.yaml", folder / "dac.safetensors", dac.describe(sizes))


@pytest.fixture(scope="module", params=[SIZES, EVEN], ids=["odd", "even"])
def pair(request, tmp_path_factory):
    """(the package's model, our codec from the file that the package's own `save` wrote)."""
    folder = tmp_path_factory.mktemp("dac")
    model = package_model(request.param)
    model.save(folder / "weights.pth", package=False)
    return model, codec_of(folder / "weights.pth", request.param, folder)


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dac_odd")
    model = package_model(SIZES)
    model.save(folder / "weights.pth", package=False)
    return model, codec_of(folder / "weights.pth", SIZES, folder)


def noise(*sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(len(sizes), max(sizes), generator=generator), torch.tensor(sizes)


def package_codes(model, wav):
    """(latents [1, T, D], codes [1, K, T], audio [1, L]) of a wav [1, L] by the package."""
    with torch.no_grad():
        padded = model.preprocess(wav[:, None], model.sample_rate)
        quantised, codes, *_ = model.encode(padded)
        return model.encoder(padded).transpose(1, 2), codes, model.decode(quantised)[:, 0]


@pytest.mark.parametrize("size", [1, 7, 10, 11, 80, 333, 2000])
def test_codes_and_audio_are_the_packages(pair, size):
    model, codec = pair
    wav, lengths = noise(size)
    latents, codes, audio = package_codes(model, wav)
    own, frames = codec.encode(wav, lengths)
    assert torch.equal(own, codes) and frames.tolist() == [codes.shape[2]] == [-(-size // codec.info.hop)]
    torch.testing.assert_close(codec.latents(wav, lengths)[0], latents, atol=1e-6, rtol=1e-5)
    decoded = codec.decode(own, frames)
    torch.testing.assert_close(decoded[:, : audio.shape[1]], audio, atol=1e-5, rtol=0)
    assert decoded.shape[1] == codec.num_samples(int(frames)) == int(frames) * codec.info.hop
    assert not decoded[:, audio.shape[1] :].any(), "an odd stride leaves the last samples to zeros"


def test_an_odd_stride_loses_samples_an_even_one_none(pair):
    model, codec = pair
    _, _, audio = package_codes(model, torch.randn(1, 7 * codec.info.hop))
    missing = 7 * codec.info.hop - audio.shape[1]
    assert missing == (2 if codec.config == SIZES else 0)  # one sample before the upsampling by 2


def test_codes_are_looked_up_and_projected(odd):
    """K = 4, T = 13: no axis is mistaken for another."""
    model, codec = odd
    codes = torch.randint(16, (2, 4, 13), generator=torch.Generator().manual_seed(1))
    levels = model.quantizer.quantizers
    with torch.no_grad():
        parts = [levels[k].out_proj(levels[k].codebook.weight[codes[:, k]].transpose(1, 2)) for k in range(4)]
        torch.testing.assert_close(codec.embed(codes), sum(parts).transpose(1, 2), atol=1e-5, rtol=1e-5)
        audio = model.decode(model.quantizer.from_codes(codes)[0])[:, 0]
    assert codec.embed(codes).shape == (2, 13, codec.latent_size)
    decoded = codec.decode(codes, torch.tensor([13, 13]))
    torch.testing.assert_close(decoded[:, : audio.shape[1]], audio, atol=1e-5, rtol=0)


def test_rows_of_a_batch_have_the_values_of_each_alone(pair):
    """The way of a GPU: all rows through the network together; the package row by row is the slow twin."""
    model, codec = pair
    sizes = (13 * HOP + 7, 1, 13 * HOP, 19, 5 * HOP, 64)
    wav, lengths = noise(*sizes)
    wav = torch.where(torch.arange(wav.shape[1]) < lengths[:, None], wav, torch.full_like(wav, 9.0))
    latents, frames = codec.latents(wav, lengths)
    codes, _ = codec.encode_together(wav, lengths)
    for row, (size, count) in enumerate(zip(sizes, frames.tolist(), strict=True)):
        alone, own, _ = package_codes(model, wav[row : row + 1, :size])
        torch.testing.assert_close(latents[row : row + 1, :count], alone, atol=1e-6, rtol=1e-5)
        assert torch.equal(codes[row, :, :count], own[0]) and not codes[row, :, count:].any()


def test_decoded_rows_of_a_batch_are_what_each_is_alone(pair):
    model, codec = pair
    codes = torch.randint(16, (4, codec.info.num_codebooks, 20), generator=torch.Generator().manual_seed(2))
    frames = torch.tensor([20, 1, 7, 13])
    audio = codec.decode(codes, frames)
    for row, count in enumerate(frames.tolist()):
        with torch.no_grad():
            alone = model.decode(model.quantizer.from_codes(codes[row : row + 1, :, :count])[0])[0, 0]
        torch.testing.assert_close(audio[row, : len(alone)], alone, atol=1e-5, rtol=0)
        assert not audio[row, len(alone) :].any()


def test_the_gradient_of_synthesis_is_the_package_s(pair):
    """Row by row, and none reaches what pads a row."""
    model, codec = pair
    codec = copy.deepcopy(codec).requires_grad_(False)
    latents = torch.randn(2, 9, codec.latent_size, requires_grad=True)
    codec.synthesise(latents, torch.tensor([9, 4])).square().sum().backward()
    assert not latents.grad[1, 4:].any()
    for row, size in enumerate((9, 4)):
        alone = latents[row : row + 1, :size].detach().clone().requires_grad_()
        model.decoder(alone.mT).square().sum().backward()
        torch.testing.assert_close(latents.grad[row, :size], alone.grad[0], atol=1e-6, rtol=1e-4)


def test_the_receptive_field_is_exact(odd):
    """One sample inside changes the frame, one sample outside does not: at both ends."""
    model, codec = odd
    first, last = dac_layers.receptive_field(codec.network.encoder)
    frame = codec.context + 3
    wav = torch.randn(1, 1, (2 * frame + 1) * HOP, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.double().encoder(wav)[0, :, frame].sum(), wav)
    model.float()
    heard = gradient[0, 0].nonzero()[:, 0] - frame * HOP
    assert (int(heard[0]), int(heard[-1])) == (first, last)
    assert codec.context == max(-(first // HOP), last // HOP)


def test_the_official_models_look_eight_frames_around():
    network = upstream.on_meta(lambda: dac.Network(dac.Config()))
    assert dac_layers.receptive_field(network.encoder) == (-2501, 2812)
    network = upstream.on_meta(lambda: dac.Network(dac.Config(44100, 9, strides=[2, 4, 8, 8])))
    assert dac_layers.receptive_field(network.encoder) == (-3733, 4244)


@pytest.mark.parametrize("size", [100 * HOP, 100 * HOP + 3])
def test_blocks_give_what_the_whole_gives(odd, monkeypatch, size):
    model, codec = odd
    monkeypatch.setattr(codec, "block_seconds", 7 / codec.info.frame_rate)
    wav, lengths = noise(size)
    whole = package_codes(model, wav)
    torch.testing.assert_close(codec.latents(wav, lengths)[0], whole[0], atol=1e-6, rtol=1e-5)
    codes = codec.encode_long(lambda start, stop: wav[0, start:stop], size)
    assert torch.equal(codes, whole[1][0])
    assert torch.equal(codes, codec.encode(wav, lengths)[0][0])


def test_autocast_changes_no_code(odd):
    wav, lengths = noise(20 * HOP)
    with torch.autocast("cpu", torch.bfloat16):
        codes, _ = odd[1].encode(wav, lengths)
    assert torch.equal(codes, odd[1].encode(wav, lengths)[0])


def test_weights_in_the_names_of_transformers(odd, tmp_path):
    """Plain weights, its own names; written down here layer by layer, for a network of two blocks."""
    model, codec = odd
    units = {0: "snake1", 1: "conv1", 2: "snake2", 3: "conv2"}
    state = {}
    for name, value in folded_state(model).items():
        part, *path, kind = name.split(".")
        place = [int(step) for step in path if step.isdigit()]
        if part != "quantizer" and len(place) == 1:
            name = f"{part}.{ {0: 'conv1', 3: 'snake1', 4: 'conv2'}[place[0]] }.{kind}"
        elif part == "encoder":
            inner = units[place[2]] if len(place) == 3 else {3: "snake1", 4: "conv1"}[place[1]]
            unit = f"res_unit{place[1] + 1}." if len(place) == 3 else ""
            name = f"encoder.block.{place[0] - 1}.{unit}{inner}.{kind}"
        elif part == "decoder":
            inner = units[place[2]] if len(place) == 3 else {0: "snake1", 1: "conv_t1"}[place[1]]
            unit = f"res_unit{place[1] - 1}." if len(place) == 3 else ""
            name = f"decoder.block.{place[0] - 1}.{unit}{inner}.{kind}"
        state[name] = value
    assert {"encoder.block.1.res_unit3.conv2.weight", "decoder.block.0.conv_t1.bias", "decoder.snake1.alpha"} < set(
        state
    )
    save_file(state, tmp_path / "model.safetensors")
    wav, lengths = noise(20 * HOP)
    other = codec_of(tmp_path / "model.safetensors", SIZES, tmp_path)
    assert torch.equal(other.encode(wav, lengths)[0], codec.encode(wav, lengths)[0])


def folded_state(model):
    """The state dict with plain weights for weight_g and weight_v."""
    state = dict(model.state_dict())
    for name in [name.removesuffix("_v") for name in state if name.endswith("weight_v")]:
        state[name] = upstream.folded(state.pop(f"{name}_v"), state.pop(f"{name}_g")).contiguous()
    return state


def test_other_networks_are_refused_by_name(odd, tmp_path):
    state = odd[0].state_dict()

    def refused(wrong, pattern, sizes=SIZES):
        torch.save({"state_dict": wrong, "metadata": {}}, tmp_path / "wrong.pth")
        with pytest.raises(CodecError, match=rf"^E440 .*wrong\.pth: {pattern}"):
            dac.convert(tmp_path / "wrong.pth", sizes)

    name = "quantizer.quantizers.2.in_proj.bias"
    refused({key: value for key, value in state.items() if key != name}, rf"lacks the tensor {name}")
    refused(state | {"encoder.more": state[name]}, r"holds the unexpected tensor encoder\.more")
    refused(state | {name: torch.zeros(5)}, rf"its tensor {name} has the shape \[5\], not \[3\]")
    refused(state, "lacks the tensor quantizer.quantizers.4", dac.Config(**{**vars(SIZES), "num_codebooks": 5}))


def test_a_package_with_code_in_it_is_not_loaded(odd, tmp_path):
    """What the package's own loader prefers: an archive whose Python is run."""
    path = Path(tmp_path / "package.pth")
    odd[0].save(path)
    with pytest.raises(WeightFileError, match="^E70[23] "):
        dac.convert(path, SIZES)


def test_the_official_sizes():
    """Parameters of the three models: with weight norm, in millions."""
    sizes = [
        (dac.Config(), 50.0, 320, (21.5, 52.3, 74.2)),
        (dac.Config(24000, 32), 75.0, 320, (21.5, 52.3, 74.7)),
        (dac.Config(44100, 9, strides=[2, 4, 8, 8]), 44100 / 512, 512, (22.3, 54.1, 76.7)),
    ]
    for config, rate, hop, (encoder, decoder, total) in sizes:
        network = upstream.on_meta(lambda config=config: dac.Network(config))
        counts = [sum(p.numel() for p in part.parameters()) for part in (network.encoder, network.decoder, network)]
        assert [round(count / 1e6, 1) for count in counts] == [encoder, decoder, total]
        info = dac.describe(config)
        assert (info.frame_rate, info.hop, info.codebook_size) == (rate, hop, 1024)


def test_the_packages_network_of_official_size_is_ours():
    import_torchaudio()
    from dac import DAC

    def official():
        return DAC(64, [2, 4, 5, 8], None, 1536, [8, 5, 4, 2], 12, 1024, 8, False, 16000)

    ours = upstream.on_meta(lambda: dac.Network(dac.Config()))
    upstream.check_state(upstream.on_meta(official).state_dict(), ours, "official")


@pytest.mark.long
def test_a_model_of_transformers_has_the_same_codes(tmp_path):
    """A network and an implementation that are neither ours nor the package's."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    other = transformers.DacModel(
        transformers.DacConfig(
            encoder_hidden_size=4,
            decoder_hidden_size=16,
            downsampling_ratios=[2, 5],
            upsampling_ratios=[5, 2],
            n_codebooks=4,
            codebook_size=16,
            codebook_dim=3,
        )  # fmt: skip
    ).eval()
    save_file({name: value.contiguous() for name, value in other.state_dict().items()}, tmp_path / "model.safetensors")
    wav, lengths = noise(40 * HOP)
    with torch.no_grad():
        codes = other.encode(wav[:, None]).audio_codes
    assert torch.equal(codec_of(tmp_path / "model.safetensors", SIZES, tmp_path).encode(wav, lengths)[0], codes)
