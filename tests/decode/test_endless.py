"""Rows E1 and E2: networks that never end, end at once, or change the speaker for ever; one such row among others."""

import pytest
import torch
from toys import TableStep, random_table

from codecsep.decode import autoregressive
from codecsep.decode.options import DecodeOptions
from codecsep.tokens import sot
from codecsep.tokens.vocab import Vocab

VOCAB = Vocab(20)
FRAMES = 6
BOUND = FRAMES + DecodeOptions().length_slack


class Stubborn:
    """Wants one token at every step, whatever was chosen; counts its steps."""

    def __init__(self, batch, wanted, size=VOCAB.size):
        self.batch, self.wanted, self.size, self.steps = batch, wanted, size, 0

    def __call__(self, tokens):
        self.steps += 1
        logits = torch.zeros(self.batch, self.size)
        logits[:, self.wanted] = 50.0
        return logits

    def keep(self, rows):
        self.batch = len(rows)


def decode(step, batch, options, **more):
    return autoregressive.decode(step, batch, VOCAB, options, torch.full((batch,), FRAMES), **more)


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
@pytest.mark.parametrize("wanted", [3, VOCAB.sc, VOCAB.eos, VOCAB.sos], ids=["a code", "change", "end", "start"])
@pytest.mark.parametrize("speakers", [None, 2])
def test_whatever_the_network_wants_the_sequence_ends_and_is_speech_of_speakers(strategy, wanted, speakers):
    options = DecodeOptions(strategy=strategy, num_speakers=speakers, loop_period=0)
    step = Stubborn(1, wanted)
    (tokens,), (stats,) = decode(step, 1, options)
    most = options.speakers_limit
    assert len(tokens) <= 1 + most * (BOUND + 1) and step.steps <= most * (BOUND + 1)
    streams = sot.split(tokens, VOCAB)
    assert 1 <= len(streams) <= most and all(1 <= stream.shape[-1] <= BOUND for stream in streams)
    assert int(tokens[-1]) == VOCAB.eos and not stats.missing_eos


def test_e1_a_row_that_is_cut_says_so():
    (tokens,), (stats,) = decode(Stubborn(1, 3), 1, DecodeOptions(loop_period=0), max_steps=5)
    assert len(tokens) == 5 and stats.missing_eos and stats.as_dict()["eos_missing"] == 1


@pytest.mark.parametrize("endless", [0, 3, 7])
def test_e2_an_endless_row_in_a_batch_of_eight_leaves_the_others_as_they_are_alone(endless):
    options = DecodeOptions(strategy="sample", loop_period=0)
    limit = options.speakers_limit * (BOUND + 1)
    table = random_table(8, limit, VOCAB, seed=5)
    table[:, :, VOCAB.eos] += 2.0
    table[endless, :, VOCAB.eos] = -40.0
    table[endless, :, VOCAB.sc] = -30.0
    keys = [f"utt{row}" for row in range(8)]
    step = TableStep(table.clone())
    together, stats = decode(step, 8, options, keys=keys)
    for row in range(8):
        (alone,), _ = decode(TableStep(table[row : row + 1].clone()), 1, options, keys=keys[row : row + 1])
        assert torch.equal(together[row], alone)
    assert len(step.rows_seen) <= limit and len(together[endless]) == max(map(len, together))
    assert stats[endless].bound_hits > 0
