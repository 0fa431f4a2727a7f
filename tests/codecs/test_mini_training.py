"""Training the codec: losses fall, padding is silent, the adversarial option learns beside."""

import torch

from codecsep.codecs import mini, mini_training
from codecsep.nn.discriminator import DiscriminatorConfig
from codecsep.nn.quantize import QuantizeConfig

TINY = mini.Config(width=32, expansion=2, encoder_blocks=1, decoder_blocks=1, synthesis_blocks=1,
                   quantizer=QuantizeConfig(num_codebooks=2, codebook_size=16, width=8))  # fmt: skip


def tone_batch(model, size=3200):
    time = torch.arange(size) / 16000
    return model.collate([{"wav": torch.sin(2 * torch.pi * f * time)} for f in (220, 330, 440, 550)])


def train(model, steps):
    optimizer = torch.optim.Adam(model.parameters(), 3e-3, betas=(0.8, 0.99))
    losses = []
    for _ in range(steps):
        loss, parts = model.train().loss(tone_batch(model))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(parts)
    return losses


def test_loss_falls_on_tones():
    torch.manual_seed(0)
    losses = train(mini_training.Model(mini_training.Config(codec=TINY)), 40)
    assert losses[-1]["mel"] < 0.7 * losses[0]["mel"]
    assert set(losses[0]) == {"magnitude", "mel", "complex", "commitment"}


def test_adversarial_option_adds_its_parts_and_its_parameters():
    torch.manual_seed(0)
    adversarial = mini_training.AdversarialConfig(0.1, discriminator=DiscriminatorConfig([256], 4, 2))
    model = mini_training.Model(mini_training.Config(codec=TINY, adversarial=adversarial))
    losses = train(model, 3)
    assert {"generator", "features", "discriminator"} <= set(losses[0])
    assert any(p.grad is not None and p.grad.any() for p in model.discriminators.parameters())
    assert mini_training.Model(mini_training.Config(codec=TINY)).discriminators is None


def test_equal_signals_have_no_distance():
    spectrum = torch.randn(1, 129, 5, dtype=torch.complex64)
    parts = mini_training.spectral_distances(spectrum, spectrum, torch.ones(4, 129) / 129, 0.3)
    assert parts["magnitude"] == 0 and parts["mel"] == 0 and float(parts["complex"]) < 1e-4
    louder = mini_training.spectral_distances(torch.e * spectrum, spectrum, torch.ones(4, 129) / 129, 0.3)
    torch.testing.assert_close(louder["mel"], torch.tensor(1.0), atol=1e-3, rtol=0)
