import pytest
import torch
from toys import ChainStep, NeverWaits, TableStep, random_chain, random_table

from codecsep.decode.autoregressive import decode
from codecsep.decode.beam import _Search
from codecsep.decode.filters import NEVER, rules
from codecsep.decode.history import History
from codecsep.decode.options import DecodeOptions
from codecsep.decode.step import DecodeError, apply_rules
from codecsep.tokens import sot
from codecsep.tokens.vocab import Vocab

VOCAB = Vocab(3)


def search(options, matrices, max_frames):
    tokens, stats = decode(ChainStep(matrices), len(matrices), VOCAB, options, torch.tensor(max_frames))
    return [row.tolist() for row in tokens], stats


def every_sequence(num_speakers, bound):
    """All SOT sequences of exactly so many speakers with 1..bound frames each."""
    frames = [[token] for token in range(VOCAB.codebook_size)]
    speakers, longest = list(frames), list(frames)
    for _ in range(bound - 1):
        longest = [old + new for old in longest for new in frames]
        speakers += longest
    rows = [[VOCAB.sos]]
    for turn in range(num_speakers):
        end = VOCAB.eos if turn == num_speakers - 1 else VOCAB.sc
        rows = [row + speaker + [end] for row in rows for speaker in speakers]
    return rows


def score(row, log_probs, length_penalty):
    total = sum(float(log_probs[before][after]) for before, after in zip(row, row[1:], strict=False))
    return total / (len(row) - 1) ** length_penalty


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_what_an_exhaustive_search_finds(seed, length_penalty):
    matrices = random_chain(2, VOCAB, seed)
    options = DecodeOptions(
        strategy="beam", beam_size=400, length_penalty=length_penalty, num_speakers=2, loop_period=0, length_slack=0
    )
    found, _ = search(options, matrices, [3, 2])
    for row, matrix, bound in zip(found, matrices, (3, 2), strict=True):
        matrix = matrix.log_softmax(-1).tolist()
        best = max(every_sequence(2, bound), key=lambda other: score(other, matrix, length_penalty))
        assert row == best


def test_a_beam_of_one_without_length_penalty_is_greedy_search_until_the_first_end():
    matrices = random_chain(6, VOCAB, seed=5)
    bounds = [3, 9, 5, 7, 4, 8]
    options = DecodeOptions(strategy="beam", beam_size=1, length_penalty=0.0)
    found, _ = search(options, matrices, bounds)
    greedy, _ = decode(ChainStep(matrices), 6, VOCAB, DecodeOptions(), torch.tensor(bounds))
    for row, other, matrix in zip(found, greedy, matrices, strict=True):
        assert score(row, matrix.log_softmax(-1), 0.0) >= score(other.tolist(), matrix.log_softmax(-1), 0.0) - 1e-5


def test_batch_of_one_equals_batch_of_many():
    matrices, bounds = random_chain(5, VOCAB, seed=7), [4, 9, 2, 6, 11]
    options = DecodeOptions(strategy="beam", beam_size=3)
    together, stats = search(options, matrices, bounds)
    alone = [search(options, matrices[i : i + 1], bounds[i : i + 1]) for i in range(5)]
    assert together == [rows[0] for rows, _ in alone]
    assert stats == [row_stats[0] for _, row_stats in alone]


@pytest.mark.parametrize("num_speakers", [None, 1, 3])
@pytest.mark.parametrize("beam_size", [1, 4])
def test_every_hypothesis_obeys_the_rules(num_speakers, beam_size):
    options = DecodeOptions(strategy="beam", beam_size=beam_size, num_speakers=num_speakers, length_slack=1)
    found, stats = search(options, random_chain(8, VOCAB, seed=9, scale=6.0), [1, 2, 3, 4, 5, 6, 7, 8])
    for row, bound, stat in zip(found, range(1, 9), stats, strict=True):
        speakers = sot.split(row, VOCAB)
        assert row[-1] == VOCAB.eos and not stat.missing_eos and stat.num_speakers == len(speakers)
        assert sot.build(speakers, VOCAB)[0].tolist() == row
        assert len(speakers) == num_speakers if num_speakers else len(speakers) <= 3
        assert all(1 <= speaker.shape[-1] <= bound + 1 for speaker in speakers)


