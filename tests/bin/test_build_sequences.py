"""Stage 3 on a toy codec: sequences in SOT order, what is done stays done, codes that cannot be right are refused."""

import json
import os
import re

import numpy as np
import pytest
import torch
from toy_codec import LEVELS, SAMPLES, SIZE, SMALL, build, content, flip, killed, run, snapshot

from codecsep.data import datadir, manifest
from codecsep.data.ark import TokenReader, TokenWriter
from codecsep.data.examples import Dataset
from codecsep.data.lock import locked
from codecsep.tokens import sot
from codecsep.tokens.vocab import Vocab


def test_sequences_split_back_into_the_codes_in_sot_order(tmp_path, codec, mixtures, small_model):
    run(tmp_path, mixtures)
    assert build(tmp_path, SMALL) == 0
    dump = tmp_path / "dump" / "train"
    names = (dump / "token_list.txt").read_text().split()
    assert names[0] == "code_0" and names[63:] == ["code_63", "<sos>", "<sc>", "<eos>"]
    stored = Dataset(mixtures, dump, ("sequence", "codes"))
    for index, key in enumerate(stored.ids):
        example = stored[index]
        second, first = content(dump, "spk2_codes")[key], content(dump, "spk1_codes")[key]
        speakers = sot.split(torch.from_numpy(example["sequence"]), Vocab(SIZE))
        assert np.array_equal(speakers[0], second) and np.array_equal(speakers[1], first)
        assert datadir.read_table(dump / "utt2seq_len")[key] == str(example["sequence"].shape[1])


def test_a_model_without_sequences_says_so(tmp_path, codec, mixtures, small_model, capsys):
    run(tmp_path, mixtures)
    small_model.sequence = lambda self, example: None
    assert build(tmp_path, SMALL) == 0
    assert "needs no sequences" in capsys.readouterr().err
    small_model.fields = ("mixture", "sources")
    assert build(tmp_path, SMALL) == 0
    assert not list((tmp_path / "dump").rglob("seq.*"))


def test_sizes_of_model_and_codec_must_agree(tmp_path, codec, mixtures, small_model, capsys):
    run(tmp_path, mixtures)
    assert build(tmp_path, SMALL, "--network.codebook_size", "63") == 2
    assert "set it to 64" in capsys.readouterr().err
    assert build(tmp_path, SMALL, "--network.codebok_size", "64") == 2
    assert "nearest: 'network.codebook_size'" in capsys.readouterr().err


def test_sequences_before_codes_name_the_stage(tmp_path, mixtures, small_model, capsys):
    assert build(tmp_path, SMALL) == 2
    assert "stage 2" in capsys.readouterr().err


def dump_of(tmp_path):
    return tmp_path / "dump" / "train"


@pytest.fixture
def done(tmp_path, codec, mixtures, small_model, capsys):
    """The dump directory after stages 2 and 3."""
    assert run(tmp_path, mixtures) == 0 and build(tmp_path, SMALL) == 0
    capsys.readouterr()
    return dump_of(tmp_path)


def test_what_is_done_is_not_done_again(tmp_path, done, small_model, capsys):
    before = {path: path.stat().st_mtime_ns for path in done.glob("seq*")}
    assert json.loads((done / "seq.manifest.json").read_text())["counts"] == {"given": 5, "made": 5, "skipped": 0}
    small_model.sequence = None  # would fail
    assert build(tmp_path, SMALL) == 0
    assert capsys.readouterr().err == f"build_sequences: {done} is up to date: same codes, same model\n"
    assert {path: path.stat().st_mtime_ns for path in done.glob("seq*")} == before


@pytest.mark.parametrize("harm", ["ark", "scp", "token_list.txt", "done", "order"])
def test_what_is_damaged_or_outdated_is_made_again(tmp_path, done, mixtures, harm, capsys):
    clean = snapshot(done)
    if harm == "ark":
        flip(done / "seq.ark")
    elif harm == "done":
        (done / ".seq.done").unlink()
    elif harm == "order":
        datadir.write_table(mixtures / "sot_order", {key: "1 2" for key in SAMPLES})
    else:
        (done / ("seq.scp" if harm == "scp" else harm)).unlink()
    assert build(tmp_path, SMALL) == 0 and "up to date" not in capsys.readouterr().err
    assert (snapshot(done) == clean) == (harm != "order")
    if harm == "order":
        first = content(done, "spk1_codes")["a"]
        stored = Dataset(mixtures, done, ("sequence",))[0]["sequence"]
        assert np.array_equal(sot.split(torch.from_numpy(stored), Vocab(SIZE))[0], first)


