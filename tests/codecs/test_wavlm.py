"""WavLM behind the encoder contract: shapes, padding, loading by path."""

import pytest
import torch
from safetensors.torch import save_file

from codecsep.codecs import wavlm


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
    from codecsep.torch_audio import import_torchaudio

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
