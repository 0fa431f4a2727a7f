"""WavLM behind the encoder contract: shapes, padding, loading by path."""

import pytest
import torch
from safetensors.torch import save_file

from codecsep.codecs import wavlm
from codecsep.torch_audio import import_torchaudio


def small(size="large"):
    """Random weights, two of the layers, so that a test takes a second."""
    torch.manual_seed(0)
    encoder = wavlm.Encoder(wavlm.Config(size=size)).eval()
    del encoder.network.encoder.transformer.layers[2:]
    return encoder


@pytest.fixture(scope="module")
def large():
    return small()


@torch.no_grad()
def test_states_and_frames(large):
    states, lengths = large(torch.randn(1, 32000), torch.tensor([32000]))
    assert states.shape == (3, 1, 99, 1024) and lengths.tolist() == [99]
    assert large.num_states == 3 and large.width == 1024


@torch.no_grad()
def test_padding_and_gain_do_not_change_a_row(large):
    wav = torch.randn(1, 8000)
    alone, lengths = large(wav, torch.tensor([8000]))
    padded = torch.cat([0.1 * wav, torch.randn(1, 4000)], 1)
    together, _ = large(torch.cat([padded, torch.randn(1, 12000)]), torch.tensor([8000, 12000]))
    torch.testing.assert_close(together[:, :1, : int(lengths)], alone, atol=2e-3, rtol=1e-3)


def test_checkpoint_by_path_and_its_errors(tmp_path, monkeypatch):
    monkeypatch.setitem(wavlm.MAKERS, "base", small_maker)
    source = wavlm.Encoder(wavlm.Config(size="base"))
    save_file(source.network.state_dict(), tmp_path / "w.safetensors")
    loaded = wavlm.Encoder(wavlm.Config(size="base", checkpoint=str(tmp_path / "w.safetensors")))
    for name, value in source.network.state_dict().items():
        assert torch.equal(value, loaded.network.state_dict()[name])
    with pytest.raises(wavlm.WavLMError, match="^E355 .*no WavLM-base weights here"):
        wavlm.Encoder(wavlm.Config(size="base", checkpoint=str(tmp_path / "none.pt")))
    with pytest.raises(wavlm.WavLMError, match="^E354 .*give one of base, large"):
        wavlm.Encoder(wavlm.Config(size="huge"))


def small_maker():
    network = import_torchaudio().models.wavlm_base()
    del network.encoder.transformer.layers[1:]
    return network


def test_transformers_directory_gives_the_same_states(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra alm)")
    torch.manual_seed(0)
    config = transformers.WavLMConfig(num_hidden_layers=2)
    theirs = transformers.WavLMModel(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = wavlm.Encoder(wavlm.Config(size="base")).eval()
    del ours.network.encoder.transformer.layers[2:]
    ours.network.load_state_dict(wavlm.read_checkpoint(tmp_path, "base"))
    wav = torch.randn(1, 8000)
    with torch.no_grad():
        wanted = theirs(wav, output_hidden_states=True).hidden_states
        states, _ = ours(wav, torch.tensor([8000]))
    torch.testing.assert_close(states[-1], wanted[-1], atol=1e-4, rtol=1e-3)


def test_weights_of_another_size(tmp_path, monkeypatch):
    monkeypatch.setitem(wavlm.MAKERS, "base", small_maker)
    state = wavlm.Encoder(wavlm.Config(size="base")).network.state_dict()
    state.popitem()
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(wavlm.WavLMError, match=r"^E355 \S+w.safetensors: not the weights of WavLM-base.*\(fix: .+\)$"):
        wavlm.Encoder(wavlm.Config(size="base", checkpoint=str(tmp_path / "w.safetensors")))


def microsofts(state, width):
    """torchaudio's names -> those of Microsoft's release (written for this test; WavLM-Large.pt follows fairseq)."""
    rules = [("encoder.feature_projection.layer_norm", "layer_norm"), ("encoder.transformer.", "encoder."),
             ("encoder.feature_projection.projection", "post_extract_proj"), ("pos_conv_embed.conv", "pos_conv.0"),
             ("parametrizations.weight.original0", "weight_g"), ("parametrizations.weight.original1", "weight_v"),
             ("feed_forward.intermediate_dense", "fc1"), ("feed_forward.output_dense", "fc2"),
             ("attention.attention.", "self_attn."), (".attention.", ".self_attn."),
             ("gru_rel_pos_linear", "grep_linear"), ("gru_rel_pos_const", "grep_a"),
             ("rel_attn_embed", "relative_attention_bias")]  # fmt: skip
    result = {}
    for name, value in state.items():
        for ours, theirs in rules:
            name = name.replace(ours, theirs)
        if name.startswith("feature_extractor."):
            name = name.replace(".conv.", ".0.").replace(".layer_norm.", ".2.1.")
        elif ".layers." in name and name.split(".")[3] == "layer_norm":
            name = name.replace(".layer_norm.", ".self_attn_layer_norm.")
        if ".in_proj_" in name:
            for letter, part in zip("qkv", value.split(width), strict=True):
                result[name.replace(".in_proj_", f".{letter}_proj.")] = part.clone()
        else:
            result[name] = value
    return result


def test_microsofts_release_by_path(tmp_path, monkeypatch):
    maker = lambda: import_torchaudio().models.wavlm_model(  # noqa: E731  (called once here, once in wavlm.py)
        "layer_norm", [(8, 10, 5), *[(8, 3, 2)] * 4, *[(8, 2, 2)] * 2], False, 16, 0.0, 8, 2, 2, 2, 320, 800, 0.0, 32,
        0.0, 0.0, True, 0.0, None,
    )  # fmt: skip
    monkeypatch.setitem(wavlm.MAKERS, "large", maker)
    state = maker().state_dict()
    torch.save({"cfg": {"extractor_mode": "layer_norm"}, "model": microsofts(state, 16)}, tmp_path / "WavLM-Large.pt")
    loaded = wavlm.Encoder(wavlm.Config(checkpoint=str(tmp_path / "WavLM-Large.pt"))).network.state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[name], state[name]) for name in state)
