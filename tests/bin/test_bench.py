"""The command `bench`: its words, its page, its ratios, and the roofline's formula."""

import json
from pathlib import Path

import pytest
import torch

from codecsep.bin import bench, bench_page, bench_roofline, bench_timing
from codecsep.bin.bench_page import Result, Table
from codecsep.bin.bench_timing import Contender

ROOT = Path(__file__).resolve().parents[2]


def result(bench_name="decode", load="0.1 -> 0.2"):
    table = Table("Speed", ["who", "x"], [["a|b", 1.2345], ["c", 1]], ["a note"])
    return Result(bench_name, {"CPU": "some", "cores": 2, "load": load}, {"rounds": 5}, [table])


def test_contenders_run_in_turn_and_each_is_timed_by_its_own_work():
    calls, now = [], [0.0]

    def clock(work):
        start = now[0]
        work()
        return now[0] - start

    def contender(name, cost):
        def run():
            calls.append(name)
            now[0] += cost

        return Contender(run, lambda: calls.append(f"warm {name}"))

    seconds = bench_timing.interleave({"a": contender("a", 4.0), "b": contender("b", 1.0)}, 3, clock)
    assert calls == ["warm a", "warm b", "a", "b", "b", "a", "a", "b"]
    assert seconds == {"a": [4.0, 4.0, 4.0], "b": [1.0, 1.0, 1.0]}
    with pytest.raises(ValueError, match="at least 1"):
        bench_timing.interleave({}, 0, clock)


def test_ratio_is_taken_within_each_round():
    found = bench_timing.ratio([2.0, 40.0, 9.0], [1.0, 10.0, 3.0])
    assert (found.median, found.least, found.largest) == (3.0, 2.0, 4.0)
    assert str(found) == "3.00 [2.00 .. 4.00]"


def test_processor_time_counts_work_and_not_waiting():
    import time

    assert bench_timing.cpu_clock(lambda: time.sleep(0.2)) < 0.1
    assert bench_timing.clock_of("cuda:0") is bench_timing.cuda_clock


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.2345, "1.23"), (12345.6, "12346"), (0.01234, "0.0123"), (3, "3"), (2.5e9, "2.50e+09"), (0.0, "0"), ("x", "x")],
)
def test_numbers_have_three_digits(value, text):
    assert bench_page.cell(value) == text


def test_only_the_section_of_the_benchmark_is_written(tmp_path):
    page = tmp_path / "benchmarks.md"
    others = "# Top\n<!-- bench macs -->\nkept\n<!-- end macs -->\n<!-- bench decode -->\n"
    page.write_text(f"{others}old\n<!-- end decode -->\nlast\n")
    bench_page.write_section(page, result())
    once = page.read_text()
    assert once.startswith(f"{others}Measured on: CPU some") and "old" not in once
    assert once.endswith("* a note\n<!-- end decode -->\nlast\n") and "| a\\|b | 1.23 |" in once
    bench_page.write_section(page, result())
    assert page.read_text() == once
    with pytest.raises(bench_page.BenchError, match=r"E864 .*no lines '<!-- bench train -->'"):
        bench_page.write_section(page, result("train"))


def test_a_busy_machine_is_said(tmp_path):
    assert "Other work was running" not in result(load="0.1 -> 1.2").markdown()
    assert "Other work was running" in result(load="0.1 -> 1.9").markdown()


def test_json_holds_what_the_page_shows(tmp_path):
    bench_page.write_json(tmp_path / "new" / "decode.json", result())
    found = json.loads((tmp_path / "new" / "decode.json").read_text())
    assert found["tables"][0]["rows"] == [["a|b", 1.2345], ["c", 1]] and found["settings"] == {"rounds": 5}
    assert bench_page.read_json(tmp_path / "new" / "decode.json") == result()


@pytest.mark.parametrize("name", bench.BENCHES)
def test_the_page_shows_what_was_measured(name):
    """Nothing between the marks was edited by hand: it is what the command makes of its own numbers."""
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    section = page.partition(f"<!-- bench {name} -->\n")[2].partition(f"<!-- end {name} -->")[0]
    numbers = ROOT / "docs" / "benchmarks" / f"{name}.json"
    assert section == (bench_page.read_json(numbers).markdown() if numbers.is_file() else "")


def test_machine_is_named():
    found = bench_page.machine()
    assert found["torch"] == torch.__version__ and found["cores"] >= 1 and float(found["load"]) >= 0
    assert found["GPU"] == "not used" and found["commit"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["speed"], "E864 no benchmark 'speed' (fix: give one of decode, tokenise, train, separators, macs"),
        (["--rounds", "3"], "E864 settings and --json are for one benchmark, none is named"),
        (["decode", "macs", "--json", "x"], "E864 settings and --json are for one benchmark, 2 are named"),
        (["decode", "--round", "3"], "E802 command line: unknown key 'round' (nearest: 'rounds')"),
    ],
)
def test_mistakes_on_the_command_line(words, message, capsys):
    assert bench.main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("batch", "microseconds"), [(1, 97), (16, 311), (64, 997)])
def test_byte_floor_of_the_paper_s_decoder_on_an_h200(batch, microseconds):
    """12 layers of 1024, FFN 4096, 1027 tokens, memory 500, 1500 steps, bf16, 4.3 TB/s (copy bandwidth)."""
    size = bench_roofline.StepSize(12, 1024, 4096, 1027, 500, 750.0, batch, 2.0, 2.0, 2.0)
    assert (size.layers, size.head) == (12 * 14 * 1024**2, 1027 * 1024)
    assert size.floor(4.3e12) * 1e6 == pytest.approx(microseconds, abs=0.6)


def test_step_size_is_what_the_decoder_holds():
    """The formula's weights are those of nn/transformer.py that a step multiplies with."""
    from codecsep.nn.transformer import Decoder, TransformerConfig

    decoder = Decoder(TransformerConfig(num_layers=3, width=16, num_heads=2, ffn_width=40))
    names = [name for name, weight in decoder.named_parameters() if weight.dim() == 2]
    once = ("memory_attention.key", "memory_attention.value")
    matrices = [dict(decoder.named_parameters())[name] for name in names if not any(part in name for part in once)]
    size = bench_roofline.StepSize(3, 16, 40, 11, 7, 5.0, 1)
    assert (size.layers, size.head) == (sum(weight.numel() for weight in matrices), 11 * 16)


def test_ceilings_are_measured():
    assert bench_roofline.copy_bandwidth(2**20, "cpu", bench_timing.cpu_clock) > 1e8
    rates = [bench_roofline.product_rate(name, 128, "cpu", bench_timing.cpu_clock) for name in ("fp32", "bf16", "int8")]
    assert min(rates) > 1e8
    slow = bench_roofline.StepSize(1, 8, 8, 8, 0, 0.0, 1)
    assert slow.floor(1e9, 1.0) == slow.flops and slow.floor(1.0, 1e9) == slow.bytes


def test_help_names_the_settings_and_a_name_may_stand_anywhere(capsys):
    assert bench.main(["macs", "--help"]) == 0
    told = capsys.readouterr().out
    assert "usage: bench macs" in told and "--seconds 1.0" in told and "count those whose names hold" in told
    assert bench.divide(["--quick", "macs", "--seconds", "2"]) == (["macs"], ["--quick", "--seconds", "2"])
