"""The best permutation for any numbers of references and estimates, and the PIT loss against brute force."""

from itertools import permutations

import numpy as np
import pytest
import torch

from codecsep.signal.permute import PermutationError, best_permutation, pit_loss, reorder, unassigned


def test_two_speakers_swapped():
    assert best_permutation([[1.0, 9.0], [8.0, 2.0]]) == [1, 0]
    assert best_permutation([[9.0, 1.0], [2.0, 8.0]]) == [0, 1]


@pytest.mark.parametrize("num_speakers", [1, 2, 3, 5])
def test_equals_brute_force(num_speakers):
    scores = np.random.default_rng(num_speakers).standard_normal((num_speakers, num_speakers))
    brute = max(permutations(range(num_speakers)), key=lambda p: sum(scores[n, e] for n, e in enumerate(p)))
    assert best_permutation(scores) == list(brute)


def test_missing_and_extra_estimates():
    assert best_permutation([[1.0], [5.0]]) == [-1, 0]
    assert best_permutation(np.zeros((2, 0))) == [-1, -1]
    assigned = best_permutation([[1.0, 7.0, 2.0], [6.0, 8.0, 3.0]])
    assert assigned == [1, 0] and unassigned(assigned, 3) == [2]


def test_nan_is_worse_than_any_number_and_ties_keep_the_order():
    assert best_permutation([[np.nan, -50.0], [-60.0, np.nan]]) == [1, 0]
    assert best_permutation(np.full((3, 3), np.nan)) == [0, 1, 2]
    assert best_permutation(np.ones((4, 4))) == [0, 1, 2, 3]


@pytest.mark.parametrize("num_speakers", [1, 2, 3, 4])
def test_pit_loss_equals_brute_force(num_speakers):
    pair_losses = torch.rand(5, num_speakers, num_speakers, generator=torch.Generator().manual_seed(0))
    loss, permutation = pit_loss(pair_losses)
    for b in range(5):
        brute = [
            (pair_losses[b, range(num_speakers), list(p)].mean().item(), p) for p in permutations(range(num_speakers))
        ]
        assert loss[b].item() == pytest.approx(min(brute)[0])
        assert tuple(permutation[b].tolist()) == min(brute)[1]


def test_swapping_the_references_leaves_the_loss_and_swaps_the_permutation():
    pair_losses = torch.tensor([[[0.1, 0.9], [0.8, 0.2]]])
    loss, permutation = pit_loss(pair_losses)
    swapped_loss, swapped = pit_loss(pair_losses.flip(1))
    assert torch.equal(loss, swapped_loss) and permutation.tolist() == [[0, 1]] and swapped.tolist() == [[1, 0]]


def test_gradient_reaches_only_the_chosen_pairs():
    pair_losses = torch.tensor([[[0.1, 0.9], [0.8, 0.2]]], requires_grad=True)
    pit_loss(pair_losses)[0].sum().backward()
    assert torch.allclose(pair_losses.grad, torch.tensor([[[0.5, 0.0], [0.0, 0.5]]]))


def test_reorder_puts_estimates_where_the_references_are():
    estimates = torch.arange(6).reshape(1, 3, 2)
    assert reorder(estimates, torch.tensor([[2, 0, 1]])).tolist() == [[[4, 5], [0, 1], [2, 3]]]


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match="B, N, N"):
        pit_loss(torch.zeros(2, 3, 2))
    with pytest.raises(PermutationError, match="^E803 .*at most 6"):
        pit_loss(torch.zeros(1, 7, 7))
