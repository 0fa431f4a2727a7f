"""Stage 2 on files over --long_seconds: the codes of the whole file, faults by utterance, memory that stays small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import peak_memory
import pytest
import soundfile
import torch
from toy_codec import RATE, SAMPLES, content, run

from codecsep.codecs import base, long, mini
from codecsep.codecs.base import CodecError
from codecsep.codecs.long import LongSignalError
from codecsep.data import audio, datadir
from codecsep.data.ark import CodecInfo, TokenReader, write_codec_info
from codecsep.nn.quantize import QuantizeConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A mini codec of random weights at 8 kHz; its window and chunks are short."""
    torch.manual_seed(0)
    sizes = QuantizeConfig(num_codebooks=3, codebook_size=64, width=8)
    config = mini.Config(8000, 160, 320, 320, width=16, encoder_blocks=2, quantizer=sizes)
    network = mini.Network(config)
    for level in network.quantizer.levels:
        torch.nn.init.normal_(level.codes)
    info = CodecInfo("mini", "f0", RATE, 50.0, 160, 3, 64)
    write_codec_info(tmp_path / "codec", info)
    made = mini.MiniCodec(network, info).eval()
    monkeypatch.setattr(base, "load", lambda path, device="cpu": made)
    monkeypatch.setattr(long, "CHUNK_SECONDS", 0.1)
    return made


def test_long_files_have_the_codes_of_whole_ones(tmp_path, small, mixtures, monkeypatch):
    path = datadir.read_table(mixtures / "spk2.scp")["d"]
    wave, _ = audio.read_audio(path)
    wave[1700:] = 0
    audio.write_audio(path, wave, RATE)
    assert run(tmp_path, mixtures) == 0
    dump = tmp_path / "dump" / "train"
    whole = {name: content(dump, name) for name in ("spk1_codes", "spk2_codes")}
    monkeypatch.setattr(audio, "BLOCK", 500)
    monkeypatch.setattr(audio, "read_audio", None)
    assert run(tmp_path, mixtures, "--force", "--long_seconds", "0") == 0
    for name, wanted in whole.items():
        found = content(dump, name)
        assert found.keys() == wanted.keys() and all(np.array_equal(found[key], wanted[key]) for key in wanted)
    assert whole["spk2_codes"]["d"].shape == (3, 11) and (dump / "skipped.tsv").read_text() == ""


def test_long_files_at_another_rate(tmp_path, small, singles):
    small.info = CodecInfo("mini", "f0", 24000, 150.0, 160, 3, 64)
    assert run(tmp_path, singles) == 0
    whole = content(tmp_path / "dump" / "train_sources", "codes")
    assert run(tmp_path, singles, "--force", "--long_seconds", "0") == 0
    found = content(tmp_path / "dump" / "train_sources", "codes")
    assert all(np.array_equal(found[key], whole[key]) for key in SAMPLES)


def spoil(path: str, fault: str) -> None:
    wave, _ = audio.read_audio(path)
    if fault == "nan":
        wave[-3] = np.nan
        soundfile.write(path, wave, RATE, subtype="FLOAT", format="WAV")
    elif fault == "silent":
        audio.write_audio(path, wave * 0, RATE)
    elif fault == "rate":
        audio.write_audio(path, wave, 2 * RATE)
    elif fault == "cut":
        Path(path).write_bytes(Path(path).read_bytes()[:-100])
    elif fault == "length":
        audio.write_audio(path, wave[:-7], RATE)
    else:
        Path(path).write_bytes(b"")


@pytest.mark.parametrize(
    ("fault", "code"),
    [("nan", "E204"), ("silent", "E211"), ("rate", "E221"), ("cut", "E202"), ("length", "E202"), ("empty", "E201")],
)
def test_a_long_file_that_cannot_be_used_is_skipped(tmp_path, small, singles, fault, code):
    spoil(datadir.read_table(singles / "wav.scp")["d"], fault)
    assert run(tmp_path, singles, "--max_skipped", "0.3", "--long_seconds", "0.2") == 0
    dump = tmp_path / "dump" / "train_sources"
    assert (dump / "skipped.tsv").read_text().split("\t")[:3] == ["d", "2", code]
    assert set(content(dump, "codes")) == set(SAMPLES) - {"d"}


