"""Stage 7 when something goes wrong: killed half-way, files missing or too many, silence, empty texts (N3, N4)."""

import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "metrics"))
from sounds import RATE, data_directory, sources_of, speech, write_estimates

from codecsep.bin import report, score
from codecsep.data import audio, datadir
from codecsep.data.lock import locked
from codecsep.metrics import judges as judges_module
from codecsep.metrics import scoring, signals, summary, table, utterance
from codecsep.metrics.judges import Judges
from codecsep.metrics.systems import System

FAST = ["--nj", "1", "--without", "asr,dnsmos,speaker,pesq", "--max_asr", "0", "--max_dnsmos", "0"]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """data/test of five mixtures, hyp with estimates of both speakers."""
    monkeypatch.chdir(tmp_path)
    folder = data_directory(Path(), num_utts=5)
    ids = datadir.DataDir(folder).ids
    write_estimates(Path("hyp"), {key: [0.9 * s for s in sources_of(folder, key)] for key in ids})
    return folder


def run(*words, out="out"):
    return score.main(["--data", "data/test", "--hyp", "net=hyp", "--out", out, *FAST, *map(str, words)])


def contents(out="out"):
    odd = {".lock", ".stamps", ".score.stamps", ".report.stamps"}
    files = [path for path in Path(out).rglob("*") if path.is_file() and path.name not in odd]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_what_was_scored_is_not_scored_again_and_the_result_is_the_same(data, monkeypatch):
    assert run(out="clean") == 0
    plain, seen = utterance.score, []

    def dies_at_the_last(known, *rest):
        seen.append(known.id)
        if known.id == "utt4":
            raise KeyboardInterrupt
        return plain(known, *rest)

    monkeypatch.setattr(utterance, "score", dies_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert not Path("out/.score.done").exists() and len(list(Path("out/kept/parts").glob("*.tsv"))) == 2
    monkeypatch.setattr(utterance, "score", lambda known, *rest: seen.append(known.id) or plain(known, *rest))
    seen.clear()
    assert run() == 0
    assert set(seen) == {"utt4"} and contents() == contents("clean")


def test_kept_scores_that_were_damaged_are_scored_again(data):
    run(out="clean")
    run()
    (path,) = Path("out/kept").glob("net-*.tsv")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))  # ends at a line: a valid, shorter table
    Path("out/.score.done").unlink()
    assert run() == 0
    assert contents() == contents("clean")


def test_a_second_run_says_so_in_one_line_and_without_torch(data):
    run()
    assert report.main(["--score", "out", "--out", "out", "--examples", "0"]) == 0
    before = contents()
    words = {
        "score": ["--data", "data/test", "--hyp", "net=hyp", "--out", "out", *FAST],
        "report": ["--score", "out", "--out", "out", "--examples", "0"],
    }
    for name, line in (("score", "out: scores are up to date (5 utterances)"), ("report", "out: report is up to date")):
        code = (
            f"import sys; from codecsep.bin import {name}; status = {name}.main(sys.argv[1:]); "
            "assert 'torch' not in sys.modules, 'torch was imported'; sys.exit(status)"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path(score.__file__).parents[2])}
        start = [sys.executable, "-c", code, *words[name]]
        result = subprocess.run(start, capture_output=True, text=True, env=environment)
        assert (result.returncode, result.stderr) == (0, line + "\n")
    assert contents() == before


@pytest.mark.parametrize("kind", ["estimate", "text", "judge", "option", "table"])
def test_what_changes_the_scores_makes_them_again(data, monkeypatch, kind):
    run()
    scored = []
    plain = scoring.score
    monkeypatch.setattr(scoring, "score", lambda *given: scored.append(1) or plain(*given))
    words = []
    if kind == "estimate":
        audio.write_audio("hyp/wav/utt3_spk2.wav", speech(1.5, 99), RATE)
    elif kind == "text":
        datadir.write_table("data/test/text_spk1", {f"utt{number}": "other words" for number in range(5)})
    elif kind == "judge":
        monkeypatch.setattr("codecsep.metrics.weights.available", lambda without: {"estoi": ["pystoi 9"]})
    elif kind == "option":
        words = ["--max_utts", 3]
    else:
        Path("out/table.json").write_text("{}")
    assert run(*words) == 0 and scored == [1]


def lose(kind):
    """Damage `hyp`; the message that must follow."""
    first, second = datadir.read_table("hyp/spk1.scp"), datadir.read_table("hyp/spk2.scp")
    if kind == "missing":
        tables = {n: {k: v for k, v in rows.items() if k != "utt2"} for n, rows in ((1, first), (2, second))}
        message = "E542 hyp: 1 of 5 utterances are missing (utt2)"
    elif kind == "extra":
        tables, message = {1: {**first, "utt9": first["utt0"]}}, "E543 hyp: 1 utterances are not in the data (utt9)"
    elif kind == "gap":
        tables = {1: {k: v for k, v in first.items() if k not in ("utt1", "utt3")}}
        message = "E542 hyp: 2 utterances lack the estimate of a lower speaker number (utt1, utt3)"
    elif kind == "too few":
        tables = {2: {k: v for k, v in second.items() if k in ("utt0", "utt1")}}
        message = "E544 hyp: 3 of 5 utterances have not 2 estimates (utt2, utt3, utt4)"
    else:
        tables, message = {3: first}, "E544 hyp: 5 of 5 utterances have not 2 estimates (utt0, utt1, utt2, ...)"
    for number, rows in tables.items():
        datadir.write_table(f"hyp/spk{number}.scp", rows)
    return message


@pytest.mark.parametrize("kind", ["missing", "extra", "gap", "too few", "too many"])
def test_n4_nothing_is_averaged_over_fewer_files_in_silence(data, capsys, kind):
    message = lose(kind)
    assert run() == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1 and not Path("out/scores.tsv").exists()


