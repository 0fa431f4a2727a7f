"""`bench decode`: equal work for all contenders, whole tables, the tokens of CTranslate2. Nothing here is timed."""

import json

import pytest
import torch

from codecsep.bin import bench, bench_ct2, bench_decode, bench_own, bench_queue, bench_twins
from codecsep.nn.transformer import TransformerConfig

SIZES = TransformerConfig(2, 32, 4, 64)


def loud_part(longest=64):
    """Weights so large that the next token is no copy of the last one."""
    part = bench_queue.make_part(SIZES, 32, longest, "cpu")
    for weight in part.parameters():
        if weight.dim() == 2:
            torch.nn.init.normal_(weight, std=0.4)
    return part


def test_queue_has_the_lengths_of_the_list():
    queue = bench_queue.ragged(65, 10.0, 50.0, 4, "cpu")
    assert (queue[0].frames, queue[0].tokens, queue[0].memory.shape) == (45, 92, (260, 4))  # 3.77 and 5.20 s
    assert queue[64].frames == queue[0].frames and len(bench_queue.SECONDS) == 64
    longer, shorter = ([f(pair) for pair in bench_queue.SECONDS] for f in (max, min))
    assert sum(longer) / 64 == pytest.approx(8.35, abs=0.01) and sum(shorter) / 64 == pytest.approx(5.36, abs=0.01)


def test_all_contenders_decode_what_is_asked_for():
    queue = bench_queue.ragged(5, 0.5, 2.0, 32, "cpu")
    wanted = [row.tokens for row in queue]
    part = loud_part()
    for precision in bench_own.PRECISIONS:
        own = bench_own.Own(part, precision)
        assert own.decode(queue) == own.decode_queue(queue, 2) == own.decode_queue(queue, 1) == wanted
    twin = bench_twins.HuggingFace(SIZES, part.vocab, 64, "cpu", torch.float32)
    assert [twin.decode(queue, cache) for cache in bench_twins.CACHES] == [wanted, wanted]
    assert bench_twins.NoCache(SIZES, part.vocab, 64, "cpu", torch.float32).decode(queue) == wanted


def test_ctranslate2_decodes_the_same_tokens_with_our_weights():
    pytest.importorskip("ctranslate2")
    part, rows = loud_part(), bench_queue.equal(3, 16, 7, 32, "cpu")
    memory, valid = bench_queue.padded_memory(rows)
    prompt = torch.tensor([[part.vocab.sos, part.vocab.sc]]).repeat(3, 1)
    ids = prompt
    with torch.inference_mode():
        while ids.shape[1] < 17:
            logits = part.logits(memory, valid, ids)[:, -1].index_fill(1, torch.tensor([part.vocab.eos]), -1e9)
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    model = bench_ct2.CTranslate2(part, "float32", 7)
    assert model.tokens(rows) == ids.tolist() and model.decode(rows) == [16, 16, 16]
    assert len({tuple(row) for row in ids.tolist()}) == 3 and len(set(ids[0].tolist())) > 4


def test_loop_without_cache_is_integrated_exactly_where_a_step_is_quadratic(monkeypatch):
    naive = bench_twins.NoCache(SIZES, loud_part().vocab, 64, "cpu", torch.bfloat16)
    lengths = []
    monkeypatch.setattr(naive, "step", lambda ids, memory, ignored: lengths.append(ids.shape[1]))

    def clock(work):
        work()
        return 3.0 + 2.0 * lengths[-1] + 0.5 * lengths[-1] ** 2

    whole = sum(3.0 + 2.0 * n + 0.5 * n**2 for n in range(1, 51))
    assert naive.seconds(bench_queue.equal(1, 50, 3, 4, "cpu"), clock) == pytest.approx(whole, rel=0.02)
    assert len(lengths) == 4


def test_a_quick_run_has_every_row(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- bench decode -->\n<!-- end decode -->\n")
    assert bench.main(["decode", "--quick", "--write", str(page)]) == 0
    found = json.loads((tmp_path / "page" / "decode.json").read_text())
    names = [f"ours, {precision}" for precision in bench_own.PRECISIONS]
    queue, equal, roofline, sampler = found["tables"]
    assert [row[:2] for row in queue["rows"]] == [
        [f"{names[0]}, one by one", 1], *([name, slots] for slots in (2, 3) for name in ["generate", *names])
    ]  # fmt: skip
    others = [row[0] for row in equal["rows"]]
    assert others[0] == "generate" and others[-1] == "no cache" and set(names) < set(others)
    assert [row[0] for row in roofline["rows"]] == [row[0] for row in sampler["rows"]] == names
    speeds = [row[2] for row in queue["rows"]] + [row[1] for row in equal["rows"]]
    assert all(speed > 0 for speed in speeds) and all(row[-1].endswith("%") for row in roofline["rows"])
    assert page.read_text().count("\n### ") == 4 and capsys.readouterr().out.count("\n### ") == 4


def test_missing_packages_are_said(monkeypatch):
    monkeypatch.setattr(bench_twins.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(bench_twins.PackageError, match=r"E901 transformers: is not installed \(fix: pip install -e"):
        bench_twins.HuggingFace(SIZES, loud_part().vocab, 64, "cpu", torch.float32)


def test_settings_follow_the_device_and_are_checked():
    assert bench_decode.Settings(device="cuda", precisions=["fp32"]).batches == [1, 16, 64]
    assert bench_decode.Settings().slots == [8, 16]
    with pytest.raises(bench_decode.BenchError, match="no precision 'fp8'"):
        bench_decode.Settings(precisions=["fp8"])
    with pytest.raises(bench_decode.BenchError, match="at least 1"):
        bench_decode.Settings(rounds=0)
