"""The sampler against Hugging Face's processors and a slow twin; and the whole chain on a device that cannot answer."""

import pytest
import torch
from toys import NeverWaits

from codecsep.decode.chooser import Chooser
from codecsep.decode.history import History
from codecsep.decode.noise import GumbelNoise
from codecsep.decode.options import DecodeOptions
from codecsep.decode.sampler import NEVER, Sampling, candidates, draw
from codecsep.tokens.vocab import Vocab

VOCAB = Vocab(40)


def kept(sampling, logits):
    values, ids = candidates(torch.tensor([logits]), sampling)
    places = (values[0] > NEVER).nonzero().flatten()
    return sorted((places if ids is None else ids[0, places]).tolist())


@pytest.mark.parametrize(
    "k, expected", [(1, [2]), (2, [2, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3]), (0, [0, 1, 2, 3])]
)
def test_top_k(k, expected):
    assert kept(Sampling(top_k=k), [1.0, 1.0, 3.0, 2.0]) == expected


def test_top_k_fills_its_room_with_one_of_those_that_tie():
    assert kept(Sampling(top_k=3), [1.0, 1.0, 3.0, 2.0]) in ([0, 2, 3], [1, 2, 3])


@pytest.mark.parametrize(
    "p, expected", [(1e-9, [1]), (0.49, [1]), (0.51, [1, 3]), (0.79, [1, 3]), (0.95, [1, 2, 3]), (1.0, [0, 1, 2, 3])]
)
def test_top_p_keeps_the_fewest_that_reach_p(p, expected):
    assert kept(Sampling(top_p=p), torch.tensor([0.04, 0.5, 0.16, 0.3]).log().tolist()) == expected


def test_top_p_keeps_all_that_tie_with_the_last_and_nothing_forbidden():
    assert kept(Sampling(top_p=1e-9), [2.0, 2.0, 0.0]) == [0, 1]
    assert kept(Sampling(top_p=0.5), [1.0, 1.0, 1.0, 1.0]) == [0, 1, 2, 3]
    assert kept(Sampling(top_p=0.999), [NEVER, 0.0, NEVER]) == [1]


@pytest.mark.parametrize("sampling", [Sampling(0.7, 10, 0.8), Sampling(1.3, 0, 0.6), Sampling(0.5, 7, 1.0)])
def test_the_tokens_that_stay_are_those_of_the_processors_of_hugging_face(sampling):
    process = pytest.importorskip("transformers.generation.logits_process")
    logits = torch.randn(200, 50, generator=torch.Generator().manual_seed(0)) * 3
    expected = process.TemperatureLogitsWarper(sampling.temperature)(None, logits)
    if sampling.top_k:
        expected = process.TopKLogitsWarper(sampling.top_k)(None, expected)
    if sampling.top_p < 1.0:
        expected = process.TopPLogitsWarper(sampling.top_p)(None, expected)
    values, ids = candidates(logits, sampling)
    got = values if ids is None else torch.full_like(logits, NEVER).scatter(1, ids, values)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.7, 10, 0.8), Sampling(1.3, 0, 0.6), Sampling(0.5, 7, 1.0)])
def test_draw_equals_its_slow_twin(sampling):
    logits = torch.randn(30, 50, generator=torch.Generator().manual_seed(1)) * 3
    noise = GumbelNoise(1, [str(row) for row in range(30)])
    got = draw(logits, sampling, lambda ids: noise.at(3, 50, ids))
    whole = noise.at(3, 50)
    for row in range(30):
        order = sorted(range(50), key=lambda token: -float(logits[row, token]))[: sampling.top_k or 50]
        chances = (logits[row, order] / sampling.temperature).softmax(-1).tolist()
        stay = [token for place, token in enumerate(order) if place == 0 or sum(chances[:place]) < sampling.top_p]
        best = max(stay, key=lambda token: float(logits[row, token]) / sampling.temperature + float(whole[row, token]))
        assert int(got[row]) == best


@pytest.mark.parametrize("sampling", [Sampling(0.7, 50, 0.9), Sampling(0.7, 0, 0.9), Sampling(0.8, 0, 0.3)])
def test_a_row_alone_and_among_others_is_the_same_to_the_last_bit(sampling):
    """At the size of a real vocabulary, where kernels work in blocks."""
    logits = torch.randn(9, 1027, generator=torch.Generator().manual_seed(2)) * 3
    values, ids = candidates(logits, sampling)
    noise = GumbelNoise(1, [str(row) for row in range(9)]).at(torch.arange(9), 1027)
    for row in range(9):
        alone, own_ids = candidates(logits[row : row + 1].clone(), sampling)
        assert torch.equal(alone[0], values[row]) and (ids is None or torch.equal(own_ids[0], ids[row]))
        assert torch.equal(GumbelNoise(1, [str(row)]).at(row, 1027)[0], noise[row])


def test_axes_in_front_are_kept():
    logits = torch.randn(4, 3, 11)
    for sampling in (Sampling(), Sampling(top_k=2), Sampling(top_p=0.5)):
        got = draw(logits, sampling, lambda ids: torch.zeros(() if ids is None else ids.shape))
        assert torch.equal(got, logits.argmax(-1))
    values, _ = candidates(logits.bfloat16(), Sampling(top_p=0.5))
    assert values.shape == logits.shape and bool((values.amax(-1) > NEVER).all())


@pytest.mark.parametrize("strategy, top_k", [("greedy", 0), ("sample", 5), ("sample", 0)])
def test_the_chain_never_asks_the_device(strategy, top_k):
    """On the meta device there are no numbers: .item(), nonzero and `if tensor` raise; copies do under NeverWaits."""
    narrow = {"temperature": 0.8, "top_k": top_k, "top_p": 0.9} if strategy == "sample" else {}
    options = DecodeOptions(strategy=strategy, **narrow)
    history = History(VOCAB, torch.full((3,), 9, device="meta"), 40, options.loop_period)
    chooser = Chooser(options, VOCAB, ["a", "b", "c"], "meta")
    history.push(torch.full((3,), VOCAB.sos, device="meta"))
    with NeverWaits():
        for _ in range(3):
            choice = chooser(torch.zeros(3, VOCAB.size, device="meta"), history)
            history.push(choice.tokens)
        slots = torch.zeros(1, dtype=torch.int64, device="meta")
        history.admit(slots, slots)
    chooser.admit(slots, ["d"])
    history.keep(torch.zeros(2, dtype=torch.int64, device="meta"))
    assert choice.tokens.shape == choice.bad.shape == (3,) and choice.fired.shape == (4, 3)
    with pytest.raises(RuntimeError):
        choice.bad.any().item()
    with pytest.raises(RuntimeError, match="where"), NeverWaits():
        torch.where(choice.bad, torch.tensor(1), choice.tokens)
