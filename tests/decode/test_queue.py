"""The queue: whatever the policy, the slots, the order and the neighbours, a mixture gets the tokens it gets alone."""

import pytest
import torch
from toys import ChainStep, random_chain

from codecsep.decode.autoregressive import decode
from codecsep.decode.engine_options import EngineOptions
from codecsep.decode.graphs import GraphRunner, PlainRunner
from codecsep.decode.options import DecodeOptions, OptionError
from codecsep.decode.queue import Request, decode_queue
from codecsep.decode.rows import without
from codecsep.decode.step import DecodeError
from codecsep.tokens.vocab import Vocab

VOCAB = Vocab(6)
CPU = torch.device("cpu")
BOUNDS = [5, 15, 9, 1, 12, 7, 13, 3, 9]
OPTIONS = {
    "greedy": DecodeOptions(),
    "sample": DecodeOptions(strategy="sample", temperature=1.2, top_k=7, top_p=0.95, seed=3),
    "late": DecodeOptions(num_speakers=2, leave_every=5),
    "beam": DecodeOptions(strategy="beam", beam_size=2),
}


class ChainSlots(ChainStep):
    """A Markov chain per row, whose rows may be replaced. Notes how many rows it was given at each step."""

    def __init__(self, matrices):
        super().__init__(matrices)
        self.plans, self.released = 0, []

    def plan(self):
        self.plans += 1
        return self.plans // 10

    def admit(self, places, given):
        self.matrices[torch.tensor(places)] = torch.stack(list(given))

    def release(self, places):
        self.released += places


class ChainMaker:
    """Requests are given their matrices."""

    device = CPU

    def __init__(self):
        self.made = []

    def lockstep(self, given):
        return ChainSlots(torch.stack(list(given)))

    def slots(self, given):
        self.made.append(ChainSlots(torch.stack(list(given))))
        return self.made[-1]


def requests_of(chain, bounds=BOUNDS):
    return [Request(f"utt{row}", bound, chain[row]) for row, bound in enumerate(bounds)]


def run(requests, options, maker=None, **engine):
    tokens, stats = decode_queue(maker or ChainMaker(), requests, VOCAB, options, EngineOptions(**engine))
    return [row.tolist() for row in tokens], stats


def alone(requests, options):
    """The obvious twin: each by itself through the plain loop."""
    tokens, stats = [], []
    for request in requests:
        found = decode(
            ChainStep(request.given[None]), 1, VOCAB, options, torch.tensor([request.max_frames]), [request.key]
        )
        tokens.append(found[0][0].tolist())
        stats.append(found[1][0])
    return tokens, stats


CASES = [(name, policy) for name in OPTIONS for policy in ("compacted", "refilled")]


@pytest.mark.parametrize("name, policy", [case for case in CASES if case != ("beam", "refilled")])  # beam has one way
def test_every_mixture_gets_what_it_gets_alone(name, policy):
    requests, options = requests_of(random_chain(9, VOCAB, seed=1)), OPTIONS[name]
    wanted = alone(requests, options)
    assert len({len(row) for row in wanted[0]}) > 3
    for slots in (1, 2, 4, 20):
        for look_every in (1, 7) if name != "beam" else (1,):  # beam search looks by leave_every
            assert run(requests, options, slots=slots, policy=policy, look_every=look_every) == wanted
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = run([requests[place] for place in order], options, slots=3, policy=policy)
    assert shuffled == tuple([part[place] for place in order] for part in wanted)


def test_freed_slots_are_filled_at_once_the_longest_first():
    table = torch.zeros(5, VOCAB.size, VOCAB.size)
    table[..., VOCAB.eos] = -9.0  # goes on to its bound
    options = DecodeOptions(num_speakers=1, length_rule="exact", loop_period=0)
    maker = ChainMaker()
    tokens, _ = run(requests_of(table, [3, 9, 4, 8, 2]), options, maker, slots=2, policy="refilled")
    assert [len(row) for row in tokens] == [5, 11, 6, 10, 4]
    # two slots: 9 and 8; 4 after the 8 (step 9), 3 after the 9 (step 10), 2 after the 4 (step 14): the 2 ends at 17
    assert maker.made[0].plans == 17


