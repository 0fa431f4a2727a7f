"""Counts of multiply-accumulates against counts by hand and against those that others have published or measured."""

import pytest
import torch
from torch import nn

from codecsep.bin import bench_counters, bench_macs, bench_parts


def counted(part, seconds=1.0):
    """GMAC per second of audio by torch's counter."""
    return bench_counters.count(part, seconds).torch / 1e9 / seconds


def test_both_counters_agree_with_counting_by_hand():
    network = nn.Sequential(nn.Conv1d(3, 5, 7), nn.Flatten(), nn.Linear(5 * 14, 11, bias=False)).to("meta")
    inputs = (torch.zeros(2, 3, 20, device="meta"),)
    by_hand = 2 * (14 * 5 * 3 * 7 + 70 * 11)
    assert bench_counters.torch_macs(network, inputs) == by_hand
    if bench_counters.has_thop():
        assert bench_counters.thop_macs(network, inputs) == by_hand


def test_attention_is_counted():
    sizes = [torch.zeros(1, 2, length, 8, device="meta") for length in (5, 7, 7)]
    attention = torch.nn.functional.scaled_dot_product_attention
    assert bench_counters.torch_macs(attention, tuple(sizes)) == 2 * 2 * 5 * 7 * 8


@pytest.mark.parametrize(
    ("name", "gmac"),
    [
        ("EnCodec 24 kHz encoder", 1.49),
        ("DAC 16 kHz decoder", 27.80),
        ("WavLM large", 17.8),
    ],
)
def test_counts_of_known_networks(name, gmac):
    assert counted(bench_parts.PARTS[name][0]) == pytest.approx(gmac, rel=0.005)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "gmac"),
    [
        ("EnCodec 24 kHz decoder", 1.49),
        ("DAC 24 kHz encoder", 18.41),
        ("DAC 24 kHz decoder", 41.71),
        ("WavLM base", 6.9),
    ],
)
def test_counts_of_more_networks(name, gmac):
    assert counted(bench_parts.PARTS[name][0]) == pytest.approx(gmac, rel=0.005)


@pytest.mark.long
def test_wavlm_large_over_ten_seconds():
    assert counted(bench_parts.PARTS["WavLM large"][0], 10.0) == pytest.approx(19.2, rel=0.005)


def test_token_decoder_by_formula():
    """Each of S steps meets every weight; attention's products are S x S and S x M; keys and values of M frames."""
    made = bench_parts.token_decoder("ar", bench_parts.SMALL, 50.0, 1)
    found = counted(made, 2.0) * 2e9
    layers, width, ffn, steps, memory = 3, 256, 1024, 202, 100
    weights = layers * (6 * width**2 + 2 * width * ffn) + 1027 * width
    attention = 2 * layers * width * (steps * steps + steps * memory)
    assert found == pytest.approx(steps * weights + attention + memory * layers * 2 * width**2, rel=1e-12)


def test_a_table_of_some_parts():
    (table,) = bench_macs.run(bench_macs.Settings(parts=["Mini codec"]))
    assert [row[0] for row in table.rows] == ["mini codec encoder", "mini codec decoder"]
    assert all(0 < row[1] < 1 for row in table.rows)


def test_without_thop_the_other_counter_stands_alone(monkeypatch):
    monkeypatch.setattr(bench_counters.importlib.util, "find_spec", lambda name: None)
    (table,) = bench_macs.run(bench_macs.Settings(parts=["mini codec encoder"]))
    assert table.rows[0][2] == "-" and any("thop is not installed" in note for note in table.notes)


def test_a_part_that_is_not_there():
    with pytest.raises(bench_macs.BenchError, match="E864 no part is named Mimi .*parts: SLM-SS mixture encoder"):
        bench_macs.chosen(["Mimi"])
