"""RVQ-Grid: published sizes, the grid of code vectors, both axes, padding."""

import pytest
import sample_codec
import torch

from codecsep.models import rvq_grid
from codecsep.models.base import ModelError


def make(**settings):
    torch.manual_seed(0)
    sizes = {"sample_rate": 16000, "latent_size": 4, "num_codebooks": 2, "width": 6, "num_blocks": 1}
    model = rvq_grid.Model(rvq_grid.Config(**sizes | settings)).eval()
    model.use_codec(sample_codec.SampleCodec())
    return model


def latents(batch=1, frames=7, seed=2):
    return torch.rand(batch, frames, 4, generator=torch.Generator().manual_seed(seed)) - 0.5


@pytest.mark.parametrize(
    ("sizes", "millions"),
    [
        ({}, 58.3),
        ({"latent_size": 128, "num_codebooks": 32, "width": 128, "num_blocks": 16, "activation": "elu"}, 9.6),
    ],
    ids=["dac", "encodec"],
)
def test_parameters_are_as_many_as_published(sizes, millions):
    with torch.device("meta"):
        network = rvq_grid.GridNetwork(rvq_grid.Config(**sizes))
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == millions


def test_the_grid_is_what_each_level_adds():
    model, z = make(), latents()
    codes = model.codec.quantize(z)
    vectors = model.vectors(z)
    assert vectors.shape == (1, 2, 7, 4) and not vectors.is_inference()
    torch.testing.assert_close(vectors.sum(1), model.codec.embed(codes))
    torch.testing.assert_close(vectors[:, 0], model.codec.embed(codes[:, :1]))
    torch.testing.assert_close(make(num_codebooks=1).vectors(z)[:, 0], vectors[:, 0])


def test_an_estimate_is_the_sum_of_masked_levels():
    model, z, lengths = make(), latents(), torch.tensor([7])
    vectors = model.vectors(z)
    masks = model.separator(vectors, lengths)
    assert masks.shape == (1, 2, 2, 7, 4)
    wanted = [sum(masks[0, n, k] * vectors[0, k] for k in range(2)) for n in range(2)]
    torch.testing.assert_close(model.estimate(z, lengths)[0], torch.stack(wanted))
    model.separator.forward = lambda vectors, lengths: torch.ones(1, 2, 2, 7, 4)
    torch.testing.assert_close(model.estimate(z, lengths)[0, 1], model.codec.embed(model.codec.quantize(z))[0])


@pytest.mark.parametrize("place", [(0, 0), (1, 6)])
def test_every_level_and_frame_is_read_from_every_other(place):
    model, lengths = make(), torch.tensor([7])
    vectors = torch.randn(1, 2, 7, 4)
    moved = vectors.clone()
    moved[:, place[0], place[1]] += 1
    change = model.separator(moved, lengths) - model.separator(vectors, lengths)
    assert (change.abs().amax((1, 4)) > 0).all()


def test_blocks_are_residual():
    block = rvq_grid.DualAxisBlock(6)
    for axis in (block.levels, block.frames):
        torch.nn.init.zeros_(axis.linear.weight)
        torch.nn.init.zeros_(axis.linear.bias)
    x = torch.randn(2, 3, 5, 6)
    torch.testing.assert_close(block(x, torch.tensor([5, 4])), x)


def test_padding_does_not_reach_a_row():
    model, z = make(), latents(2)
    both = model.estimate(z, torch.tensor([7, 4]))
    torch.testing.assert_close(both[1:, :, :4], model.estimate(z[1:, :4], torch.tensor([4])))
    torch.testing.assert_close(both[:1], model.estimate(z[:1], torch.tensor([7])))


def test_a_codec_of_fewer_levels_is_refused():
    with pytest.raises(ModelError, match="E508.*samples has 2 levels, the grid 3"):
        make(num_codebooks=3)


@pytest.mark.parametrize("loss", ["clean", "transmitted", "encoded"])
def test_it_trains_with_every_loss(loss):
    model = make(loss=loss).train()
    sources = 0.1 * torch.randn(2, 60, generator=torch.Generator().manual_seed(4)).numpy()
    batch = model.collate([{"id": "a", "mixture": sources.sum(0), "sources": sources}])
    model.loss(batch)[0].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.codec.gain.grad is None and not any("codec." in name for name in model.state_dict())
