"""bin/score and bin/report on a tiny data directory: files, cache, errors in one line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "metrics"))
from sounds import data_directory, sources_of, write_estimates

from codecsep.bin import report, score
from codecsep.data import datadir
from codecsep.metrics import table

FAST = ["--nj", "1", "--without", "asr,dnsmos,speaker", "--max_asr", "0", "--max_dnsmos", "0"]


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    data = data_directory(folder)
    ids = datadir.DataDir(data).ids
    good = {key: [0.9 * s + 0.1 * o for s, o in _pairs(data, key)] for key in ids}
    swapped = {key: signals[::-1] for key, signals in good.items()}
    one = write_estimates(folder / "run1", good)
    two = write_estimates(folder / "run2", {**swapped, ids[0]: swapped[ids[0]][:1]})
    (one / "decode.json").write_text(json.dumps({"missing_eos": 2, "seed": 1}))
    (one / "timing.json").write_text(json.dumps({"rtf": 0.25}))
    arguments = ["--data", str(data), "--hyp", f"slm_ss={one},{two}", "--out", str(folder / "out"), *FAST]
    assert score.main(arguments) == 0
    return folder, arguments


def _pairs(data, key):
    first, second = sources_of(data, key)
    return [(first, second), (second, first)]


def test_a_line_per_utterance_speaker_and_run(scored):
    folder, _ = scored
    rows = table.read_rows(folder / "out" / "scores.tsv")
    ours = [row for row in rows if row["system"] == "slm_ss"]
    assert len(ours) == 3 * 2 * 2
    assert {row["system"] for row in rows} == {"mixture", "reference", "slm_ss"}
    second = [row for row in ours if row["run"].endswith("run2")]
    assert [row["estimate"] for row in second] == [0, 1, 2, 1, 2, 1] and second[0]["num_estimates"] == 1
    assert all(row["si_sdri"] == pytest.approx(0, abs=1e-3) for row in rows if row["system"] == "mixture")


def test_the_table_counts_missing_speakers_and_gives_the_verdict(scored):
    folder, _ = scored
    result = json.loads((folder / "out" / "table.json").read_text())
    system = next(row for row in result["systems"] if row["name"] == "slm_ss")
    assert system["missing"] == 0.5 and system["runs"] == 2 and system["metrics"]["estoi"]["sd"] > 0
    assert system["decode"] == {"missing_eos": 2.0, "seeds": [1]}  # nothing that depends on the clock
    assert system["verdict"].startswith("beats the mixture: ") and system["against_mixture"]["estoi"]["count"] == 3
    text = (folder / "out" / "table.txt").read_text()
    assert "ESTOI" in text and "chosen by: mixture si_sdr" in text


def test_a_second_run_computes_nothing(scored, monkeypatch):
    folder, arguments = scored
    before = (folder / "out" / "scores.tsv").read_bytes()
    monkeypatch.setattr("codecsep.metrics.utterance.score", lambda *_: pytest.fail("scored again"))
    assert score.main(arguments) == 0
    assert (folder / "out" / "scores.tsv").read_bytes() == before


def test_changed_audio_is_scored_again(scored, tmp_path):
    folder, arguments = scored
    data = folder / "data" / "test"
    run = write_estimates(tmp_path / "run", {key: sources_of(data, key) for key in datadir.DataDir(data).ids})
    short = ["--data", str(data), "--hyp", f"x={run}", "--out", str(tmp_path / "out"), *FAST, "--rows", ""]
    assert score.main(short) == 0
    kept = {path.name for path in (tmp_path / "out" / "kept").iterdir()}
    write_estimates(run, {"utt0": [np.ones(900, np.float32) * 0.1, np.ones(900, np.float32) * 0.1]})
    for number in (1, 2):  # the other utterances stay
        paths = {key: run / "wav" / f"{key}_spk{number}.wav" for key in datadir.DataDir(data).ids}
        datadir.write_table(run / f"spk{number}.scp", paths)
    assert score.main(short) == 0
    assert {path.name for path in (tmp_path / "out" / "kept").iterdir()} > kept


def test_report_writes_results_and_one_page_without_links_outside(scored):
    pytest.importorskip("PIL", reason="the page's pictures need the package pillow")
    folder, _ = scored
    out = folder / "out"
    assert report.main(["--score", str(out), "--out", str(out), "--examples", "2"]) == 0
    results, page = (out / "RESULTS.md").read_text(), (out / "index.html").read_text()
    assert "| ESTOI |" in results and "another corpus" in results and "python: " in results
    assert page.count("<audio") == 2 * (3 + 2)  # mixture, references, estimates of the first run
    assert "http" not in page and "viewport" in page


def test_waveform_systems_at_8_khz_without_a_codec(tmp_path):
    data = data_directory(tmp_path, num_utts=2, rate=8000)
    found = {key: [0.9 * s + 0.1 * o for s, o in _pairs(data, key)] for key in ("utt0", "utt1")}
    run = write_estimates(tmp_path / "run", found, rate=8000)
    words = ["--data", str(data), "--hyp", f"convtasnet={run}", "--out", str(tmp_path / "out"), *FAST]
    assert score.main(words) == 0
    result = json.loads((tmp_path / "out" / "table.json").read_text())
    assert result["rate"] == 8000 and [row["name"] for row in result["systems"]] == [
        "mixture",
        "reference",
        "convtasnet",
    ]
    names = result["systems"][-1]["metrics"].keys()
    assert {"si_sdr", "si_sdri", "estoi"} <= names and "pesq_wb" not in names
    assert not [name for name in names if name.startswith("c_") or name.endswith("coded")]
    assert "codec" not in (tmp_path / "out" / "table.txt").read_text()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--hyp", "mixture=x"], "is taken"),
        (["--hyp", "a=x", "--hyp", "a=y"], "given twice"),
        (["--hyp", "a=/nowhere"], "holds no spk1.scp"),
        (["--rows", "nonsense"], "is not known"),
        (["--waveform", "b"], "not one of the systems"),
        (["--rows", ""], "nothing to score"),
        (["--nj", "0"], "at least 1"),
    ],
)
def test_mistakes_are_told_in_one_line(scored, capsys, tmp_path, extra, message):
    folder, _ = scored
    status = score.main(["--data", str(folder / "data" / "test"), "--out", str(tmp_path), *FAST, *extra])
    told = capsys.readouterr().err
    assert status == 2 and message in told and told.count("\n") == 1


def test_a_directory_that_lacks_utterances_is_refused(scored, capsys, tmp_path):
    folder, _ = scored
    data = folder / "data" / "test"
    run = write_estimates(tmp_path / "run", {"utt1": sources_of(data, "utt1")})
    assert score.main(["--data", str(data), "--hyp", f"x={run}", "--out", str(tmp_path / "o"), *FAST]) == 2
    assert "2 of 3 utterances are missing (utt0, utt2" in capsys.readouterr().err
