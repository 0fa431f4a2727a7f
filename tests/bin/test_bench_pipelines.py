"""The counts behind "52 times fewer": what was published and measured elsewhere comes out within 1 %."""

import importlib.util

import pytest

from codecsep import config
from codecsep.bin import bench_counters, bench_macs, bench_pipelines
from codecsep.bin.bench_counters import Count

NEEDS = ("speechbrain", "dac", "thop")
missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
needs_all = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")

# seconds at 8 kHz: GMAC of SepFormer and of Codecformer's separator, and their ratio
THOP = {1.0: (None, None, 56.3), 2.0: (77.3, 1.524, 50.7), 3.0: (None, None, 48.9)}
TORCH = {1.0: (69.0, 0.990, 69.7), 2.0: (124.7, 2.02, 61.7), 4.0: (236.7, 4.21, 56.3)}
WHOLE = {1.0: 1.0, 4.0: 0.86}  # the ratio, by torch's counter, with DAC's encoder and two decoders


def claims(seconds):
    """{counter: row of numbers} of the table."""
    table = bench_pipelines.claim([seconds])
    return {row[1]: row[2:] for row in table.rows}


def check(found, expected):
    for value, wanted in zip(found, expected, strict=False):
        assert wanted is None or value == pytest.approx(wanted, rel=0.01)


@needs_all
def test_sizes_are_those_of_the_papers():
    assert bench_pipelines.SEPARATOR.count(0.1).parameters / 1e6 == pytest.approx(17.36, abs=0.005)
    assert bench_pipelines.SEPFORMER.count(0.1).parameters / 1e6 == pytest.approx(25.68, abs=0.005)


@needs_all
def test_fifty_two_times_is_the_separator_alone_over_two_seconds():
    found = claims(2.0)
    check(found["thop"], THOP[2.0])
    check(found["torch"], TORCH[2.0])
    assert 4 < found["torch"][3] < 5 and 0.86 <= found["torch"][4] <= 1.0, "with the codec nothing is saved"


@needs_all
@pytest.mark.long
@pytest.mark.parametrize("seconds", [1.0, 3.0, 4.0])
def test_ratios_at_other_lengths(seconds):
    found = claims(seconds)
    check(found["thop"], THOP.get(seconds, ()))
    check(found["torch"], TORCH.get(seconds, ()))
    check(found["torch"][4:], [WHOLE.get(seconds)])


def test_ratios_are_of_sums():
    assert bench_pipelines.ratios("2 s", "torch", [60e9, 2e9, 10e9, 48e9]) == [["2 s", "torch", 60.0, 2.0, 30.0, 5, 1]]
    assert bench_pipelines.ratios("2 s", "torch", [60e9, 2e9, None, 48e9])[0][4:] == [30.0, "-", "-"]
    assert bench_pipelines.ratios("2 s", "thop", [None, None, None, None]) == []


def test_the_whole_is_the_sum_of_its_parts(monkeypatch):
    """Two runs of a network are twice the work and the same parameters."""
    made = {"a": Count(6e9, 4e9, 2_000_000), "b": Count(2e9, None, 3_000_000), "SepFormer": Count(40e9, 30e9, 1)}
    monkeypatch.setattr(bench_pipelines, "count", lambda make, seconds, device: made[make])
    parts = [bench_pipelines.Part("first", "a"), bench_pipelines.Part("2 x second", "b", 2)]
    monkeypatch.setattr(bench_pipelines, "SYSTEMS", {"Both": bench_pipelines.System(parts, 16000)})
    monkeypatch.setattr(bench_pipelines, "SEPFORMER", bench_pipelines.Part("SepFormer", "SepFormer"))
    assert bench_pipelines.systems(["Both"], 2.0).rows == [
        ["Both", "first", 3.0, 2.0, 2.0, "-", "16 kHz"],
        ["Both", "2 x second", 2.0, "-", 3.0, "-", "16 kHz"],
        ["Both", "whole", 5.0, "-", 5.0, 4.0, "16 kHz"],
    ]


@pytest.mark.parametrize(
    ("system", "model"),
    [
        ("SepFormer", "sepformer"),
        ("Conv-TasNet", "convtasnet"),
        ("DPRNN", "dprnn"),
        ("BSRNN", "bsrnn"),
        ("TF-GridNet", "tfgridnet"),
        ("Codecformer", "codecformer"),
        ("RVQ-Grid", "rvq_grid"),
    ],
)
def test_rates_are_those_of_the_models(system, model):
    assert bench_pipelines.SYSTEMS[system].rate == config.find_model(model).Config().sample_rate


def test_a_missing_package_leaves_its_system_out(monkeypatch):
    def refuse(make, seconds, device):
        raise bench_macs.BenchError("E864", "no such package")

    monkeypatch.setattr(bench_pipelines, "count", refuse)
    table = bench_pipelines.systems(["Codecformer"], 1.0)
    assert table.rows == [] and any("left out, E864 no such package" in note for note in table.notes)
    assert bench_pipelines.claim([1.0]).rows == []


def test_lengths_are_checked():
    with pytest.raises(bench_macs.BenchError, match="E864 .*0 seconds of audio"):
        bench_macs.Settings(lengths=[1.0, 0.0])


@needs_all
def test_rows_of_quick_words():
    """Words choose among parts, systems and the ratio."""
    assert bench_macs.chosen(["52 times"]) == ([], [bench_pipelines.CLAIM])
    parts, systems = bench_macs.chosen([])
    assert len(parts) > 20 and systems == [*bench_pipelines.SYSTEMS, bench_pipelines.CLAIM]


def test_weight_norm_hides_nothing_from_either_counter():
    import torch
    from torch import nn
    from torch.nn.utils.parametrizations import weight_norm

    def make(seconds):
        return weight_norm(nn.Conv1d(3, 5, 7)), (torch.zeros(1, 3, 16),)

    found = bench_counters.count(make, 1.0)
    assert found.torch == 10 * 5 * 3 * 7 and found.thop in (None, found.torch)


def test_recurrent_layers_are_counted_where_they_are_computed():
    import torch
    from torch import nn

    def make(seconds):
        return nn.LSTM(6, 4, batch_first=True, bidirectional=True), (torch.zeros(2, 5, 6),)

    by_hand = 2 * 2 * 5 * 4 * 4 * (6 + 4)
    assert bench_counters.count(make, 1.0, "cpu").torch == bench_counters.count(make, 1.0).torch == by_hand
