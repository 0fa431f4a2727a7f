"""The report of what is odd in audio (U6): each kind of finding, and a file that cannot be read."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_datadir import make_mixtures

from codecsep.data import audio, data_report
from codecsep.data.datadir import DataDir

RATE = 16000
TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (TONE, ""),
        (np.clip(3 * TONE, -1, 1), "W210 .*% of the samples are at full scale: clipped"),
        (np.where(np.arange(RATE) < 0.009 * RATE, 1.0, TONE), ""),
        (TONE + 0.05, r"W210 a mean of \+0.050: DC offset"),
        (TONE * 0, "W210 digital silence"),
        (TONE * 2e-4, "W210 a level of -83 dB: very quiet"),
    ],
    ids=["good", "clipped", "almost clipped", "offset", "silent", "quiet"],
)
def test_oddities(samples, said):
    found = "; ".join(" ".join(finding) for finding in data_report.oddities(samples.astype(np.float32)))
    assert re.fullmatch(said, found), found


def test_the_report_names_table_id_and_path(tmp_path):
    directory = DataDir(make_mixtures(tmp_path / "test"))
    assert data_report.write_report(directory) == []
    assert (directory.path / "data_report.tsv").read_text() == data_report.COLUMNS
    silent, cut = directory.table("spk1.scp")["a-b-001"], directory.table("wav.scp")["a-b-002"]
    audio.write_audio(silent, np.zeros(1600), RATE)
    with open(cut, "r+b") as file:
        file.truncate(1000)
    streamed = Path(directory.table("spk2.scp")["a-b-000"])
    raw = streamed.read_bytes()
    streamed.write_bytes(raw[:40] + b"\xff" * 4 + raw[44:])
    data_report.write_report(directory)
    rows = [line.split("\t") for line in (directory.path / "data_report.tsv").read_text().splitlines()[1:]]
    assert [row[:4] for row in rows] == [
        ["E202", "wav.scp", "a-b-002", cut],
        ["E211", "spk1.scp", "a-b-001", silent],
        ["W210", "spk2.scp", "a-b-000", str(streamed)],
    ]
    assert rows[1][4] == "digital silence" and "promises 1,600 samples" in rows[0][4] and "no length" in rows[2][4]


def test_the_verb_that_writes_it(tmp_path):
    path = make_mixtures(tmp_path / "test")
    command = [sys.executable, "-m", "codecsep.bin.validate_data", "--report", path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0 and f"{path}/data_report.tsv: 0 odd files" in result.stdout, result.stderr
    assert (path / "data_report.tsv").read_text() == data_report.COLUMNS
