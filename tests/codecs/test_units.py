"""Units: against transformers' own HuBERT, layers cut off, published layouts, centres, Whisper's windows, merging."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from toy_codecs import install, official

from codecsep.codecs import centres, speech_weights, units
from codecsep.codecs.base import CodecError
from codecsep.tokens.units import merged, spread
from codecsep.torch_audio import import_torchaudio
from codecsep.weight_file import WeightFileError

NUM_LAYERS = 3


def small_hubert():
    """HuBERT base with narrow layers and three of them: a test takes no second."""
    return import_torchaudio().models.wav2vec2_model(
        "group_norm", [(8, 10, 5), *[(8, 3, 2)] * 4, *[(8, 2, 2)] * 2], False, 16, 0.0, 8, 2, NUM_LAYERS, 2, 0.0, 32,
        0.0, 0.0, False, 0.0, None,
    )  # fmt: skip


@pytest.fixture
def hubert(monkeypatch):
    monkeypatch.setitem(units.MAKERS, "hubert_base", small_hubert)
    monkeypatch.setitem(units.LAYERS, "hubert_base", NUM_LAYERS)
    torch.manual_seed(0)
    return small_hubert().eval()


def transformers_model():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra alm)")
    config = transformers.HubertConfig(
        hidden_size=16, num_hidden_layers=NUM_LAYERS, num_attention_heads=2, intermediate_size=32,
        conv_dim=[8] * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    torch.manual_seed(1)
    return transformers.HubertModel(config).eval()


@torch.no_grad()
def test_states_are_those_of_transformers(hubert, tmp_path):
    theirs = transformers_model()
    theirs.save_pretrained(tmp_path)
    wav = torch.randn(1, 4000)
    wanted = theirs(wav, output_hidden_states=True).hidden_states
    for layer in (1, 2, NUM_LAYERS):
        sizes = units.Config("hubert_base", layer, 5)
        state = units.convert(tmp_path, sizes) | {centres.names(1)[0]: torch.randn(5, 16)}
        codec = units.make(sizes, state, units.describe(sizes), tmp_path).eval()
        states, frames = codec.latents(wav, torch.tensor([4000]))
        assert frames.tolist() == [(4000 - 400) // 320 + 1]
        torch.testing.assert_close(states[0], wanted[layer][0], atol=1e-5, rtol=1e-4)
        assert not any(f"transformer.layers.{layer}." in name for name in state), "layers above are not kept"


def test_names_of_fairseq_are_mapped_as_torchaudio_maps_them(hubert):
    from torchaudio.models.wav2vec2.utils import import_fairseq

    names = ["layer_norm.weight", "post_extract_proj.bias", "feature_extractor.conv_layers.0.2.weight",
             "feature_extractor.conv_layers.3.0.weight", "encoder.pos_conv.0.bias", "encoder.layer_norm.bias",
             "encoder.layers.2.self_attn.q_proj.weight", "encoder.layers.2.self_attn_layer_norm.bias",
             "encoder.layers.2.fc1.weight", "encoder.layers.2.fc2.bias", "encoder.layers.2.final_layer_norm.weight",
             "feature_extractor.conv_layers.4.2.1.bias"]  # fmt: skip
    state = {name: torch.zeros(number + 1) for number, name in enumerate(names)}
    wanted = {import_fairseq._map_key(name): value.shape for name, value in state.items()}
    found = speech_weights.to_torchaudio(state | {"mask_emb": torch.zeros(1), "final_proj.weight": torch.zeros(1)})
    assert {name: value.shape for name, value in found.items()} == wanted


def test_a_fairseq_checkpoint_by_path(hubert, tmp_path):
    """The entry `model`, old names of weight norm, what only pre-training needs."""
    back = {"encoder.feature_projection.layer_norm": "layer_norm", "encoder.feature_projection.projection":
            "post_extract_proj", "encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original0":
            "encoder.pos_conv.0.weight_g", "encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original1":
            "encoder.pos_conv.0.weight_v", "encoder.transformer.pos_conv_embed.conv.bias": "encoder.pos_conv.0.bias",
            "encoder.transformer.": "encoder.", ".attention.": ".self_attn.", ".conv.": ".0.",
            "conv_layers.0.layer_norm": "conv_layers.0.2"}  # fmt: skip
    state = {}
    for name, value in hubert.state_dict().items():
        for new, old in back.items():
            name = name.replace(new, old)
        if ".layers." in name:
            name = name.replace(".layer_norm.", ".self_attn_layer_norm.").replace(
                "feed_forward.intermediate_dense", "fc1"
            )
            name = name.replace("feed_forward.output_dense", "fc2")
        state[name] = value
    torch.save({"model": state | {"label_embs_concat": torch.zeros(2)}, "args": None}, tmp_path / "mhubert.pt")
    converted = units.convert(tmp_path / "mhubert.pt", units.Config("hubert_base", NUM_LAYERS, 5))
    assert {name.removeprefix("encoder.network.") for name in converted} == set(hubert.state_dict())
    for name, value in hubert.state_dict().items():
        assert torch.equal(converted[f"encoder.network.{name}"], value)


@torch.no_grad()
def test_short_signals_have_a_frame(hubert):
    encoder = units.SpeechEncoder(units.Config("hubert_base", 2, 5), 2).eval()
    for size, frames in ((1, 1), (719, 1), (720, 2)):
        assert encoder.states(torch.randn(size)).shape == (encoder.num_frames(size), 16) == (frames, 16)


@pytest.mark.parametrize("rest", [0, 79, 80, 399, 400, 719, 720])
@torch.no_grad()
def test_windows_lose_no_frame(hubert, monkeypatch, rest):
    """The frames of a long signal are as many as if it were heard at once, and lie on the same grid of 320 samples."""
    monkeypatch.setattr(units.SpeechEncoder, "step", 3200)
    encoder = units.SpeechEncoder(units.Config("hubert_base", 2, 5), 2).eval()
    size = 2 * 3200 + rest
    assert encoder.num_frames(size) == (size - 400) // 320 + 1
    starts = [start for start, _ in encoder.windows(size)]
    assert starts == ([0, 3200, 6400] if rest >= 400 else [0, 3200])
    assert all(encoder.frames_of(stop - start) == 10 for start, stop in list(encoder.windows(size))[:1])


@torch.no_grad()
def test_whisper_hears_windows_that_follow_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(units.WhisperEncoder, "step", 3200)
    codec = install("units", tmp_path)
    wav = 0.1 * torch.randn(1, 2 * 3200 + 500)
    states, frames = codec.latents(wav, torch.tensor([wav.shape[1]]))
    assert frames.tolist() == [22]
    parts = [codec.latents(part, torch.tensor([part.shape[1]]))[0] for part in wav.split(3200, 1)]
    assert torch.equal(states, torch.cat(parts, 1))
    assert torch.equal(
        codec.encode_long(lambda start, stop: wav[0, start:stop], wav.shape[1]), codec.quantize(states)[0]
    )


def test_the_checkpoint_of_openai(tmp_path):
    module, sizes, path = official("units", tmp_path)
    whole = units.read_safetensors(path)
    torch.save({"dims": {}, "model_state_dict": whole | {"decoder.x": torch.zeros(1)}}, tmp_path / "tiny.en.pt")
    wanted, found = (module.convert(one, sizes) for one in (path, tmp_path / "tiny.en.pt"))
    assert wanted.keys() == found.keys() and all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert "encoder.network.ln_post.weight" not in wanted, "it belongs to the last layer, and layer 1 of 2 is used"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "hubert"}, "E354 kind: is 'hubert'.*give one of hubert_base, "),
        ({"layer": 3}, "E354 layer: is 3; whisper"),
    ],
)
def test_mistakes_in_the_config(tmp_path, changes, message):
    module, sizes, path = official("units", tmp_path)
    with pytest.raises(CodecError, match=message):
        module.convert(path, units.Config(**{**vars(sizes), **changes}))


def test_centres_as_array_or_file(tmp_path):
    values = torch.randn(1, 6, 4)
    np.save(tmp_path / "flat.npy", values[0].double().numpy())
    np.save(tmp_path / "deep.npy", values.numpy())
    save_file({"quantizer.levels.0.codes": values[0]}, tmp_path / "c.safetensors")
    for name in ("flat.npy", "deep.npy", "c.safetensors"):
        assert torch.equal(centres.read_centres(tmp_path / name, (1, 6, 4))["quantizer.levels.0.codes"], values[0])
    with pytest.raises(
        CodecError, match=r"^E440 .*flat.npy: its tensor quantizer.levels.0.codes has the shape \[6, 4\]"
    ):
        centres.read_centres(tmp_path / "flat.npy", (1, 5, 4))
    with pytest.raises(CodecError, match="^E440 .*deep.npy: holds 1 codebooks, not 2"):
        centres.read_centres(tmp_path / "deep.npy", (2, 6, 4))
    np.save(tmp_path / "ids.npy", np.zeros((6, 4), int))
    with pytest.raises(WeightFileError, match="^E703 .*ids.npy: holds int64"):
        centres.read_centres(tmp_path / "ids.npy", (1, 6, 4))
    with pytest.raises(WeightFileError, match="^E703 .*none.npy: no such file"):
        centres.read_centres(tmp_path / "none.npy", (1, 6, 4))


def test_merged_units():
    ids = torch.tensor([3, 3, 1, 1, 1, 3, 0])
    single, counts = merged(ids)
    assert single.tolist() == [3, 1, 3, 0] and counts.tolist() == [2, 3, 1, 1]
    assert torch.equal(spread(single, counts), ids)
    assert merged(ids[:0])[0].tolist() == []
