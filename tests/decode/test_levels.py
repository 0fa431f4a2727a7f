import pytest
import torch

from codecsep.decode import levels
from codecsep.tokens import sot
from codecsep.tokens.vocab import Vocab

VOCAB = Vocab(5)
LEVEL0 = torch.tensor(
    [
        [VOCAB.sos, 1, 2, VOCAB.sc, 3, VOCAB.eos],
        [VOCAB.sos, 4, VOCAB.sc, 0, VOCAB.eos, VOCAB.pad],
    ]
)


def shift_by_level(sequence, level):
    """Wants the code of the level below plus the level, and even more a special everywhere."""
    batch, levels_so_far, steps = sequence.shape
    assert levels_so_far == level
    logits = torch.zeros(batch, steps, VOCAB.size)
    below = sequence[:, -1].clamp(max=VOCAB.codebook_size - 1)
    logits.scatter_(2, ((below + level) % VOCAB.codebook_size)[..., None], 1.0)
    logits[..., VOCAB.codebook_size :] = 9.0
    return logits


def test_codes_by_argmax_and_specials_copied_from_level_0():
    sequence = levels.decode(shift_by_level, LEVEL0, VOCAB, 3)
    is_code = LEVEL0 < VOCAB.codebook_size
    expected = torch.stack([torch.where(is_code, (LEVEL0 + add) % 5, LEVEL0) for add in (0, 1, 3)], dim=1)
    assert torch.equal(sequence, expected)


def test_every_level_is_cut_alike():
    sequence = levels.decode(shift_by_level, LEVEL0, VOCAB, 4)
    for row in sequence:
        speakers = sot.split(row, VOCAB)
        assert len(speakers) == 2
        rebuilt = sot.build(speakers, VOCAB)
        assert torch.equal(rebuilt, row[:, : rebuilt.shape[1]])


def test_one_codebook_is_level_0_alone():
    assert torch.equal(levels.decode(shift_by_level, LEVEL0, VOCAB, 1), LEVEL0[:, None])
    with pytest.raises(ValueError, match="num_codebooks is 0"):
        levels.decode(shift_by_level, LEVEL0, VOCAB, 0)


def test_nearest_to_mean_is_the_code_of_least_expected_squared_error():
    torch.manual_seed(0)
    vectors, logits = torch.randn(7, 3), torch.randn(2, 5, 7)
    chosen = levels.nearest_to_mean(logits, vectors)
    chances = logits.softmax(-1)
    distances = torch.cdist(vectors, vectors) ** 2
    assert torch.equal(chosen, (chances @ distances).argmin(-1))


def test_nearest_to_mean_of_a_sure_network_is_its_argmax():
    logits = 50.0 * torch.eye(4)[None]
    assert levels.nearest_to_mean(logits, torch.randn(4, 3)).tolist() == [[0, 1, 2, 3]]


def test_the_choice_is_asked_for_every_level():
    asked = []

    def choose(logits, level):
        asked.append(level)
        return torch.full(logits.shape[:-1], level)

    vocab = Vocab(10)
    level0 = torch.tensor([[vocab.sos, 1, 2, vocab.eos]])
    filled = levels.decode(lambda seq, k: torch.zeros(1, 4, vocab.size), level0, vocab, 3, choose)
    assert asked == [1, 2]
    assert filled[0].tolist() == [[10, 1, 2, 12], [10, 1, 1, 12], [10, 2, 2, 12]]


def test_a_ragged_batch_equals_its_rows_one_by_one():
    """With a network that looks both ways, but never at padding."""
    vocab, generator = Vocab(5), torch.Generator().manual_seed(3)
    table = torch.randn(4, 9, vocab.size + 1, vocab.size, generator=generator)
    table[..., vocab.pad, :] = 0.0

    def step(sequence, level):
        places = torch.arange(sequence.shape[2])
        seen = sum(table[below, places][places, sequence[:, below]] for below in range(level))
        return seen + 0.1 * seen.sum(dim=1, keepdim=True)

    rows = [[5, 0, 6, 1, 2, 3, 7], [5, 4, 7], [5, 1, 1, 1, 6, 0, 0, 2, 7]]
    batch = torch.full((3, 9), vocab.pad)
    for place, row in enumerate(rows):
        batch[place, : len(row)] = torch.tensor(row)
    together = levels.decode(step, batch, vocab, 4)
    for place, row in enumerate(rows):
        alone = levels.decode(step, torch.tensor([row]), vocab, 4)[0]
        assert torch.equal(together[place, :, : len(row)], alone)
        assert bool((together[place, :, len(row) :] == vocab.pad).all())
