"""Masked decoding against an example by hand and a slow twin; ragged batches; what is known is never masked."""

import math

import pytest
import torch
from toys import NeverWaits

from codecsep.decode import masked
from codecsep.decode.noise import GumbelNoise
from codecsep.decode.options import SCHEDULES, MaskedOptions
from codecsep.decode.step import DecodeError

SIZE = 6  # codes 0..5; 6 is the mask
SURE = MaskedOptions(steps=(2,), temperature=0.0, single_temperature=0.0, confidence_noise=0.0, top_share=1.0)


class Toy:
    """Logits [B, T, SIZE] of a frame: a table of its level and place, moved by every code that is known so far."""

    def __init__(self, num_levels, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.table = 2.0 * torch.randn(num_levels, 30, SIZE, generator=generator)
        self.pull = torch.randn(num_levels, num_levels, SIZE + 1, SIZE, generator=generator)
        self.pull[:, :, SIZE] = 0.0  # a mask says nothing
        self.seen = []

    def __call__(self, codes, level):
        self.seen.append((codes.clone(), level))
        logits = self.table[level, : codes.shape[2]].expand(len(codes), -1, -1)
        for below in range(codes.shape[1]):
            own = self.pull[level, below][codes[:, below]]  # [B, T, SIZE]
            logits = logits + own
            logits[:, 1:] += 0.3 * own[:, :-1]
        return logits


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_endpoints_of_the_schedules(schedule):
    totals = torch.tensor([0, 1, 7, 100])
    assert masked.num_masked(schedule, 1.0, totals).tolist() == [0, 1, 7, 100]
    assert masked.num_masked(schedule, 1e-9, totals).tolist() == [0, 1, 1, 1]
    assert masked.num_masked(schedule, 0.0, totals).tolist() == [0, 1, 1, 1]
    counts = [int(masked.num_masked(schedule, step / 25, torch.tensor([100]))[0]) for step in range(26)]
    assert counts == sorted(counts)


def test_sine_masks_most_codes_first_and_cosine_is_its_other_name():
    totals = torch.tensor([1000])
    for t in (0.1, 0.5, 0.9):
        assert int(masked.num_masked("sine", t, totals)) == math.floor(1000 * math.sin(math.pi * t / 2))
        assert masked.CURVES["sine"](t) == pytest.approx(masked.CURVES["cosine"](t))
    assert sum(masked.CURVES["sine"]((n + 0.5) / 1000) for n in range(1000)) / 1000 == pytest.approx(2 / math.pi)


def test_two_steps_by_hand():
    """Four frames; after the first of two steps floor(4 sin(pi/4)) = 2 are masked again: the two least sure ones."""
    confidence = [3.0, 0.5, 2.0, 1.0]
    seen = []

    def step(codes, level):
        seen.append(codes[0, 0].tolist())
        first = all(code == SIZE for code in seen[-1])
        logits = torch.zeros(1, 4, SIZE)
        for frame, sure in enumerate(confidence):
            logits[0, frame, frame if first else 5] = sure
        return logits

    found = masked.decode(step, torch.full((1, 1, 4), SIZE), torch.tensor([4]), SIZE, SURE)
    assert seen == [[6, 6, 6, 6], [0, 6, 2, 6]]
    assert found.tolist() == [[[0, 5, 2, 5]]]


def slow_twin(toy, codes, options, key):
    """One row, lists and loops: codes [K][T] with SIZE where a code is wanted."""
    code_noise = GumbelNoise(options.seed, [key])
    rank_noise = GumbelNoise(options.seed, [f"{key}\nconfidence"])
    codes, done = [list(row) for row in codes], 0
    for level, row in enumerate(codes):
        wanted = [frame for frame, code in enumerate(row) if code == SIZE]
        steps = options.steps[min(level, len(options.steps) - 1)]
        hidden, confidence = set(wanted), {}
        for step in range(steps):
            time = 1 - step / steps
            logits = toy(torch.tensor([codes]).long(), level)[0]
            heat = options.single_temperature if steps == 1 else options.temperature * time
            heat = 0.0 if steps > 1 and step == steps - 1 else heat
            for frame in sorted(hidden):
                place = done * masked.LONGEST + frame
                order = sorted(range(SIZE), key=lambda code, at=logits[frame]: -float(at[code]))
                order = order[: math.ceil(options.top_share * SIZE)]
                noise = code_noise.at(place, SIZE)[0]
                heated = [float(logits[frame, c]) / heat + float(noise[c]) for c in order] if heat else [0.0]
                best = order[heated.index(max(heated))]
                chances = logits[frame, order].softmax(-1)
                confidence[frame] = float(chances[order.index(best)])
                confidence[frame] += options.confidence_noise * time * float(rank_noise.at(place, 1)[0, 0])
                row[frame] = best
            if step < steps - 1:
                left = 1 - (step + 1) / steps
                amount = min(max(1, math.floor(math.sin(math.pi * left / 2) * len(wanted))), len(wanted))
                hidden = set(sorted(hidden, key=lambda frame: confidence[frame])[:amount])
                for frame in hidden:
                    row[frame] = SIZE
            done += 1
    return codes


@pytest.mark.parametrize(
    "options",
    [MaskedOptions(steps=(5, 2, 1), top_share=0.5, seed=3), MaskedOptions(steps=(4,), top_share=1.0), SURE],
    ids=["as MaskGCT", "all codes", "without noise"],
)
def test_a_ragged_batch_equals_the_slow_twin_row_by_row(options):
    toy, lengths = Toy(3), [9, 1, 6, 0]
    codes = torch.full((4, 3, 9), SIZE)
    codes[0, :, :3] = torch.tensor([[1, 2, 3], [0, 0, 5], [4, 4, 4]])  # a prompt
    codes[2, 0, :6] = torch.tensor([5, 4, 3, 2, 1, 0])  # a level from elsewhere
    given, keys = codes.clone(), ["a", "b", "c", "d"]
    found = masked.decode(toy, codes, torch.tensor(lengths), SIZE, options, keys)
    assert torch.equal(codes, given)
    for row, length in enumerate(lengths):
        expected = slow_twin(Toy(3), codes[row, :, :length].tolist(), options, keys[row])
        assert found[row, :, :length].tolist() == expected
        assert bool((found[row, :, length:] == SIZE).all())
        alone = masked.decode(Toy(3), codes[row : row + 1, :, :length], lengths_of(length), SIZE, options, [keys[row]])
        assert torch.equal(alone[0], found[row, :, :length])


def lengths_of(length):
    return torch.tensor([length])


def test_what_is_known_is_never_masked_and_levels_above_are_hidden():
    toy, codes = Toy(3), torch.full((1, 3, 8), SIZE)
    codes[:, :, 2:5] = torch.arange(9).reshape(3, 3) % SIZE
    found = masked.decode(toy, codes, torch.tensor([8]), SIZE, MaskedOptions(steps=(6, 3, 2)))
    assert [level for _, level in toy.seen] == [0] * 6 + [1] * 3 + [2] * 2
    for seen, level in toy.seen:
        assert torch.equal(seen[:, :, 2:5], codes[:, :, 2:5])
        assert bool((seen[:, :level] < SIZE).all())
        assert torch.equal(seen[:, level + 1 :], codes[:, level + 1 :])
        assert int((seen[:, level] == SIZE).sum()) >= 1
    assert torch.equal(found[:, :, 2:5], codes[:, :, 2:5]) and bool((found < SIZE).all())


def test_seeds_and_keys_decide():
    codes, lengths = torch.full((2, 2, 12), SIZE), torch.tensor([12, 12])
    hot = MaskedOptions(steps=(4, 2), temperature=20.0, top_share=1.0)
    same = masked.decode(Toy(2), codes, lengths, SIZE, hot, ["a", "a"])
    other = masked.decode(Toy(2), codes, lengths, SIZE, hot, ["a", "b"])
    assert torch.equal(same[0], same[1]) and torch.equal(same[0], other[0]) and not torch.equal(other[0], other[1])


def test_nan_logits_are_an_error_only_where_a_code_is_wanted():
    def broken(frame):
        def step(codes, level):
            logits = torch.zeros(1, 4, SIZE)
            logits[0, frame, 0] = float("nan")
            return logits

        return step

    codes = torch.full((1, 1, 4), SIZE)
    masked.decode(broken(3), codes, torch.tensor([3]), SIZE, SURE)
    with pytest.raises(DecodeError, match="NaN"):
        masked.decode(broken(2), codes, torch.tensor([3]), SIZE, SURE)


def test_filling_a_level_never_asks_the_device():
    options, device = MaskedOptions(steps=(3,), top_share=0.5), torch.device("meta")
    logits = torch.zeros(2, 5, SIZE, device=device)
    filler = masked._Filler(lambda codes, level: logits, SIZE, options, ["a", "b"], device)
    codes = torch.full((2, 1, 5), SIZE, device=device)
    with NeverWaits():
        filler.fill(codes, 0, torch.ones(2, 5, dtype=torch.bool, device=device))
    assert filler.bad.device == device and filler.num_steps == 3