def test_n4_a_share_of_wrong_numbers_of_speakers_may_be_allowed_and_is_counted(data):
    second = datadir.read_table("hyp/spk2.scp")
    datadir.write_table("hyp/spk2.scp", {key: second[key] for key in ("utt0", "utt1")})
    assert run("--max_wrong_speakers", 0.6) == 0
    row = json.loads(Path("out/table.json").read_text())["systems"][-1]
    assert row["missing"] == 3 and row["metrics"]["estoi"]["count"] == 10  # the missing ones count 0
    assert row["metrics"]["si_sdr"]["count"] == 7


class Reader:
    """An ASR that hears nothing in quiet signals."""

    def transcribe(self, signals):
        return ["hello world" if np.abs(x).max() > 0.1 else "" for x in signals]


def test_n3_silence_and_empty_texts_have_values_and_are_counted(tmp_path):
    judges = Judges(RATE, asr=Reader())
    loud = [speech(1.0, 110, 1), speech(1.0, 220, 2)]
    quiet = [0.01 * loud[0], loud[1]]
    rows = []
    for name, sources, estimates in (
        ("a", loud, [loud[0], np.zeros(RATE, np.float32)]),  # a silent estimate
        ("b", loud, [0.01 * loud[0], loud[1]]),  # one in which no word is heard
        ("c", quiet, loud),  # a reference without words
        ("d", loud, []),  # no estimates at all
    ):
        mixture = signals.Signal(sum(sources), judges)
        clean = [signals.Signal(source, judges) for source in sources]
        known = signals.Utterance(name, mixture, clean, ["hello world", ""], with_mos=False)
        for row in utterance.score(known, System("s", ("d",), "si_sdr"), estimates, judges):
            rows.append({"system": "s", "run": "", "utt": name, **row})
    table.write_rows(tmp_path / "rows.tsv", rows)
    found = table.summary(table.read_rows(tmp_path / "rows.tsv"), num_speakers=2)
    assert (found["missing"], found["silent"], found["no_words"], found["no_reference"]) == (3, 1, 4, 1)
    assert all(math.isfinite(value["mean"]) for value in found["metrics"].values())
    assert found["metrics"]["wer"]["mean"] == pytest.approx(100 * (0 + 2 + 0 + 2) / 8)
    assert found["metrics"]["dwer"]["mean"] == pytest.approx(100 * (0 + 2 + 2 + 2 + 2 + 2) / 14)
    lines = summary.odd_ones({"name": "s", **found})
    assert len(lines) == 3 and lines[0].startswith("s: 1 silent estimates")


def test_n3_a_system_that_is_silent_throughout_has_no_nan_anywhere(data):
    for key in [f"utt{number}" for number in range(5)]:
        for speaker in (1, 2):
            audio.write_audio(f"hyp/wav/{key}_spk{speaker}.wav", np.zeros(24000, np.float32), RATE)
    assert run() == 0
    text = Path("out/table.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    row = json.loads(text)["systems"][-1]
    assert row["missing"] == 10 and row["silent"] == 10 and row["metrics"]["estoi"]["mean"] == 0.0
    assert "10 silent estimates" in Path("out/table.txt").read_text()


def test_a_directory_that_is_being_written_is_refused(data, capsys):
    with locked("out"):
        assert run() == 2
        assert "E630 out: is being written by process" in capsys.readouterr().err
    run()
    with locked("out"):
        assert report.main(["--score", "out", "--out", "out"]) == 2
    assert "E630 out" in capsys.readouterr().err


def test_processes_of_the_scorer_have_one_thread_each_and_the_environment_is_as_before(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with scoring.one_thread_each():
        assert [os.environ[name] for name in scoring.THREADS] == ["1", "1", "1"]
    assert os.environ["OMP_NUM_THREADS"] == "5" and "OPENBLAS_NUM_THREADS" not in os.environ


def test_a_process_that_dies_is_an_error_that_says_what_to_do(data, monkeypatch, capsys):
    monkeypatch.setenv("CODECSEP_FAULT", "score.before_keep:kill")
    assert run("--nj", 2) == 2
    assert "E548 scoring: a process died" in capsys.readouterr().err
    monkeypatch.delenv("CODECSEP_FAULT")
    assert run("--nj", 2) == 0
    assert run(out="clean") == 0
    assert Path("out/scores.tsv").read_bytes() == Path("clean/scores.tsv").read_bytes()


def test_pages_with_a_given_date_are_the_same_on_any_day(data, monkeypatch):
    Path("hyp/timing.json").write_text('{"rtf": 0.25}')
    run()
    report.main(["--score", "out", "--out", "today", "--examples", "0"])
    assert "0.250" in Path("today/RESULTS.md").read_text()  # the real-time factor
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    report.main(["--score", "out", "--out", "dated", "--examples", "0"])
    text = Path("dated/RESULTS.md").read_text()
    assert "- date: 1970-01-02\n" in text and "0.250" not in text
    Path("hyp/timing.json").write_text('{"rtf": 0.5}')
    report.main(["--score", "out", "--out", "again", "--examples", "0"])
    assert Path("again/RESULTS.md").read_text() == text


def test_a_report_without_scores_names_the_stage(tmp_path, capsys):
    assert report.main(["--score", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "E550" in capsys.readouterr().err
    (tmp_path / "table.json").write_text("{}")
    assert report.main(["--score", str(tmp_path), "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "E120" in told and "run --stage 7" in told


def test_judges_that_are_said_to_be_there_can_be_loaded():
    from codecsep.metrics import weights

    known = judges_module.load(RATE)
    loaded = {name for name in weights.NEEDS if getattr(known, name)}
    assert set(weights.available()) == loaded
