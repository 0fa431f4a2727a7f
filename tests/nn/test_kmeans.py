"""k-means: against a slow twin, restarted centres, determinism, residual levels."""

import pytest
import torch

from codecsep.nn.kmeans import KMeansConfig, assign, kmeans, means, residual_kmeans, spread_out


def blobs(num_blobs=8, each=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    places = 10 * torch.randn(num_blobs, 5, generator=generator)
    return places, (places[:, None] + 0.1 * torch.randn(num_blobs, each, 5, generator=generator)).flatten(0, 1)


def test_nearest_centre_is_that_of_the_obvious_loop():
    points, centres = torch.randn(300, 4), torch.randn(20, 4)
    ids, distances = assign(points, centres)
    for point, index, distance in zip(points, ids, distances, strict=True):
        every = ((centres - point) ** 2).sum(1)
        assert int(index) == int(every.argmin()) and float(distance) == pytest.approx(float(every.min()), abs=1e-4)


def test_well_parted_groups_are_found():
    places, points = blobs()
    centres = kmeans(points + 1000, KMeansConfig(8)) - 1000
    distance = torch.cdist(places, centres)
    assert sorted(distance.argmin(1).tolist()) == list(range(8)) and float(distance.amin(1).max()) < 0.1


def test_same_seed_same_centres_and_input_untouched():
    points = torch.randn(500, 6)
    before = points.clone()
    first, again, other = (kmeans(points, KMeansConfig(32, 5, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other) and torch.equal(points, before)


def test_every_round_lowers_the_error():
    points = torch.randn(2000, 3)
    errors = [float(assign(points, kmeans(points, KMeansConfig(16, rounds, 0.0)))[1].mean()) for rounds in (1, 3, 10)]
    assert errors[0] > errors[1] > errors[2]


def test_a_centre_without_points_goes_to_the_worst_served():
    points = torch.tensor([[0.0], [0.1], [5.0], [9.0]])
    centres = torch.tensor([[0.0], [4.0], [100.0]])
    ids, distances = assign(points, centres)
    assert means(points, ids, distances, centres).flatten().tolist() == pytest.approx([0.05, 7.0, 9.0])


def test_fewer_different_points_than_centres():
    points = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).repeat(10, 1)
    centres = kmeans(points, KMeansConfig(5))
    assert centres.shape == (5, 2) and torch.isfinite(centres).all()
    assert float(assign(points, centres)[1].max()) == 0
    with pytest.raises(ValueError, match="4 points cannot have 5 centres"):
        kmeans(points[:4], KMeansConfig(5))


def test_start_draws_far_points_more_often():
    points = torch.cat([torch.zeros(1000, 1), torch.full((1, 1), 50.0)])
    drawn = [spread_out(points, 2, torch.Generator().manual_seed(seed)).flatten().tolist() for seed in range(5)]
    assert all(50.0 in pair for pair in drawn)


def test_levels_are_kmeans_of_what_is_left():
    points = torch.randn(1500, 4)
    config = KMeansConfig(16, 10)
    centres, left = residual_kmeans(points, 3, config)
    assert left[0] > left[1] > left[2] > 0
    assert torch.equal(centres[0], kmeans(points, config))
    rest = points - centres[0][assign(points, centres[0])[0]]
    assert torch.equal(centres[1], kmeans(rest, config))
    assert left[0] == pytest.approx(float(rest.square().sum() / (points - points.mean(0)).square().sum()), rel=1e-4)
