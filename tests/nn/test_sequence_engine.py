"""The fast step against the plain one: the same logits, whatever the cache, the places and the neighbours."""

import types

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from codecsep.nn import linears
from codecsep.nn.codebooks import make_tables
from codecsep.nn.fast_attention import KINDS, arranged
from codecsep.nn.fast_decoder import FastConfig, FastDecoder
from codecsep.nn.int8 import Int8Error, Int8Linear, WeightOnlyLinear
from codecsep.nn.row_caches import CacheShape, LockstepCache, moved
from codecsep.nn.sequence_engine import SequenceEngine
from codecsep.nn.sequence_positions import PositionConfig, make_positions
from codecsep.nn.sequence_step import SequenceStep
from codecsep.nn.transformer import Decoder, TransformerConfig
from codecsep.tokens.vocab import Vocab

WIDTH, VOCAB = 24, Vocab(20)
LENGTHS = (7, 3, 11, 5)


class Part(nn.Module):
    """The least that a sequence network is made of."""

    def __init__(self, positions="aligned", code_width=6):
        super().__init__()
        self.vocab = VOCAB
        self.tables = make_tables(1, VOCAB.size, WIDTH, code_width)
        self.positions = make_positions(PositionConfig(positions, WIDTH, max_positions=40, memory_ratio=0.5))
        self.decoder = Decoder(TransformerConfig(num_layers=2, width=WIDTH, num_heads=3, ffn_width=32))

    def embed(self, level, ids):
        return self.tables.embed(level, ids)

    def head(self, hidden, level):
        return F.linear(hidden, *self.tables.output(level))

    def open_turn(self, times, ids):
        return times.masked_fill(ids == self.vocab.sc, 0)


def make_part(**sizes):
    torch.manual_seed(0)
    part = Part(**sizes).eval()
    for parameter in part.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return part


def memories_of(lengths=LENGTHS):
    torch.manual_seed(1)
    return [torch.randn(length, WIDTH) for length in lengths]


def plain_step(part, given):
    padded = nn.utils.rnn.pad_sequence(given, batch_first=True)
    valid = torch.arange(padded.shape[1])[None] < torch.tensor([len(memory) for memory in given])[:, None]
    return SequenceStep(part, padded, valid)


