"""EnCodec against the package it is built from: the same codes and audio, whatever the batch, block and key names."""

import importlib.util
import itertools

import pytest
import torch
from safetensors.torch import save_file

from codecsep import config as configs
from codecsep.codecs import encodec, upstream
from codecsep.codecs.base import CodecError
from codecsep.torch_audio import import_torchaudio
from codecsep.weight_file import WeightFileError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("encodec") is None, reason="encodec is not installed")

SIZES = encodec.Config(
    num_codebooks=5, stored_codebooks=6, codebook_size=16, strides=[5, 4, 2], filters=4, latent_size=12, lstm_layers=2
)
HOP = 40


def package_model(sizes):
    """The package's own EncodecModel of these sizes, random, its codebooks filled."""
    import_torchaudio()
    from encodec import EncodecModel

    torch.manual_seed(3)
    network = encodec.Network(sizes)
    model = EncodecModel(network.encoder, network.decoder, network.quantizer, [0.0], sizes.sample_rate, 1).eval()
    for layer in model.quantizer.vq.layers:
        layer._codebook.embed.normal_(std=0.05)
    return model


def codec_of(state, sizes, folder):
    """`convert`, then `build`, as bin/get_codec does it."""
    torch.save(state, folder / "official.th")
    save_file(encodec.convert(folder / "official.th", sizes), folder / "encodec.safetensors")
    (folder / "config.yaml").write_text(configs.dump(sizes))
    return encodec.build(folder / "config.yaml", folder / "encodec.safetensors", encodec.describe(sizes))


@pytest.fixture(scope="module")
def model():
    return package_model(SIZES)


@pytest.fixture(scope="module")
def codec(model, tmp_path_factory):
    return codec_of(model.state_dict(), SIZES, tmp_path_factory.mktemp("encodec"))


