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
