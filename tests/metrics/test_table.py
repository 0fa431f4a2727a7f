"""The per-utterance TSV, corpus means, intervals and verdicts."""

import numpy as np
import pytest

from codecsep.metrics import published, table


def row(utt, speaker=1, run="", system="s", **values):
    head = {"system": system, "run": run, "utt": utt, "speaker": speaker, "estimate": speaker, "num_estimates": 2}
    return {**head, "seconds": 1.0, **values}


def test_round_trip_and_columns(tmp_path):
    rows = [row("a", estoi=0.5, pesq_wb=float("nan"), text="two\twords"), row("b", si_sdr=-3.25, wer_errors=1)]
    table.write_rows(tmp_path / "scores.tsv", rows)
    lines = (tmp_path / "scores.tsv").read_text().splitlines()
    assert lines[0].split("\t") == list(table.COLUMNS) and len(lines[1].split("\t")) == len(table.COLUMNS)
    first, second = table.read_rows(tmp_path / "scores.tsv")
    assert first["estoi"] == 0.5 and "pesq_wb" not in first and first["text"] == "two words" and first["run"] == ""
    assert second["si_sdr"] == -3.25 and second["wer_errors"] == 1


def test_a_foreign_tsv_is_refused(tmp_path):
    (tmp_path / "x.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(table.TableError, match="columns"):
        table.read_rows(tmp_path / "x.tsv")


def test_summary_means_over_runs_and_corpus_level_words():
    rows = [
        row("a", run="1", estoi=0.2, wer_errors=1, wer_words=1),
        row("b", run="1", estoi=0.4, wer_errors=0, wer_words=9),
        row("a", run="2", estoi=0.6, wer_errors=1, wer_words=1),
        row("b", run="2", estoi=0.8, wer_errors=1, wer_words=9),
    ]
    found = table.summary(rows, num_speakers=2)
    assert found["metrics"]["estoi"]["mean"] == pytest.approx(0.5)
    assert found["metrics"]["estoi"]["sd"] == pytest.approx(np.std([0.3, 0.7], ddof=1))
    assert found["metrics"]["estoi"]["count"] == 2 and found["runs"] == 2
    assert found["metrics"]["wer"]["mean"] == pytest.approx(15.0)  # (10 + 20) / 2
    assert "pesq_wb" not in found["metrics"]


def test_missing_and_extra_speakers_are_counted_per_run():
    rows = [{**row("a"), "num_estimates": 1}, {**row("b"), "num_estimates": 4}, {**row("b", 2), "num_estimates": 4}]
    found = table.summary(rows, num_speakers=2)
    assert (found["missing"], found["extra"]) == (1, 2)


def test_bootstrap_is_deterministic_and_covers_the_mean():
    differences = np.random.default_rng(0).normal(0.3, 1.0, 200)
    low, high = table.bootstrap(differences)
    assert (low, high) == table.bootstrap(differences) != table.bootstrap(differences, seed=1)
    assert low < differences.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * differences.std() / np.sqrt(200), rel=0.15)
    assert table.bootstrap(np.full(5, 2.0)) == (2.0, 2.0)


def test_against_is_paired_over_common_utterances():
    system = [row("a", estoi=0.6), row("a", 2, estoi=0.8), row("b", estoi=0.9), row("only", estoi=0.0)]
    mixture = [row("a", estoi=0.5), row("a", 2, estoi=0.5), row("b", estoi=0.5)]
    found = table.against(system, mixture, "estoi")
    assert found["count"] == 2 and found["difference"] == pytest.approx(0.3) and found["better"]
    assert table.against(system, [], "estoi") is None


def test_verdict_needs_every_metric():
    better, worse = {"better": True}, {"better": False}
    assert table.verdict({"estoi": better, "spk": better}).startswith("beats the mixture: yes")
    assert table.verdict({"estoi": better, "spk": worse}).startswith("beats the mixture: no (spk")
    assert "not known" in table.verdict({})


def test_published_numbers_stand_only_beside_the_systems_that_they_are_of():
    assert published.of_systems(["mixture", "pit_classifier"]) == []
    assert published.of_systems(["codecformer_finetune", "sepformer", "dprnn"]) == [
        published.CODECFORMER,
        published.WAVEFORM,
    ]
    tables = {one for tables in published.PUBLISHED.values() for one in tables}
    assert all(len(row) == len(one.header) for one in tables for row in one.rows) and len(tables) == 4
