"""The codec's encoder under a Transformer: the front end is the codec's, frames are the codec's, padding is silent."""

import pytest
import torch

from codecsep.bin import get_codec
from codecsep.codecs import base, mini_encoder
from codecsep.codecs.encoders import EncoderConfig, EncoderError, FusedEncoder
from codecsep.nn.transformer import TransformerConfig
from codecsep.train.optim import InitConfig, initialise

TINY = TransformerConfig(num_layers=1, width=16, num_heads=2, ffn_width=32)


def test_front_end_gives_the_codecs_own_latents():
    encoder = mini_encoder.Encoder(mini_encoder.Config(transformer=TINY)).eval()
    weights = str(get_codec.COMMITTED / "mini.safetensors")
    initialise(encoder, [InitConfig(weights, part, f"front.{part}") for part in ("analysis", "encoder", "to_latent")])
    codec = base.load(get_codec.COMMITTED)
    wav, lengths = 0.1 * torch.randn(1, 6400), torch.tensor([6400])
    with torch.no_grad():
        _, latents = encoder.front(encoder.front.normalise(wav, lengths), torch.ones(1, 20, dtype=torch.bool))
    assert torch.equal(codec.network.quantizer.encode(latents), codec.encode(wav, lengths)[0])


@torch.no_grad()
def test_padding_does_not_change_a_row():
    torch.manual_seed(0)
    encoder = FusedEncoder(
        EncoderConfig(kind="mini_encoder", mini_encoder=mini_encoder.Config(transformer=TINY))
    ).eval()
    wav = 0.1 * torch.randn(1, 3300)
    alone, valid = encoder(wav, torch.tensor([3300]))
    assert valid.shape == (1, 11) and bool(valid.all())
    both = torch.cat([torch.cat([wav, torch.randn(1, 3000)], 1), torch.randn(1, 6300)])
    together, valid = encoder(both, torch.tensor([3300, 6300]))
    assert valid.sum(1).tolist() == [11, 20]
    torch.testing.assert_close(together[:1, :11], alone, atol=1e-4, rtol=1e-4)


def test_unknown_kind_is_refused():
    with pytest.raises(EncoderError, match="^E354 .*give one of fbank, mini_encoder, wavlm"):
        FusedEncoder(EncoderConfig(kind="hubert"))