def test_a_source_longer_than_its_mixture_is_not_even_read(tmp_path, small, mixtures, monkeypatch):
    audio.write_audio(datadir.read_table(mixtures / "spk1.scp")["d"], np.full(40000, 0.1), RATE)
    read, real = [], audio.read_audio
    monkeypatch.setattr(audio, "read_audio", lambda path, **options: read.append(path) or real(path, **options))
    assert run(tmp_path, mixtures, "--max_skipped", "0.3") == 0
    assert "E230" in (tmp_path / "dump" / "train" / "skipped.tsv").read_text()
    assert not any("spk1.scp-d" in str(path) for path in read)


def test_a_codec_that_cannot_encode_in_chunks_skips_what_is_long(tmp_path, small, singles):
    small.context = None
    assert run(tmp_path, singles, "--max_skipped", "0.5", "--long_seconds", "0.25") == 0
    skipped = (tmp_path / "dump" / "train_sources" / "skipped.tsv").read_text()
    assert skipped.startswith("d\t2\tE344\t") and len(content(tmp_path / "dump" / "train_sources", "codes")) == 4
    assert issubclass(LongSignalError, CodecError)


def test_progress_is_told_in_utterances_and_audio(tmp_path, small, mixtures, monkeypatch, capsys):
    clock = iter(range(0, 1000, 30))
    monkeypatch.setattr("codecsep.bin.progress.time.monotonic", lambda: float(next(clock)))
    assert run(tmp_path, mixtures, "--batch_seconds", "0.3") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "real time" in line]
    assert "1 of 5 utterances, 0.0 s of 1.7 s of audio" in lines[0] and lines[0].endswith("min left")
    assert "5 utterances, 1.7 s of audio in " in lines[-1]


MEASURE = peak_memory.SOURCE + """
import json, sys
from codecsep.bin import tokenise
for words in json.loads(sys.argv[1]):
    assert tokenise.main(words) == 0
    print(peak_bytes())
"""


def long_set(tmp_path, minutes: float, tables: list[str]) -> list[str]:
    """The words of a call of stage 2, with the committed codec, on one 16 kHz file of so many minutes."""
    from codecsep.bin import get_codec

    data, random = tmp_path / "data" / f"train{minutes}", np.random.default_rng(0)
    path = tmp_path / f"{minutes}.wav"
    tmp_path.mkdir(exist_ok=True)
    noise = 0.1 * random.standard_normal(160000) * np.sin(np.arange(160000) / 3000)
    with soundfile.SoundFile(str(path), "w", 16000, 1) as file:
        for _ in range(round(minutes * 6)):
            file.write(noise * random.uniform(0.3, 1))
    for table in tables:
        datadir.write_table(data / table, {"a": path})
    datadir.write_table(data / "utt2num_samples", {"a": round(minutes * 6) * 160000})
    words = ["--codec", get_codec.COMMITTED, "--data", data, "--out", tmp_path / "dump" / data.name]
    return [str(word) for word in words]


def peaks(calls: list[list[str]]) -> list[int]:
    """Peak resident bytes of a process after each of its calls of stage 2, with the settings of path.sh."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment |= {name: "8589934592" for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")}
    command = [sys.executable, "-c", MEASURE, json.dumps(calls)]
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return [int(line) for line in made.stdout.split()]


def test_memory_does_not_grow_with_the_length(tmp_path):
    """Eight minutes more are 31 MB of samples in float32, and ten times as much in spectra.

    How full the heap becomes of holes differs by tens of MB from process to process (nothing is given back to the
    kernel); what grows with the length would show in every one of them.
    """
    found = []
    for attempt in range(4):
        calls = [long_set(tmp_path / str(attempt), minutes, ["wav.scp"]) for minutes in (2, 10)]
        found.append(peaks(calls))
        if found[-1][1] - found[-1][0] < 30e6:
            break
    assert max(max(pair) for pair in found) < 1e9 and found[-1][1] - found[-1][0] < 30e6, f"bytes: {found}"
    tmp_path = tmp_path / str(attempt)
    assert TokenReader(tmp_path / "dump" / "train10" / "codes.scp").num_frames("a") == 30000


@pytest.mark.long
@pytest.mark.parametrize("tables", [["wav.scp"], ["wav.scp", "spk1.scp", "spk2.scp"]])
def test_two_hours_stay_under_two_gigabytes(tmp_path, tables):
    (peak,) = peaks([long_set(tmp_path, 120, tables)])
    print(f"{peak / 1e6:.0f} MB")
    assert peak < 1e9