def test_a_wider_beam_scores_no_worse_here():
    matrices = random_chain(12, VOCAB, seed=3)
    totals = []
    for width in (1, 4, 16):
        options = DecodeOptions(strategy="beam", beam_size=width, num_speakers=2, loop_period=0)
        found, _ = search(options, matrices, [6] * 12)
        totals.append(sum(score(row, matrix.log_softmax(-1), 1.0) for row, matrix in zip(found, matrices, strict=True)))
    assert totals[0] <= totals[1] + 1e-5 and totals[1] <= totals[2] + 1e-5


def test_cut_rows_and_bad_logits():
    table = random_table(2, 9, VOCAB)
    table[..., VOCAB.eos] = -60.0
    options = DecodeOptions(strategy="beam", beam_size=2)
    wide = torch.tensor([40, 40])
    tokens, stats = decode(TableStep(table), 2, VOCAB, options, wide, max_steps=5)
    assert [len(row) for row in tokens] == [5, 5] and all(stat.missing_eos for stat in stats)
    table[0, 1] = float("nan")
    with pytest.raises(DecodeError, match="NaN"):
        decode(TableStep(table), 2, VOCAB, options, wide)
    assert decode(TableStep(table[:0]), 0, VOCAB, options, torch.zeros(0)) == ([], [])


def slow_beam(matrix, options, bound):
    """The search of the module's text for one row, with lists; one hypothesis is (total, tokens, fired)."""
    chain, width = rules(options, VOCAB), options.beam_size
    going, finished = [(0.0, [VOCAB.sos], [0] * len(chain))], []
    for length in range(1, 1 + options.speakers_limit * (bound + 1)):
        ways = []
        for total, tokens, fired in going:
            history = History(VOCAB, torch.tensor([bound]), len(tokens), options.loop_period)
            for token in tokens:
                history.push(torch.tensor([token]))
            logits = matrix[tokens[-1]]
            allowed, now, _ = apply_rules(logits[None], history, chain)
            fired = [count + int(add) for count, add in zip(fired, now, strict=True)]
            gains = logits.log_softmax(-1).tolist()
            open_tokens = [token for token in range(VOCAB.size) if allowed[0, token] > NEVER]
            ways += [(total + gains[token], [*tokens, token], fired) for token in open_tokens]
        ways = sorted(ways, key=lambda way: -way[0])[: 2 * width]
        penalty = length**options.length_penalty
        finished += [(total / penalty, *rest) for total, *rest in ways if rest[0][-1] == VOCAB.eos]
        finished = sorted(finished, key=lambda entry: -entry[0])[:width]
        going = [way for way in ways if way[1][-1] != VOCAB.eos][:width]
        longest = (options.speakers_limit * (bound + 1)) ** options.length_penalty
        if not going or (len(finished) == width and going[0][0] / longest <= finished[-1][0]):
            break
    return finished[0][1:]


@pytest.mark.parametrize("length_penalty, leave_every", [(0.0, 1), (1.0, 3), (1.0, 1000)])
def test_the_search_equals_its_slow_twin(length_penalty, leave_every):
    matrices, bounds = random_chain(5, VOCAB, seed=11) + 3.0 * torch.eye(VOCAB.size), [2, 6, 1, 4, 3]
    options = DecodeOptions(
        strategy="beam", beam_size=3, length_penalty=length_penalty, leave_every=leave_every, max_speakers=2,
        length_slack=0, loop_period=3, loop_repeats=1, loop_min_period=1,
    )  # fmt: skip
    found, stats = search(options, matrices, bounds)
    for row, stat, matrix, bound in zip(found, stats, matrices, bounds, strict=True):
        tokens, fired = slow_beam(matrix, options, bound)
        assert row == tokens and list(stat.fired.values()) == fired
    assert length_penalty == 0.0 or sum(stat.loop_blocks for stat in stats) > 0


def test_a_step_of_the_search_never_asks_the_device():
    options, bounds = DecodeOptions(strategy="beam", beam_size=2), torch.full((3,), 4, device="meta")
    hypotheses = _Search(TableStep(torch.zeros(3, 9, VOCAB.size, device="meta")), VOCAB, options, bounds, 12)
    with NeverWaits():
        for _ in range(3):
            hypotheses.advance()
    assert hypotheses.finished.scores.shape == (3, 2)
