import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import ChainStep, TableStep, random_chain, random_table

from codecsep.decode.autoregressive import decode
from codecsep.decode.noise import GumbelNoise
from codecsep.decode.options import DecodeOptions
from codecsep.decode.step import DecodeError
from codecsep.tokens import sot
from codecsep.tokens.vocab import Vocab

VOCAB = Vocab(6)
SAMPLE = DecodeOptions(strategy="sample", temperature=1.2, top_k=7, top_p=0.95, seed=3)


def run(options, chain, max_frames, rows=None, keys=None, **more):
    rows = list(range(len(chain))) if rows is None else rows
    names = [f"utt{row}" for row in rows] if keys is None else keys
    tokens, stats = decode(
        ChainStep(chain[rows]), len(rows), VOCAB, options, max_frames[torch.tensor(rows)], keys=names, **more
    )
    return [row.tolist() for row in tokens], stats


@pytest.mark.parametrize("options", [DecodeOptions(), SAMPLE, DecodeOptions(num_speakers=2, leave_every=5)])
def test_batch_of_one_equals_batch_of_many_in_any_order(options):
    chain, max_frames = random_chain(7, VOCAB, seed=1), torch.tensor([5, 30, 12, 1, 18, 7, 25])
    together, _ = run(options, chain, max_frames)
    alone = [run(options, chain, max_frames, [row])[0][0] for row in range(7)]
    shuffled, _ = run(options, chain, max_frames, [4, 2, 6, 0])
    assert together == alone
    assert shuffled == [together[row] for row in (4, 2, 6, 0)]
    assert len({len(row) for row in together}) > 1


def test_looking_less_often_at_who_has_ended_changes_nothing():
    chain, max_frames = random_chain(6, VOCAB, seed=2), torch.tensor([5, 30, 12, 1, 18, 7])
    results = []
    for every in (1, 4, 1000):
        tokens, stats = run(DecodeOptions(strategy="sample", leave_every=every), chain, max_frames)
        results.append((tokens, stats))
    assert results[0] == results[1] == results[2]


def test_rows_leave_as_soon_as_they_end():
    table = torch.zeros(3, 40, VOCAB.size)
    for row, end in enumerate((2, 10, 5)):
        table[row, end, VOCAB.eos] = 1.0
    step = TableStep(table)
    tokens, _ = decode(step, 3, VOCAB, DecodeOptions(loop_period=0), torch.tensor([30, 30, 30]))
    assert [len(row) for row in tokens] == [4, 12, 7]
    assert step.rows_seen == [3] * 3 + [2] * 3 + [1] * 5


def test_greedy_is_the_argmax_of_a_table():
    table = torch.full((1, 6, VOCAB.size), 0.0)
    best = [3, 1, VOCAB.sc, 5, VOCAB.eos]
    for place, token in enumerate(best):
        table[0, place, token] = 1.0
    tokens, stats = decode(TableStep(table), 1, VOCAB, DecodeOptions(), torch.tensor([9]))
    assert tokens[0].tolist() == [VOCAB.sos, *best]
    assert stats[0].num_speakers == 2 and stats[0].num_tokens == 6 and not stats[0].missing_eos
    assert stats[0].fired == {"blank": 0, "grammar": 0, "bound": 0, "loop": 0}


def test_sampling_frequencies_match_softmax():
    logits = torch.tensor([1.0, 0.0, -1.0, 0.5, 2.0, -3.0, 9.0, 9.0, 9.0])
    draws = 6000
    table = logits.expand(draws, 1, VOCAB.size)
    options = DecodeOptions(strategy="sample", temperature=0.8)
    tokens, _ = decode(TableStep(table), draws, VOCAB, options, torch.full((draws,), 3), max_steps=2)
    counts = torch.bincount(torch.stack(tokens)[:, 1], minlength=VOCAB.size) / draws
    expected = torch.cat([(logits[:6] / 0.8).softmax(-1), torch.zeros(3)])  # the specials are forbidden at first
    assert (counts - expected).abs().max() < 0.02
    assert counts[6:].sum() == 0


def test_seed_and_key_decide_the_sample():
    chain, max_frames = random_chain(1, VOCAB).expand(2, -1, -1), torch.tensor([40, 40])
    same, _ = run(SAMPLE, chain, max_frames, keys=["a", "a"])
    other, _ = run(SAMPLE, chain, max_frames, keys=["a", "b"])
    reseeded, _ = run(DecodeOptions(strategy="sample", temperature=1.2, seed=4), chain, max_frames, keys=["a", "a"])
    assert same[0] == same[1] == other[0] and other[1] != other[0] and reseeded[0] != same[0]