def noise(*sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(len(sizes), max(sizes), generator=generator), torch.tensor(sizes)


@pytest.mark.parametrize("size", [1, 2, 5, 39, 40, 41, 79, 90, 250, 281, 1000, 4001])
def test_codes_and_audio_are_the_packages(model, codec, size):
    wav, lengths = noise(size)
    with torch.no_grad():
        [(codes, scale)] = model.encode(wav[:, None])
        latents, audio = model.encoder(wav[:, None]), model.decode([(codes[:, :5], scale)])[:, 0]
    own, frames = codec.encode(wav, lengths)
    assert torch.equal(own, codes[:, :5]) and frames.tolist() == [codes.shape[2]] == [-(-size // HOP)]
    torch.testing.assert_close(codec.latents(wav, lengths)[0], latents.transpose(1, 2), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(codec.decode(own, frames), audio, atol=1e-5, rtol=0)


def test_a_frame_that_is_given_is_decoded_as_the_package_does(model, codec):
    """K = 5, T = 13: no axis is mistaken for another; every entry counts."""
    codes = torch.randint(16, (2, 5, 13), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        audio = model.decode([(codes, None)])[:, 0]
    assert audio.shape == (2, 13 * HOP)
    torch.testing.assert_close(codec.decode(codes, torch.tensor([13, 13])), audio, atol=1e-5, rtol=0)
    books = torch.stack([layer.codebook for layer in model.quantizer.vq.layers[:5]])
    entries = torch.stack([torch.stack([books[k][codes[b, k]] for k in range(5)]).sum(0) for b in range(2)])
    torch.testing.assert_close(codec.embed(codes), entries)


ROWS = (HOP * 13 + 7, 1, 3, HOP * 13, 19, HOP * 5, HOP * 9 + 39, 8 * HOP + 1)


def test_rows_of_a_batch_have_the_values_of_each_alone(model, codec):
    """The way of a GPU: all rows through the network together; the package row by row is the slow twin."""
    wav, lengths = noise(*ROWS)
    wav = torch.where(torch.arange(wav.shape[1]) < lengths[:, None], wav, torch.full_like(wav, 9.0))
    latents, frames = codec.latents(wav, lengths)
    codes, _ = codec.encode_together(wav, lengths)
    for row, (size, count) in enumerate(zip(ROWS, frames.tolist(), strict=True)):
        with torch.no_grad():
            alone = model.encoder(wav[row : row + 1, None, :size])[0].T
            own = model.encode(wav[row : row + 1, None, :size])[0][0][0, :5]
        torch.testing.assert_close(latents[row, :count], alone, atol=1e-6, rtol=1e-5)
        assert torch.equal(codes[row, :, :count], own) and not codes[row, :, count:].any()


def test_decoded_rows_of_a_batch_are_what_each_is_alone(model, codec):
    codes = torch.randint(16, (7, 5, 20), generator=torch.Generator().manual_seed(2))
    frames = torch.tensor([20, 1, 2, 5, 6, 7, 13])
    audio = codec.decode(codes, frames)
    for row, count in enumerate(frames.tolist()):
        with torch.no_grad():
            alone = model.decode([(codes[row : row + 1, :, :count], None)])[0, 0]
        torch.testing.assert_close(audio[row, : count * HOP], alone, atol=1e-5, rtol=0)
        assert not audio[row, count * HOP :].any()


@pytest.mark.parametrize("block", [8, 9, 50])
@pytest.mark.parametrize("size", [8 * HOP, 8 * HOP + 1, 100 * HOP, 100 * HOP + 17, 99 * HOP + 39])
def test_blocks_give_what_the_whole_gives(model, codec, monkeypatch, block, size):
    """Memory of the LSTM and overlap of the convolutions are carried over, however short the last block is."""
    monkeypatch.setattr(codec, "block_seconds", block / codec.info.frame_rate)
    assert codec.block == block
    wav, lengths = noise(size)
    with torch.no_grad():
        whole = model.encoder(wav[:, None]).transpose(1, 2)
    torch.testing.assert_close(codec.latents(wav, lengths)[0], whole, atol=1e-6, rtol=1e-5)
    codes = codec.encode_long(lambda start, stop: wav[0, start:stop], size)
    assert torch.equal(codes, codec.encode(wav, lengths)[0][0])


def test_the_slow_way_forgets_at_every_block(codec, monkeypatch):
    """That blocks without memory differ shows that the test above can fail."""
    monkeypatch.setattr(codec, "block_seconds", 10 / codec.info.frame_rate)
    wav, lengths = noise(100 * HOP)
    apart = [codec.latents(part, torch.tensor([part.shape[1]]))[0] for part in wav.split(10 * HOP, 1)]
    assert (torch.cat(apart, 1) - codec.latents(wav, lengths)[0])[:, 10:].abs().max() > 1e-3


def test_a_long_recording_is_read_once_in_order_and_in_pieces(codec):
    asked = []

    def read(start, stop):
        asked.append((start, stop))
        return torch.zeros(stop - start)

    size = 3 * 60 * SIZES.sample_rate // 50 + 11
    assert codec.encode_long(read, size).shape == (5, -(-size // HOP))
    assert asked[0][0] == 0 and asked[-1][1] == size
    assert all(one[1] == two[0] for one, two in itertools.pairwise(asked))
    assert max(stop - start for start, stop in asked) <= codec.block_seconds * SIZES.sample_rate


def test_a_change_is_not_heard_before_it_comes(codec):
    wav, lengths = noise(30 * HOP)
    changed = wav.clone()
    changed[0, 20 * HOP] += 1.0
    before, after = codec.latents(wav, lengths)[0], codec.latents(changed, lengths)[0]
    assert torch.equal(before[:, :20], after[:, :20]) and not torch.equal(before[:, 20], after[:, 20])


def test_autocast_changes_no_code(codec):
    wav, lengths = noise(20 * HOP)
    with torch.autocast("cpu", torch.bfloat16):
        codes, _ = codec.encode(wav, lengths)
    assert torch.equal(codes, codec.encode(wav, lengths)[0])


def test_weights_of_every_form_make_the_same_codec(model, codec, tmp_path):
    wav, lengths = noise(15 * HOP)
    codes, _ = codec.encode(wav, lengths)
    state = model.state_dict()
    ends = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    new = {name.replace(*pair) if (pair := ending(name, ends)) else name: value for name, value in state.items()}
    plain = {name: value for name, value in state.items() if not ending(name, ends)}
    for name in [name for name in state if name.endswith("weight_v")]:
        plain[name.removesuffix("_v")] = upstream.folded(state[name], state[name.removesuffix("_v") + "_g"])
    for number, form in enumerate((new, plain, {"state_dict": state, "metadata": {"kwargs": {}}})):
        (tmp_path / str(number)).mkdir()
        assert torch.equal(codec_of(form, SIZES, tmp_path / str(number)).encode(wav, lengths)[0], codes)


def ending(name, ends):
    return next(((old, new) for old, new in ends.items() if name.endswith(old)), None)


def test_other_networks_are_refused_by_name(model, tmp_path):
    state = model.state_dict()

    def refused(wrong, pattern, sizes=SIZES):
        torch.save(wrong, tmp_path / "wrong.th")
        with pytest.raises(CodecError, match=rf"^E440 .*wrong\.th: {pattern}"):
            encodec.convert(tmp_path / "wrong.th", sizes)

    name = "encoder.model.0.conv.conv.bias"
    refused({key: value for key, value in state.items() if key != name}, rf"lacks the tensor {name}")
    refused(state | {"encoder.model.99.bias": state[name]}, r"holds the unexpected tensor encoder\.model\.99\.bias")
    refused(state | {name: torch.zeros(5)}, rf"its tensor {name} has the shape \[5\], not \[4\]")
    refused([1, 2], "holds no mapping of names to tensors")
    torch.save({"model": model}, tmp_path / "code.th")
    with pytest.raises(WeightFileError, match="^E702 .*holds more than tensors"):
        encodec.convert(tmp_path / "code.th", SIZES)


def test_more_codebooks_than_stored_are_refused():
    with pytest.raises(CodecError, match="^E349 num_codebooks: is 33; the weights hold 32 .* are 1.5, 3, 6, 12, 24"):
        encodec.describe(encodec.Config(num_codebooks=33))


def test_the_official_sizes():
    """Names and shapes of the package's own 24 kHz model, without memory for its weights."""
    import_torchaudio()
    from encodec import EncodecModel

    official = upstream.on_meta(lambda: EncodecModel.encodec_model_24khz(pretrained=False))
    network = upstream.on_meta(lambda: encodec.Network(encodec.Config()))
    upstream.check_state(official.state_dict(), network, "official")
    assert sum(layer.codebook.numel() for layer in network.quantizer.vq.layers) == 32 * 1024 * 128
    assert sum(p.numel() for p in network.parameters()) == 14_851_810  # the codebooks come on top
    info = encodec.describe(encodec.Config())
    assert (info.sample_rate, info.hop, info.frame_rate, info.num_codebooks) == (24000, 320, 75.0, 8)


def test_weights_in_the_names_of_transformers(model, codec, tmp_path):
    state = {}
    for name, value in model.state_dict().items():
        name = name.replace("conv.conv", "conv").replace("convtr.convtr", "conv").replace(".model.", ".layers.")
        state[name.replace("quantizer.vq", "quantizer").replace("._codebook", ".codebook")] = value
    assert {"encoder.layers.0.conv.weight_g", "decoder.layers.3.conv.bias", "quantizer.layers.0.codebook.embed"} < set(
        state
    )
    wav, lengths = noise(20 * HOP)
    assert torch.equal(codec_of(state, SIZES, tmp_path).encode(wav, lengths)[0], codec.encode(wav, lengths)[0])


@pytest.mark.long
def test_a_model_of_transformers_has_the_same_codes(tmp_path):
    """A network and an implementation that are neither ours nor the package's."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = encodec.Config(10, 10, 16, 4000, [5, 4, 2], 4, 12)
    other = transformers.EncodecModel(
        transformers.EncodecConfig(
            target_bandwidths=[4.0],
            sampling_rate=4000,
            upsampling_ratios=[5, 4, 2],
            codebook_size=16,
            num_filters=4,
            hidden_size=12,
        )  # fmt: skip
    ).eval()
    for layer in other.quantizer.layers:
        layer.codebook.embed.normal_(std=0.05)
    wav, lengths = noise(4001)
    with torch.no_grad():
        codes = other.encode(wav[:, None], bandwidth=4.0).audio_codes[0]
    assert torch.equal(codec_of(other.state_dict(), sizes, tmp_path).encode(wav, lengths)[0], codes)
