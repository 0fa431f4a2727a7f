"""Attention, caches and stacks: parameter counts, causality, cached steps against the full pass."""

import pytest
import torch

from codecsep.nn.attention import Attention, AttentionError
from codecsep.nn.kv_cache import KVCache
from codecsep.nn.positions import LearnedPositions, PositionError, sinusoids
from codecsep.nn.transformer import Decoder, DecoderBlock, Encoder, TransformerConfig, count_parameters

SMALL = TransformerConfig(num_layers=2, width=16, num_heads=4, ffn_width=32)


def memory_of(*lengths):
    torch.manual_seed(1)
    memory = torch.randn(len(lengths), max(lengths), 16)
    return memory, torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


def test_one_layer_of_whisper_medium_shape_has_its_parameters():
    with torch.device("meta"):
        assert count_parameters(DecoderBlock(TransformerConfig())) == 16_794_624


def test_sixteen_layers_have_the_papers_parameters():
    with torch.device("meta"):
        decoder = Decoder(TransformerConfig())
    assert sum(count_parameters(block) for block in decoder.blocks) == 268_713_984


def test_attention_reads_as_the_formula_says():
    torch.manual_seed(0)
    layer, queries, memory = Attention(8, 2), torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    mask = torch.tensor([True, True, False, True, True])
    q, k, v = layer.query(queries), layer.key(memory), layer.value(memory)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        scores = (q[0, :, part] @ k[0, :, part].T / 2.0).masked_fill(~mask, float("-inf"))
        heads.append(scores.softmax(-1) @ v[0, :, part])
    wanted = layer.out(torch.cat(heads, -1))
    torch.testing.assert_close(layer(queries, memory, mask[None, None, None])[0], wanted)


def test_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(AttentionError, match="width 10 is not a multiple of num_heads 4"):
        Attention(10, 4)


def test_causal_stack_does_not_read_the_future():
    torch.manual_seed(0)
    decoder = Decoder(SMALL).eval()
    memory, valid = memory_of(5)
    hidden = torch.randn(1, 6, 16, requires_grad=True)
    (decoder(hidden, None, memory, valid)[0, 3] * torch.randn(16)).sum().backward()
    reads = hidden.grad[0].abs().sum(-1) > 0
    assert reads.tolist() == [True] * 4 + [False] * 2


def test_stack_without_causal_mask_reads_everything_but_padding():
    torch.manual_seed(0)
    decoder = Decoder(SMALL).eval()
    memory, valid = memory_of(5)
    hidden = torch.randn(1, 6, 16, requires_grad=True)
    read = decoder(hidden, torch.tensor([[True] * 5 + [False]]), memory, valid)[0, 1]
    (read * torch.randn(16)).sum().backward()
    assert (hidden.grad[0].abs().sum(-1) > 0).tolist() == [True] * 5 + [False]


def test_cached_steps_equal_the_full_pass():
    torch.manual_seed(0)
    decoder = Decoder(SMALL).eval()
    memory, valid = memory_of(5, 3)
    hidden = torch.randn(2, 9, 16)
    full = decoder(hidden, None, memory, valid)
    state = decoder.start(memory, valid, capacity=2)
    steps = [decoder.step(hidden[:, i : i + 1], state) for i in range(9)]
    torch.testing.assert_close(torch.cat(steps, 1), full)


def test_rows_that_stay_are_not_touched_by_rows_that_leave():
    torch.manual_seed(0)
    decoder = Decoder(SMALL).eval()
    memory, valid = memory_of(5, 3, 4)
    hidden = torch.randn(3, 6, 16)
    full = decoder(hidden, None, memory, valid)
    state = decoder.start(memory, valid)
    for i in range(3):
        decoder.step(hidden[:, i : i + 1], state)
    rows = torch.tensor([2, 0])
    state.keep(rows)
    for i in range(3, 6):
        step = decoder.step(hidden[rows, i : i + 1], state)
        torch.testing.assert_close(step[:, 0], full[rows, i])


def test_cache_grows_beyond_its_capacity():
    cache, kept = KVCache(2), []
    for i in range(5):
        kept.append(torch.full((1, 1, 1, 1), float(i)))
        keys, _ = cache.append(kept[-1], kept[-1])
    assert keys.flatten().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_encoder_reports_every_state_and_ignores_padding():
    torch.manual_seed(0)
    encoder = Encoder(SMALL).eval()
    hidden = torch.randn(1, 4, 16)
    alone = encoder(hidden, torch.ones(1, 4, dtype=torch.bool))
    padded = torch.cat([hidden, torch.randn(1, 2, 16)], 1)
    together = encoder(padded, torch.tensor([[True] * 4 + [False] * 2]))
    assert len(alone) == 3
    for ours, theirs in zip(alone, together, strict=True):
        torch.testing.assert_close(ours, theirs[:, :4])


def test_positions_outside_the_table_are_refused():
    table = LearnedPositions(4, 8)
    assert table(torch.tensor([0, 3])).shape == (2, 8)
    with pytest.raises(PositionError, match="position 4 is outside the table of 4"):
        table(torch.tensor([4]))


def test_sinusoids_of_zero_and_odd_width():
    assert sinusoids(torch.tensor([0]), 4)[0].tolist() == [0.0, 0.0, 1.0, 1.0]
    with pytest.raises(PositionError, match="even width"):
        sinusoids(torch.tensor([0]), 3)
