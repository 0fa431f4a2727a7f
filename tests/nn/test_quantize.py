"""Residual quantisation: exact tiny numbers, straight-through gradients, dropout of levels, revival."""

import torch

from codecsep.nn.quantize import Codebook, QuantizeConfig, ResidualQuantizer

TINY = QuantizeConfig(num_codebooks=3, codebook_size=4, width=2, dropout=0.0)


def test_nearest_is_the_euclidean_nearest():
    torch.manual_seed(0)
    level = Codebook(QuantizeConfig(codebook_size=16, width=3))
    level.codes.normal_()
    vectors = torch.randn(2, 7, 3)
    slow = torch.stack([torch.stack([((v - level.codes) ** 2).sum(1).argmin() for v in row]) for row in vectors])
    assert torch.equal(level.nearest(vectors), slow)


def test_each_level_quantises_what_is_left():
    quantizer = ResidualQuantizer(TINY).eval()
    for i, level in enumerate(quantizer.levels):
        level.codes.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]) / 2**i)
    latents = torch.tensor([[[1.5, 0.25]]])
    codes = quantizer.encode(latents)
    assert codes[0, :, 0].tolist() == [1, 1, 2]
    assert quantizer.embed(codes)[0, 0].tolist() == [1.5, 0.25]
    assert quantizer.embed(codes[:, :2])[0, 0].tolist() == [1.5, 0.0]


def test_forward_equals_encode_and_embed_and_passes_gradients_straight_through():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(TINY).eval()
    for level in quantizer.levels:
        level.codes.normal_()
    latents = torch.randn(2, 5, 2, requires_grad=True)
    quantised, commitment = quantizer(latents, torch.ones(2, 5, dtype=torch.bool))
    torch.testing.assert_close(quantised, quantizer.embed(quantizer.encode(latents)))
    quantised.sum().backward()
    torch.testing.assert_close(latents.grad, torch.ones_like(latents))
    assert commitment > 0


def test_training_lowers_the_error_and_uses_every_code():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(QuantizeConfig(num_codebooks=2, codebook_size=16, width=4, dropout=0.0)).train()
    valid = torch.ones(4, 64, dtype=torch.bool)
    errors = []
    for _ in range(40):
        latents = torch.randn(4, 64, 4)
        errors.append(float(((quantizer(latents, valid)[0] - latents) ** 2).mean()))
    assert errors[-1] < 0.5
    used = quantizer.eval().encode(torch.randn(8, 256, 4))
    assert all(len(used[:, level].unique()) == 16 for level in range(2))


def test_dead_codes_come_back_onto_the_data():
    torch.manual_seed(0)
    level = Codebook(QuantizeConfig(codebook_size=3, width=1, revive_below=0.5))
    level.codes.copy_(torch.tensor([[0.0], [100.0], [200.0]]))
    vectors = torch.zeros(8, 1)
    level.update(vectors, level.nearest(vectors))
    assert level.codes.flatten().tolist() == [0.0, 0.0, 0.0]


def test_dropped_levels_leave_a_coarser_sum():
    torch.manual_seed(0)
    config = QuantizeConfig(num_codebooks=4, codebook_size=8, width=2, dropout=1.0)
    quantizer = ResidualQuantizer(config).train()
    latents, valid = torch.randn(64, 4, 2), torch.ones(64, 4, dtype=torch.bool)
    quantizer(latents, valid)
    before = [level.codes.clone() for level in quantizer.levels]
    drawn = quantizer._draw_levels(1000, latents.device)
    assert sorted(drawn.unique().tolist()) == [1, 2, 3, 4]
    assert all(torch.equal(a, level.codes) for a, level in zip(before, quantizer.levels, strict=True))


def test_padding_neither_trains_nor_counts():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(TINY).train()
    valid = torch.tensor([[True] * 6 + [False] * 2])
    latents = torch.randn(1, 8, 2)
    latents[0, 6:] = 1e6
    quantised, commitment = quantizer(latents, valid)
    assert float(commitment) < 10
    assert max(float(level.codes.abs().max()) for level in quantizer.levels) < 10
