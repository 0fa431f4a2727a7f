"""Classifier-free guidance: weight 0 is the conditional network; rows and their shadows stay together."""

import pytest
import torch
from toys import ChainStep, random_chain

from codecsep.decode import masked
from codecsep.decode.autoregressive import decode
from codecsep.decode.engine_options import EngineOptions
from codecsep.decode.guidance import Guided, GuidedMaker, combine
from codecsep.decode.options import DecodeOptions, GuidanceOptions, MaskedOptions
from codecsep.decode.queue import Request, decode_queue
from codecsep.tokens.vocab import Vocab

VOCAB = Vocab(6)
NEVER = float("-inf")


def test_small_numbers():
    with_condition, without = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 3.0]])
    assert combine(with_condition, without, GuidanceOptions(2.5)).tolist() == [[3.5, -0.5]]
    assert combine(with_condition, without, GuidanceOptions(0.0)) is with_condition
    assert combine(with_condition, with_condition, GuidanceOptions(7.0)).tolist() == with_condition.tolist()


def test_full_rescaling_gives_the_spread_of_the_conditional_logits_to_each_row():
    with_condition, without = torch.randn(2, 5, 4, 9, generator=torch.Generator().manual_seed(0))
    plain = combine(with_condition, without, GuidanceOptions(2.5))
    full = combine(with_condition, without, GuidanceOptions(2.5, rescale=1.0))
    half = combine(with_condition, without, GuidanceOptions(2.5, rescale=0.5))
    assert torch.allclose(full.std(-1), with_condition.std(-1)) and not torch.allclose(plain.std(-1), full.std(-1))
    assert torch.allclose(half, 0.5 * (full + plain), atol=1e-6)
    assert torch.equal(full[3:4], combine(with_condition[3:4], without[3:4], GuidanceOptions(2.5, rescale=1.0)))


@pytest.mark.parametrize("rescale", [0.0, 0.75])
def test_a_forbidden_token_stays_forbidden_and_nothing_becomes_nan(rescale):
    with_condition, without = torch.tensor([[1.0, NEVER, NEVER, 2.0]]), torch.tensor([[0.0, NEVER, 1.0, 0.5]])
    guided = combine(with_condition, without, GuidanceOptions(2.0, rescale))[0].tolist()
    assert guided[1] == guided[2] == NEVER and guided[3] > guided[0] > NEVER
    small = combine(with_condition[:, [0, 3]], without[:, [0, 3]], GuidanceOptions(2.0, rescale))[0].tolist()
    assert [guided[0], guided[3]] == pytest.approx(small)


@pytest.mark.parametrize("strategy, weight", [("greedy", 0.0), ("greedy", 1.5), ("sample", 1.5), ("beam", 1.5)])
def test_decoding_with_guidance_equals_decoding_of_the_guided_chain(strategy, weight):
    """A chain of the combined logits is what the pair of chains amounts to; rows leave early and are reordered."""
    pair, bounds = random_chain(10, VOCAB, seed=4), torch.tensor([5, 20, 12, 1, 9])
    extra = {"beam_size": 3} if strategy == "beam" else {}
    options, guidance = DecodeOptions(strategy=strategy, **extra), GuidanceOptions(weight, 0.5)
    step = Guided(ChainStep(pair), 5, guidance)
    found, _ = decode(step, 5, VOCAB, options, bounds)
    expected, _ = decode(ChainStep(combine(pair[:5], pair[5:], guidance)), 5, VOCAB, options, bounds)
    assert [row.tolist() for row in found] == [row.tolist() for row in expected]
    plain, _ = decode(ChainStep(pair[:5]), 5, VOCAB, options, bounds)
    assert ([row.tolist() for row in plain] == [row.tolist() for row in found]) == (weight == 0.0)


def test_a_kept_row_takes_its_shadow_along():
    seen = []

    class Noting:
        def keep(self, rows):
            seen.append(rows.tolist())

    step = Guided(Noting(), 4, GuidanceOptions(1.0))
    step.keep(torch.tensor([3, 1]))
    step.keep(torch.tensor([0, 0, 1]))
    assert seen == [[3, 1, 7, 5], [0, 0, 1, 2, 2, 3]]


class ChainSlots(ChainStep):
    def plan(self):
        return 0

    def admit(self, places, given):
        self.matrices[torch.tensor(places)] = torch.stack(list(given))

    def release(self, places):
        self.matrices[torch.tensor(places)] = 0.0


class ChainMaker:
    device = torch.device("cpu")

    def lockstep(self, given):
        return ChainSlots(torch.stack(list(given)))

    slots = lockstep


@pytest.mark.parametrize("policy", ["refilled", "compacted"])
@pytest.mark.parametrize("strategy", ["sample", "beam"])
def test_a_guided_queue_equals_a_queue_of_guided_chains(policy, strategy):
    pair, guidance, bounds = random_chain(14, VOCAB, seed=6), GuidanceOptions(1.0, 0.3), [5, 20, 12, 1, 9, 7, 3]
    options, engine = DecodeOptions(strategy=strategy), EngineOptions(slots=3, policy=policy)
    merged = combine(pair[:7], pair[7:], guidance)
    pairs = [Request(str(row), bounds[row], (pair[row], pair[row + 7])) for row in range(7)]
    single = [Request(str(row), bounds[row], merged[row]) for row in range(7)]
    found, _ = decode_queue(GuidedMaker(ChainMaker(), guidance), pairs, VOCAB, options, engine)
    expected, _ = decode_queue(ChainMaker(), single, VOCAB, options, engine)
    assert [row.tolist() for row in found] == [row.tolist() for row in expected]


def test_masked_decoding_with_guidance():
    tables = torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(1))  # 2 rows and shadows, K, T, codes
    guidance, options = GuidanceOptions(2.0), MaskedOptions(steps=(3, 1), top_share=1.0)
    wanted, lengths = torch.full((2, 3, 6), 5), torch.tensor([6, 4])
    step = Guided(lambda codes, level: tables[:, level], 2, guidance)
    found = masked.decode(step, wanted, lengths, 5, options)
    merged = combine(tables[:2], tables[2:], guidance)
    assert torch.equal(found, masked.decode(lambda codes, level: merged[:, level], wanted, lengths, 5, options))
