"""Stage 6 when something goes wrong: killed half-way, damaged, locked, endless, late, inputs missing (E1, E3, E4)."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from toy_system import RATE, ToyCodec, ToySeparator, make_experiment, tones

from codecsep.bin import separate, separation
from codecsep.codecs import base as codecs
from codecsep.data import audio, datadir, manifest
from codecsep.data.datadir import Path
from codecsep.data.lock import locked

LENGTHS = {"utt_a": 1.0, "utt_b": 0.3, "utt_c": 0.8, "utt_d": 0.6, "utt_e": 0.5}
FIXED = "--data data/test --exp exp --batch_size 2 --part_size 2 --device cpu".split()
BATCHES = [["utt_c", "utt_a"], ["utt_e", "utt_d"], ["utt_b"]]  # of two, the longest batch first
ODD = {".lock", ".stamps", "timing.json"}  # the process, a cache of times, the clock


@pytest.fixture
def system(monkeypatch, tmp_path):
    """exp/{ar,nar,codec} and data/test of five mixtures; loading the networks gives the toys."""
    separator = ToySeparator()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(separation, "load_separator", lambda *given: separator)
    monkeypatch.setattr(codecs, "load", lambda path, *rest: ToyCodec())
    make_experiment(tmp_path / "exp")
    for name, seconds in LENGTHS.items():
        audio.write_audio(f"data/wav/{name}.wav", tones(seconds).sum(0), RATE)
    datadir.write_table("data/test/wav.scp", {name: f"data/wav/{name}.wav" for name in LENGTHS})
    return separator


def run(*words, out="out"):
    return separate.main([*FIXED, "--out", out, *map(str, words)])


def contents(out="out"):
    files = [path for path in Path(out).rglob("*") if path.is_file() and path.name not in ODD]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def stop_at(system, monkeypatch, key):
    """A separator that dies at the batch with this mixture."""
    plain = system.separate

    def separate_(mixtures, options, keys):
        if key in keys:
            raise KeyboardInterrupt
        return plain(mixtures, options, keys)

    monkeypatch.setattr(system, "separate", separate_)
    return lambda: monkeypatch.setattr(system, "separate", plain)


def test_e4_what_was_decoded_is_not_decoded_again_and_the_result_is_the_same(system, monkeypatch, capsys):
    assert run() == 0 and system.calls == BATCHES
    clean = contents()
    shutil.rmtree("out")
    system.calls.clear()
    mend = stop_at(system, monkeypatch, "utt_b")
    with pytest.raises(KeyboardInterrupt):
        run()
    assert system.calls == BATCHES[:2] and not Path("out/.done").exists()
    mend()
    assert run() == 0
    assert system.calls == BATCHES and "2 of 3 parts are there" in capsys.readouterr().err
    assert contents() == clean and "manifest.json" in clean and not Path("out/.parts").exists()


@pytest.mark.parametrize(
    "words", [["--seed", 2], ["--batch_size", 3], ["--part_size", 3], ["--precision", "bf16"], ["--loop_period", 4]]
)
def test_batches_of_another_decoding_are_not_taken(system, monkeypatch, words):
    mend = stop_at(system, monkeypatch, "utt_b")
    with pytest.raises(KeyboardInterrupt):
        run()
    mend()
    system.calls.clear()
    assert run(*words) == 0
    assert sorted(sum(system.calls, [])) == sorted(LENGTHS)


def test_a_batch_that_was_damaged_after_the_kill_is_decoded_again(system, monkeypatch):
    run(out="clean")
    mend = stop_at(system, monkeypatch, "utt_b")
    with pytest.raises(KeyboardInterrupt):
        run()
    mend()
    with open("out/.parts/wav/utt_c_spk2.wav", "r+b") as file:
        file.seek(100)
        file.write(b"\x01\x02")
    system.calls.clear()
    assert run() == 0
    assert system.calls == [BATCHES[0], BATCHES[2]]
    assert contents("clean")["wav/utt_c_spk2.wav"] == contents()["wav/utt_c_spk2.wav"]


def harm(kind):
    path = Path("out/wav/utt_c_spk1.wav")
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "flipped":
        path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    elif kind == "missing":
        path.unlink()
    elif kind == "list":
        Path("out/spk2.scp").write_text("utt_a out/wav/utt_a_spk1.wav\n")
    else:
        Path("out/manifest.json").write_text(Path("out/manifest.json").read_text().replace('"stage"', '"Stage"'))


@pytest.mark.parametrize("kind", ["cut", "flipped", "missing", "list", "manifest"])
def test_what_was_damaged_is_noticed_and_made_again(system, kind):
    run()
    before = contents()
    harm(kind)
    assert contents() != before
    system.calls.clear()
    assert run() == 0
    assert system.calls == BATCHES and contents() == before


def test_a_second_run_says_so_in_one_line_and_without_torch(system):
    run()
    before = contents()
    code = (
        "import sys; from codecsep.bin import separate; status = separate.main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules, 'torch was imported'; sys.exit(status)"
    )
    words = [*FIXED, "--out", "out"]
    environment = {**os.environ, "PYTHONPATH": str(Path(separate.__file__).parents[2])}
    result = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment)
    assert (result.returncode, result.stderr) == (0, "out: already decoded (5 mixtures), up to date\n")
    assert contents() == before


def test_force_decodes_once_more(system):
    run()
    system.calls.clear()
    assert run("--force") == 0 and system.calls == BATCHES


def test_a_directory_that_is_being_written_is_refused(system, capsys):
    with locked("out"):
        assert run() == 2
    assert "E630 out: is being written by process" in capsys.readouterr().err and not system.calls


def test_e1_mixtures_without_an_end_are_flagged_and_counted_and_too_many_are_an_error(system, monkeypatch, capsys):
    plain = system.one

    def endless(mixture, key):
        result = plain(mixture, key)
        result.stats["eos_missing"] = int(key != "utt_b")
        return result

    monkeypatch.setattr(system, "one", endless)
    assert run("--max_missing_eos", 0.7) == 2
    message = capsys.readouterr().err
    assert "E534 utt_a and others: 4 of 5 mixtures were cut" in message and not Path("out/.done").exists()
    system.calls.clear()
    assert run("--max_missing_eos", 0.8) == 0 and not system.calls  # nothing is decoded again
    summary = json.loads(Path("out/decode.json").read_text())
    assert summary["missing_eos"] == 4 and summary["flags"] == {"no_eos": 4}
    flags = {line.split("\t")[0]: line.split("\t")[-1] for line in Path("out/decode.tsv").read_text().splitlines()}
    assert flags["utt_a"] == "no_eos" and flags["utt_b"] == "-"


def test_e1_empty_speakers_and_too_many_of_them_are_flagged(system, monkeypatch):
    plain = system.one

    def odd(mixture, key):
        result = plain(mixture, key)
        if key == "utt_a":
            result.codes[1] = result.codes[1][:, :0]
        elif key == "utt_b":
            result.codes += result.codes[:1]
        return result

    monkeypatch.setattr(system, "one", odd)
    assert run("--num_speakers", 2) == 0
    assert json.loads(Path("out/decode.json").read_text())["flags"] == {"empty": 1, "too_many_spk": 1}
    assert list(datadir.read_table("out/spk3.scp")) == ["utt_b"]
    silent, _ = audio.read_audio(datadir.read_table("out/spk2.scp")["utt_a"])
    assert len(silent) == RATE and not silent.any()


def test_e3_a_mixture_that_takes_too_long_is_flagged_and_the_others_are_decoded(system, monkeypatch):
    run(out="clean")
    plain = system.one

    def slow(mixture, key):
        if key == "utt_c":
            time.sleep(30)
        return plain(mixture, key)

    monkeypatch.setattr(system, "one", slow)
    began = time.monotonic()
    assert run("--max_seconds", 0.3, "--num_speakers", 2) == 0
    assert time.monotonic() - began < 10
    assert json.loads(Path("out/decode.json").read_text())["flags"] == {"empty": 1, "time_out": 1}
    late, _ = audio.read_audio("out/wav/utt_c_spk1.wav")
    assert not np.any(late)
    ours, clean = contents(), contents("clean")
    assert all(ours[name] == clean[name] for name in clean if name.startswith("wav/") and "utt_c" not in name)


def test_a_training_that_was_not_finished_is_refused_naming_the_stage(system, capsys):
    Path("exp/ar/checkpoints").mkdir()
    assert run() == 2
    assert "E120 exp/ar: exp/ar/.done is missing" in capsys.readouterr().err and not system.calls


def test_weights_and_lists_that_changed_since_are_refused_with_both_hashes(system, capsys):
    source = Path("conf.yaml")
    source.write_text("one\n")
    weights = Path("exp/ar/best.safetensors")
    manifest.finish(Path("exp/ar"), manifest.Work("4", [source]), [weights], manifest.Counts(0, 0))
    assert run() == 0
    source.write_text("two\n")
    assert run("--seed", 3) == 2
    told = capsys.readouterr().err
    assert "E121 exp/ar" in told and "conf.yaml" in told and told.count("SHA-256 was") == 1
    source.write_text("one\n")
    weights.write_bytes(b"aR")
    assert run("--seed", 3) == 2
    assert "E120 exp/ar: exp/ar/best.safetensors is damaged or was changed" in capsys.readouterr().err


def test_the_recordings_behind_the_list_count(system):
    run()
    audio.write_audio("data/wav/utt_b.wav", tones(0.3, gains=(0.1, 0.3)).sum(0), RATE)
    system.calls.clear()
    assert run() == 0 and system.calls == BATCHES