def sequences(rows, steps, seed=2):
    """<sos>, then codes with a speaker change here and there, [rows, steps]."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 20, (rows, steps), generator=draw)
    tokens[torch.rand(rows, steps, generator=draw) < 0.15] = VOCAB.sc
    tokens[:, 0] = VOCAB.sos
    return tokens


@torch.no_grad()
def logits_of(step, tokens):
    logits = []
    for column in tokens.T:
        if hasattr(step, "plan"):
            step.plan()
        logits.append(step(column).float())
    return torch.stack(logits, 1)


@pytest.mark.parametrize("positions", ["absolute", "time", "aligned"])
@pytest.mark.parametrize("kind", ["lockstep", "slots"])
def test_the_engine_computes_what_the_network_does(positions, kind, monkeypatch):
    monkeypatch.setattr("codecsep.nn.sequence_engine.ROOM", 4)  # caches grow on the way
    code_width = 0 if positions == "time" else 6
    part, given, tokens = make_part(positions=positions, code_width=code_width), memories_of(), sequences(4, 20)
    engine = SequenceEngine(part, FastConfig(), window=4)
    wanted = logits_of(plain_step(part, given), tokens)
    torch.testing.assert_close(logits_of(getattr(engine, kind)(given), tokens), wanted, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["lockstep", "slots"])
def test_rows_that_leave_double_and_move_carry_their_state(kind):
    part, given, tokens = make_part(), memories_of(), sequences(4, 12)
    plain, fast = plain_step(part, given), getattr(SequenceEngine(part, FastConfig(), 8), kind)(given)
    for rows in ([0, 1, 2, 3], [2, 1, 3], [0, 0, 2, 1, 1], [4, 3, 2, 1, 0, 0, 1], [3]):
        rows = torch.tensor(rows)
        plain.keep(rows)
        fast.keep(rows)
        tokens = tokens[rows]
        wanted, got = logits_of(plain, tokens[:, :3]), logits_of(fast, tokens[:, :3])
        torch.testing.assert_close(got, wanted, atol=2e-5, rtol=1e-4)


def test_a_row_in_a_place_that_was_used_before_is_as_if_alone(monkeypatch):
    monkeypatch.setattr("codecsep.nn.sequence_engine.ROOM", 4)
    part, given, tokens = make_part(), memories_of(), sequences(4, 30)
    step = SequenceEngine(part, FastConfig(), window=4).slots(given)
    logits_of(step, tokens[:, :9])
    fresh, more = memories_of((4, 13)), sequences(2, 30, seed=8)  # shorter, and longer than any before
    step.admit([2, 0], fresh)
    step.release([3])
    mixed = torch.stack([more[1], tokens[1].roll(-9), more[0], tokens[3]])[:, :20]
    got = logits_of(step, mixed)
    wanted = logits_of(plain_step(part, fresh), more[:, :20])
    torch.testing.assert_close(got[[2, 0]], wanted, atol=2e-5, rtol=1e-4)
    stayed = logits_of(plain_step(part, given[1:2]), tokens[1:2, :29])[:, 9:]
    torch.testing.assert_close(got[1:2], stayed, atol=2e-5, rtol=1e-4)


def test_plans_change_when_the_window_or_the_tensors_do():
    step = SequenceEngine(make_part(), FastConfig(), window=4).slots(memories_of())
    step.past.room = 4
    step.past.layers = [layer[:, :, :, :4] for layer in step.past.layers]
    plans = []
    for _ in range(9):
        plans.append(step.plan())
        step(torch.tensor([VOCAB.sos] * 4))
    assert plans == [(0, 4)] * 4 + [(1, 8)] * 4 + [(1, 12)]
    step.admit([0], memories_of((12,)))
    assert step.plan() == (2, 12)
    step.release([1, 2, 3])
    assert step.plan() == (2, 4)


@pytest.mark.parametrize(
    "config, error",
    [(("fp32", "bf16"), 0.05), (("bf16", "bf16"), 0.2), (("int8", "fp32"), 0.1), (("int8", "bf16"), 0.1)],
)
def test_lower_precisions_are_near(config, error):
    part, given, tokens = make_part(), memories_of(), sequences(4, 20)
    wanted = logits_of(plain_step(part, given), tokens)
    got = logits_of(SequenceEngine(part, FastConfig(*config)).lockstep(given), tokens)
    assert 0 < (got - wanted).norm() / wanted.norm() < error


def test_int8_rows_do_not_depend_on_the_rows_beside_them():
    torch.manual_seed(0)
    layer, rows = Int8Linear(torch.randn(40, 24), torch.randn(40)), torch.randn(5, 24)
    rows[3] *= 1000
    rows[4] = 0
    together = layer(rows)
    assert all(torch.equal(layer(rows[i : i + 1])[0], together[i]) for i in range(5))
    assert torch.equal(together[4], layer.bias)


def test_int8_products_are_those_of_the_rounded_numbers():
    torch.manual_seed(0)
    weight, bias, row = torch.randn(6, 8).double(), torch.randn(6).double(), torch.randn(8).double()
    scales, scale = weight.abs().amax(1) / 127, row.abs().max() / 127
    whole = (weight / scales[:, None]).round() @ (row / scale).round()
    got = Int8Linear(weight.float(), bias.float())(row.float()[None])[0]
    torch.testing.assert_close(got.double(), whole * scales * scale + bias, atol=1e-4, rtol=1e-4)


def test_weight_only_int8_is_near_the_product():
    torch.manual_seed(0)
    weight, bias, rows = torch.randn(32, 64), torch.randn(32), torch.randn(3, 64).bfloat16()
    got, wanted = WeightOnlyLinear(weight, bias)(rows).float(), F.linear(rows.float(), weight, bias)
    assert (got - wanted).norm() / wanted.norm() < 0.02


def test_without_int8_kernels_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.ops, "quantized", types.SimpleNamespace())
    with pytest.raises(Int8Error, match=r"E537 --precision int8: .*no int8 products.*give --precision bf16 or fp32"):
        linears.make_linear(torch.randn(8, 8), None, "int8")


def test_without_prepacked_weights_the_plain_product_is_taken(monkeypatch):
    torch.manual_seed(0)
    weight, bias, rows = torch.randn(16, 24), torch.randn(16), torch.randn(3, 24)
    fast = linears.make_linear(weight, bias, "fp32")(rows)
    monkeypatch.setattr(torch.ops, "mkldnn", types.SimpleNamespace())
    plain = linears.make_linear(weight, bias, "fp32")
    assert isinstance(plain, linears.PlainLinear)
    assert torch.equal(plain(rows), F.linear(rows, weight, bias))
    torch.testing.assert_close(fast, plain(rows), atol=1e-5, rtol=1e-5)


def test_all_attentions_are_the_formula():
    torch.manual_seed(0)
    queries, keys, values = torch.randn(6, 1, 4), torch.randn(6, 5, 4), torch.randn(6, 5, 4)
    mask = torch.zeros(6, 1, 5)
    mask[1, ..., 3:] = float("-inf")
    weights = ((queries * keys).sum(-1) + mask[:, 0]).softmax(-1)
    wanted = (weights[..., None] * values).sum(1)
    for attend in KINDS.values():
        for kind in ("matvec", "matmul"):
            torch.testing.assert_close(attend(queries, keys, arranged(values, kind), mask).reshape(6, 4), wanted)


def test_only_rows_that_move_are_copied():
    buffer = torch.arange(12.0).view(4, 3)
    pointer, kept = buffer.data_ptr(), moved(buffer, torch.tensor([0, 3, 2]))
    assert kept.data_ptr() == pointer and kept[:, 0].tolist() == [0, 9, 6]
    assert moved(kept, torch.tensor([1, 1, 0, 2, 2]))[:, 0].tolist() == [9, 9, 0, 6, 6]


def test_a_lockstep_cache_grows_and_keeps_what_it_holds():
    cache = LockstepCache(CacheShape(1, 1, 1, torch.float32, torch.device("cpu")), 2, 1)
    for value in range(7):
        cache.advance()
        keys, values = cache.write(0, torch.tensor([[0.0, value, -value]] * 2))
    assert keys.shape == (2, 7, 1) and keys[1, :, 0].tolist() == list(range(7)) and torch.equal(values, -keys)


def test_a_bucketed_lockstep_cache_hides_what_is_not_there_yet():
    part, given, tokens = make_part(), memories_of(), sequences(4, 9)
    plain, fast = (SequenceEngine(part, FastConfig()).lockstep(given) for _ in range(2))
    fast.past = LockstepCache(fast.engine.decoder.shape, 4, 2, bucket=4)
    for rows in ([0, 1, 2, 3], [3, 1]):
        rows = torch.tensor(rows)
        plain.keep(rows)
        fast.keep(rows)
        tokens = tokens[rows]
        torch.testing.assert_close(logits_of(fast, tokens), logits_of(plain, tokens), atol=2e-5, rtol=1e-4)
    assert (fast.past.length, fast.past.window, fast.past.room) == (18, 20, 20)


def test_the_network_is_not_changed():
    part = make_part()
    before = {name: value.clone() for name, value in part.state_dict().items()}
    FastDecoder(part.decoder, FastConfig("int8"))
    assert all(torch.equal(value, before[name]) for name, value in part.state_dict().items())
