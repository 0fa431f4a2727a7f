"""`bench separators` at tiny sizes: every row is there, the contenders do what their names say. Nothing is timed."""

import importlib.util
import json

import pytest
import torch

from codecsep.bin import bench, bench_examples, bench_separators
from codecsep.bin.bench_timing import Ratio

TINY = bench_separators.Settings(sizes="tiny", codec="mini", seconds=0.21, rounds=1)


@pytest.fixture(scope="module")
def codec():
    return bench_separators.random_mini()


def model_of(name, codec):
    return bench_separators.make_model(bench_separators.SYSTEMS[name], TINY, codec)


@pytest.mark.skipif(importlib.util.find_spec("speechbrain") is None, reason="speechbrain is not installed")
def test_a_quick_run_has_every_row(tmp_path, capsys):
    assert bench.main(["separators", "--quick", "--seconds", "0.2", "--json", str(tmp_path / "x.json")]) == 0
    training, parts, separating = json.loads((tmp_path / "x.json").read_text())["tables"]
    titles = [bench_separators.SYSTEMS[name].title for name in bench_separators.DEFAULT]
    assert [row[0] for row in training["rows"]] == titles
    assert training["rows"][0][3] == "1.00 [1.00 .. 1.00]" and all(row[2] > 0 for row in training["rows"])
    assert {row[4] for row in training["rows"]} == {"-"}, "tiny networks have no goal"
    assert sum(float(row[1].rstrip("%")) for row in parts["rows"]) == pytest.approx(100, abs=0.2)
    assert [row[0] for row in separating["rows"]][0] == "SepFormer" and len(separating["rows"]) == 4


def test_goals_are_judged_by_the_median():
    assert bench_separators.told(2.7, Ratio(2.7, 1.0, 9.0)) == "2.7: met"
    assert bench_separators.told(20.0, Ratio(19.9, 1.0, 99.0)) == "20: missed"
    assert bench_separators.told(None, Ratio(1.0, 1.0, 1.0)) == "-"


def test_stored_latents_are_those_that_a_step_would_make(codec, tmp_path):
    """The same loss, so the same training, at another price."""
    stored, made = model_of("codecformer_el", codec).eval(), model_of("codecformer_made", codec).eval()
    made.load_state_dict(stored.state_dict())
    examples = [bench_examples.stored(model, 0.21, tmp_path, "cpu")() for model in (stored, made)]
    first, second = (model.loss(model.collate([each]))[0] for model, each in zip((stored, made), examples, strict=True))
    torch.testing.assert_close(first, second, rtol=1e-3, atol=0.0)  # WAV files have 16 bits
    assert examples[0]["mixture_latents"].shape == (11, codec.latent_size) and len(examples[0]["source_latents"]) == 2


def test_a_step_moves_the_weights_and_not_the_codec(codec, tmp_path):
    model = model_of("codecformer", codec)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    frozen = [weight.clone() for weight in codec.parameters()]
    bench_separators.steps_of(model, TINY, tmp_path / "new")()
    assert all(not torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert all(torch.equal(old, new) for old, new in zip(frozen, codec.parameters(), strict=True))


def test_times_of_a_chain_are_sums(codec, monkeypatch):
    seconds = {"SepFormer": [8.0, 12.0], "separator": [1.0, 1.0], "encoder": [1.0, 2.0], "decoders": [6.0, 9.0]}
    monkeypatch.setattr(bench_separators, "timed", lambda works, settings: seconds)
    model = model_of("codecformer", codec)
    rows = bench_separators.separating(model, model, TINY).rows
    assert [row[1].split()[0] for row in rows] == ["1.00", "10.00", "4.00", "1.00"]


def test_mistakes_in_the_settings():
    with pytest.raises(bench_separators.BenchError, match="E864 .*no system 'sepformr'.*of sepformer, codecformer_tr"):
        bench_separators.Settings(systems=["sepformr"])
    with pytest.raises(bench_separators.BenchError, match="E864 .*0 seconds"):
        bench_separators.Settings(seconds=0.0)