def test_loop_blocks_are_counted():
    table = torch.zeros(1, 60, VOCAB.size)
    table[0, ::2, 0], table[0, 1::2, 1] = 2.0, 2.0  # wants 0 1 0 1 0 1 ...
    table[0, :, 5] = 1.0
    options = DecodeOptions(num_speakers=1, loop_repeats=2, loop_period=4)
    tokens, stats = decode(TableStep(table), 1, VOCAB, options, torch.tensor([10]))
    assert tokens[0].tolist()[1:8] == [0, 1, 0, 1, 0, 1, 5]
    assert stats[0].loop_blocks == 1 and stats[0].bound_hits == 1


def test_a_sequence_without_eos_is_cut_and_said():
    table = random_table(2, 50, VOCAB)
    table[..., VOCAB.eos] = -50
    tokens, stats = decode(TableStep(table), 2, VOCAB, DecodeOptions(), torch.tensor([40, 40]), max_steps=9)
    assert [len(row) for row in tokens] == [9, 9]
    assert [row.missing_eos for row in stats] == [True, True]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([0.1, 3.0, 1e4, float("inf")]),
    num_speakers=st.one_of(st.none(), st.integers(1, 4)),
    bounds=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    strategy=st.sampled_from(["greedy", "sample"]),
    length_rule=st.sampled_from(["bound", "exact"]),
)
def test_any_logits_give_a_parseable_sequence(seed, scale, num_speakers, bounds, strategy, length_rule):
    options = DecodeOptions(
        strategy=strategy, num_speakers=num_speakers, max_speakers=3, length_rule=length_rule, length_slack=1,
        loop_min_period=1, loop_repeats=1, min_frames=2,
    )  # fmt: skip
    chain = random_chain(len(bounds), VOCAB, seed)
    chain = torch.where(chain < 0, -scale, chain) if scale == float("inf") else chain * scale
    tokens, stats = run(options, chain, torch.tensor(bounds))
    for row, bound, stat in zip(tokens, bounds, stats, strict=True):
        speakers = sot.split(row, VOCAB)
        assert row[0] == VOCAB.sos and row[-1] == VOCAB.eos and not stat.missing_eos
        assert sot.build(speakers, VOCAB)[0].tolist() == row
        assert len(speakers) == stat.num_speakers
        assert len(speakers) == num_speakers if num_speakers else 1 <= len(speakers) <= 3
        lengths = {speaker.shape[-1] for speaker in speakers}
        if length_rule == "exact":
            assert lengths == {bound}
        else:
            assert min(2, bound + 1) <= min(lengths) and max(lengths) <= bound + 1


def test_nan_logits_are_an_error():
    table = random_table(2, 50, VOCAB)
    table[1, 3] = float("nan")
    with pytest.raises(DecodeError, match="NaN logits in 1 of"):
        decode(TableStep(table), 2, VOCAB, DecodeOptions(), torch.tensor([9, 9]))


def test_no_rows():
    assert decode(TableStep(torch.zeros(0, 1, VOCAB.size)), 0, VOCAB, DecodeOptions(), torch.zeros(0)) == ([], [])


@pytest.mark.parametrize(
    "more, words",
    [
        ({"max_frames": torch.tensor([3])}, r"max_frames has shape \[1\]"),
        ({"max_frames": torch.tensor([3, 0])}, "bound of 0 frames"),
        ({"keys": ["a"]}, "1 keys for 2 rows"),
    ],
)
def test_bad_arguments(more, words):
    arguments = {"options": DecodeOptions(), "max_frames": torch.tensor([3, 3]), **more}
    with pytest.raises(ValueError, match=words):
        decode(TableStep(random_table(2, 9, VOCAB)), 2, VOCAB, **arguments)


def test_noise_is_splitmix64():
    def reference(state, count):
        for _ in range(count):
            state = (state + 0x9E3779B97F4A7C15) % 2**64
            z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
            yield z ^ (z >> 31)

    noise = GumbelNoise(1, ["a", "b"])
    got = torch.cat([noise.at(0, 5), noise.at(1, 5)], dim=1)
    bits = torch.tensor([[(z >> 12) for z in reference(int(start), 10)] for start in noise.starts])
    expected = -(-((bits.double() + 0.5) * 2.0**-52).log()).log()
    assert torch.allclose(got.double(), expected, atol=1e-5)


def test_noise_is_gumbel():
    noise = GumbelNoise(7, [str(i) for i in range(50)]).at(0, 1000).double()
    assert abs(noise.mean() - 0.5772) < 0.02 and abs(noise.std() - 1.2825) < 0.02