def test_a_cut_row_ends_like_in_the_plain_loop():
    chain = random_chain(4, VOCAB, seed=5)
    chain[..., VOCAB.eos] = -50.0
    requests = requests_of(chain, [40, 40, 2, 1])
    for policy in ("compacted", "refilled"):
        engine = EngineOptions(slots=2, policy=policy, look_every=4)
        tokens, stats = decode_queue(ChainMaker(), requests, VOCAB, DecodeOptions(), engine, max_steps=6)
        assert [len(row) for row in tokens[:2]] == [6, 6] and [row.missing_eos for row in stats[:2]] == [True, True]


def test_places_are_given_up_when_half_are_free_and_the_queue_is_empty():
    maker, sizes = ChainMaker(), []
    requests = requests_of(random_chain(9, VOCAB, seed=2))
    plain = ChainSlots.__call__

    def noted(self, tokens):
        sizes.append(len(tokens))
        return plain(self, tokens)

    ChainSlots.__call__ = noted
    try:
        run(requests, OPTIONS["late"], maker, slots=4, policy="refilled", look_every=1)
    finally:
        ChainSlots.__call__ = plain
    assert set(sizes) == {4, 2, 1} and sizes == sorted(sizes, reverse=True)


class FakeGraph:
    def __init__(self, work, log):
        self.work, self.log = work, log

    def replay(self):
        self.log.append("replay")
        self.work()


def test_captured_steps_give_the_same_tokens(monkeypatch):
    """The path of a GPU with a graph that is a call; a capture must not run the step."""
    log = []

    def capture(work):
        log.append("capture")
        return FakeGraph(work, log)

    requests = requests_of(random_chain(9, VOCAB, seed=1))
    wanted = run(requests, OPTIONS["sample"], slots=3, policy="refilled", look_every=3)
    monkeypatch.setattr("codecsep.decode.queue.make_runner", lambda device: GraphRunner(capture))
    assert run(requests, OPTIONS["sample"], slots=3, policy="refilled", look_every=3) == wanted
    assert log.count("capture") >= 2 and log.count("replay") > 5 * log.count("capture")


def test_a_runner_runs_captures_replays_and_forgets():
    log = []
    runner = GraphRunner(lambda work: (log.append("capture"), FakeGraph(work, log))[1])
    for _ in range(3):
        runner("a", lambda: log.append("work"))
    assert log == ["work", "capture", "replay", "work", "replay", "work"]
    runner.forget()
    runner("a", lambda: log.append("again"))
    assert log[-1] == "again" and log.count("capture") == 1
    PlainRunner()("a", lambda: log.append("plain"))
    assert log[-1] == "plain"


def test_nan_is_an_error_and_no_request_is_no_work():
    chain = random_chain(3, VOCAB)
    chain[1] = float("nan")
    for policy in ("compacted", "refilled"):
        with pytest.raises(DecodeError, match="NaN logits in 1 of"):
            run(requests_of(chain, [4, 5, 6]), DecodeOptions(), slots=3, policy=policy)
    assert run([], DecodeOptions()) == ([], [])


def test_bad_requests_and_options():
    chain = random_chain(2, VOCAB)
    with pytest.raises(ValueError, match="bound of 0 frames"):
        run([Request("a", 0, chain[0])], DecodeOptions())
    for wrong in ({"slots": 0}, {"precision": "fp16"}, {"policy": "random"}, {"bucket": 0}, {"look_every": -1}):
        with pytest.raises(OptionError, match=f"E530 .*{next(iter(wrong))} is"):
            EngineOptions(**wrong)


def test_what_auto_means():
    assert EngineOptions().policy_of(False) == "compacted" and EngineOptions().policy_of(True) == "refilled"
    assert EngineOptions().looks(True, 1) == 16 and EngineOptions().looks(False, 3) == 3
    assert EngineOptions(look_every=2).looks(True, 1) == 2
    assert [EngineOptions(precision=p).cache_of() for p in ("fp32", "bf16", "int8")] == ["fp32", "bf16", "bf16"]
    assert EngineOptions(precision="int8", cache="fp32").cache_of() == "fp32"


@pytest.mark.parametrize("gone, stay", [([], [0, 1, 2, 3]), ([1], [0, 3, 2]), ([3], [0, 1, 2]), ([0, 3], [2, 1])])
def test_few_rows_move(gone, stay):
    assert without(4, gone) == stay
    assert without(4, [0, 1, 2, 3]) == []