@pytest.mark.parametrize(
    "point",
    ["sequences.mid", "sequences.mid@5", "ark.before_lists", "atomic.before_rename@2", "atomic.after_rename@4",
     "manifest.before_done", "manifest.after_done"],
)  # fmt: skip
def test_killed_and_run_again_gives_the_same_bytes(tmp_path, codec, mixtures, small_model, point):
    run(tmp_path, mixtures)
    assert killed(lambda: build(tmp_path, SMALL), point)
    assert (manifest.problem(dump_of(tmp_path), "seq") is None) == (point == "manifest.after_done")
    assert build(tmp_path, SMALL) == 0
    after = snapshot(dump_of(tmp_path))
    assert build(tmp_path, SMALL, "--force") == 0
    assert snapshot(dump_of(tmp_path)) == after and not [name for name in after if name.endswith(".tmp")]


def test_stage_2_must_be_done_and_whole(tmp_path, done, capsys):
    flip(done / "spk1_codes.ark")
    os.utime(done / "spk1_codes.ark")
    assert build(tmp_path, SMALL) == 2
    assert f"E120 {done}: {done}/spk1_codes.ark is damaged" in capsys.readouterr().err
    (done / ".done").unlink()
    assert build(tmp_path, SMALL) == 2
    told = capsys.readouterr().err
    assert (
        told == f"build_sequences: E120 {done}: {done}/.done is missing: it was never finished (fix: run --stage 2)\n"
    )


def test_changed_audio_lists_are_refused(tmp_path, done, mixtures, capsys):
    table = datadir.read_table(mixtures / "utt2num_samples")
    datadir.write_table(mixtures / "utt2num_samples", {**table, "a": 999})
    assert build(tmp_path, SMALL) == 2
    err = capsys.readouterr().err
    assert f"E121 {done}: it was made from what has changed since: {mixtures}/utt2num_samples" in err
    assert "(fix: run --stage 2 again, or restore the file)" in err


def test_two_at_once(tmp_path, done, capsys):
    with locked(done, ".seq.lock"):
        assert build(tmp_path, SMALL, "--force") == 2
    assert f"E630 {done}: is being written by process {os.getpid()} on" in capsys.readouterr().err


def rewrite(dump, name: str, codes: dict) -> None:
    """Replace an ark and vouch for it in the manifest, as a faulty stage 2 would."""
    with TokenWriter(dump / name) as writer:
        for key, matrix in codes.items():
            writer.write(key, matrix)
    made = manifest.read(dump)
    job = manifest.Work("2", [], made["values"])
    manifest.finish(dump, job, [dump / file for file in made["outputs"]], manifest.Counts(**made["counts"]))


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (9, "E305 .*9 frames of 160 samples; the audio has 0 to 1000 samples"),
        (6, "longest codes have 6 frames, .* says 7"),
    ],
)
def test_codes_that_do_not_fit_the_audio(tmp_path, done, size, told, capsys):
    for name in ("spk1_codes", "spk2_codes"):
        codes = content(done, name)
        codes["a"] = np.resize(codes["a"], (LEVELS, size))
        rewrite(done, name, codes)
    assert build(tmp_path, SMALL) == 2
    err = capsys.readouterr().err
    assert re.search(told, err) and f"{done}, a" in err and "run --stage 2 again" in err


def test_a_model_must_lay_out_all_or_none(tmp_path, codec, mixtures, small_model, capsys):
    run(tmp_path, mixtures)
    whole = small_model.sequence
    small_model.sequence = lambda self, example: None if example["id"] == "c" else whole(self, example)
    assert build(tmp_path, SMALL) == 2
    assert "E341" in capsys.readouterr().err and not list(dump_of(tmp_path).glob("seq.*"))


def test_skipped_utterances_are_not_missed(tmp_path, codec, mixtures, small_model):
    with open(datadir.read_table(mixtures / "spk2.scp")["d"], "wb"):
        pass
    assert run(tmp_path, mixtures, "--max_skipped", "0.3") == 0 and build(tmp_path, SMALL) == 0
    assert set(TokenReader(dump_of(tmp_path) / "seq.scp")) == set(SAMPLES) - {"d"}
    counts = json.loads((dump_of(tmp_path) / "seq.manifest.json").read_text())["counts"]
    assert counts == {"given": 4, "made": 4, "skipped": 0}
