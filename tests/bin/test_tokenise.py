"""Stage 2 on a toy codec: exact lengths, shards, skipped utterances, what is done stays done."""

import json
import os

import numpy as np
import pytest
import torch
from toy_codec import HOP, LEVELS, RATE, SAMPLES, SIZE, content, run

from codecsep.bin import shards
from codecsep.data import audio, datadir
from codecsep.data.ark import ArkError, CodecInfo, read_codec_info, write_codec_info
from codecsep.data.examples import Dataset


def test_batched_equals_one_by_one_with_exact_lengths(tmp_path, codec, singles):
    assert run(tmp_path, singles, "--batch_seconds", "0.9") == 0
    assert max(codec.encoded) > 1 and len(codec.encoded) > 1
    batched = content(tmp_path / "dump" / "train_sources", "codes")
    for key, path in datadir.read_table(singles / "wav.scp").items():
        wave = torch.from_numpy(audio.read_audio(path)[0])[None]
        codes, _ = codec.encode(wave, torch.tensor([wave.shape[1]]))
        assert np.array_equal(batched[key], codes[0].numpy())
        assert batched[key].shape == (LEVELS, -(-SAMPLES[key] // HOP))


def test_every_file_of_the_dump(tmp_path, codec, mixtures):
    assert run(tmp_path, mixtures) == 0
    dump = tmp_path / "dump" / "train"
    assert read_codec_info(dump) == codec.info
    assert datadir.read_table(dump / "utt2num_frames") == {key: str(-(-n // HOP)) for key, n in SAMPLES.items()}
    assert (dump / "skipped.tsv").read_text() == ""
    manifest = json.loads((dump / "manifest.json").read_text())
    assert manifest["counts"] == {"given": 5, "made": 5, "skipped": 0} and (dump / ".done").is_file()
    assert set(content(dump, "spk1_codes")) == set(content(dump, "spk2_codes")) == set(SAMPLES)


def test_zeros_at_the_end_of_a_source_are_padding(tmp_path, codec, mixtures):
    path = datadir.read_table(mixtures / "spk2.scp")["d"]
    wave, _ = audio.read_audio(path)
    wave[600:] = 0
    audio.write_audio(path, wave, RATE)
    run(tmp_path, mixtures)
    assert content(tmp_path / "dump" / "train", "spk2_codes")["d"].shape == (LEVELS, 4)
    assert Dataset(mixtures, tmp_path / "dump" / "train", ("codes",)).lengths[3] == 15


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_jobs_give_what_one_job_gives(tmp_path, codec, singles, order):
    run(tmp_path, singles)
    dump = tmp_path / "dump" / "train_sources"
    alone = content(dump, "codes")
    (dump / "manifest.json").unlink()
    (dump / "codes.scp").unlink()
    for job in order:
        assert not (dump / "codes.scp").exists()
        assert run(tmp_path, singles, "--job", f"{job}/3") == 0
    joined = content(dump, "codes")
    assert list(joined) == sorted(alone) and all(np.array_equal(joined[key], alone[key]) for key in alone)
    assert len((dump / "codes.crc").read_text().splitlines()) == 5


def test_more_jobs_than_utterances(tmp_path, codec, singles):
    assert [run(tmp_path, singles, "--job", f"{job}/7") for job in range(1, 8)] == [0] * 7
    assert set(content(tmp_path / "dump" / "train_sources", "codes")) == set(SAMPLES)


def test_what_is_done_is_not_done_again(tmp_path, codec, singles, capsys):
    run(tmp_path, singles)
    before = len(codec.encoded)
    assert run(tmp_path, singles) == 0 and run(tmp_path, singles, "--job", "2/3") == 0
    assert len(codec.encoded) == before and "up to date" in capsys.readouterr().err


def test_an_unfinished_run_goes_on_with_what_is_missing(tmp_path, codec, singles):
    run(tmp_path, singles, "--job", "1/2")
    before = len(codec.encoded)
    run(tmp_path, singles, "--job", "1/2")
    assert len(codec.encoded) == before
    run(tmp_path, singles, "--job", "2/2")
    assert len(codec.encoded) > before and len(content(tmp_path / "dump" / "train_sources", "codes")) == 5


@pytest.mark.parametrize("change", ["codec", "audio", "list"])
def test_other_codec_or_audio_is_tokenised_anew(tmp_path, codec, singles, change):
    run(tmp_path, singles)
    before = len(codec.encoded)
    if change == "codec":
        write_codec_info(tmp_path / "codec", CodecInfo("toy", "f1", RATE, RATE / HOP, HOP, LEVELS, SIZE))
    elif change == "audio":
        path = datadir.read_table(singles / "wav.scp")["b"]
        audio.write_audio(path, np.full(1600, 0.25), RATE)
    else:
        for table in ("wav.scp", "utt2num_samples"):
            rows = datadir.read_table(singles / table)
            datadir.write_table(singles / table, {key: value for key, value in rows.items() if key != "b"})
    assert run(tmp_path, singles) == 0 and len(codec.encoded) > before
    codes = content(tmp_path / "dump" / "train_sources", "codes")
    assert ("b" in codes) == (change != "list")
    assert change != "audio" or (codes["b"][0] == int(1.25 / 2 * (SIZE - 1))).all()


def test_what_a_killed_run_left_is_removed(tmp_path, codec, singles):
    dump = tmp_path / "dump" / "train_sources"
    run(tmp_path, singles)
    before = {path.name for path in dump.iterdir()}
    (dump / "manifest.json").unlink()
    (dump / "shard.1of1.json").unlink()
    host = os.uname().nodename.replace(".", "-")
    (dump / f".codes.ark.{host}.999999999.0123abcd.tmp").write_bytes(b"a \0BFM half a rec")
    run(tmp_path, singles)
    assert {path.name for path in dump.iterdir()} == before and len(content(dump, "codes")) == 5


def test_back_to_an_earlier_codec_with_another_number_of_jobs(tmp_path, codec, singles):
    dump = tmp_path / "dump" / "train_sources"
    infos = [CodecInfo("toy", name, RATE, RATE / HOP, HOP, LEVELS, SIZE) for name in ("f1", "f2")]
    for info, jobs in zip([*infos, infos[0]], (1, 2, 1), strict=True):
        write_codec_info(tmp_path / "codec", info)
        before = len(codec.encoded)
        for job in range(1, jobs + 1):
            run(tmp_path, singles, "--job", f"{job}/{jobs}")
        assert len(codec.encoded) > before and read_codec_info(dump) == info
        parts = {"codes.ark"} if jobs == 1 else {"codes.1.ark", "codes.2.ark"}
        assert {path.name for path in dump.glob("*.ark")} == parts and len(content(dump, "codes")) == 5


def break_file(path: str, fault: str) -> tuple[str, str]:
    """Spoil one audio file; a word of the reason that must be given, and the code."""
    wave, _ = audio.read_audio(path)
    if fault == "rate":
        audio.write_audio(path, wave, 2 * RATE)
        return "16000 Hz", "E221"
    if fault == "length":
        audio.write_audio(path, wave[:-7], RATE)
        return "utt2num_samples", "E202"
    if fault == "silent":
        audio.write_audio(path, wave * 0, RATE)
        return "silent", "E211"
    if fault == "nan":
        import soundfile

        soundfile.write(path, np.full(len(wave), np.nan, np.float32), RATE, subtype="FLOAT", format="WAV")
        return "NaN", "E204"
    with open(path, "wb") as file:
        file.write(b"" if fault == "empty" else b"this is text\n")
    return ("0 bytes" if fault == "empty" else "not an audio file"), "E201"


@pytest.mark.parametrize("fault", ["rate", "length", "silent", "nan", "empty", "text"])
def test_unusable_audio_is_skipped_with_its_reason(tmp_path, codec, singles, fault):
    reason, expected = break_file(datadir.read_table(singles / "wav.scp")["d"], fault)
    assert run(tmp_path, singles, "--max_skipped", "0.3") == 0
    dump = tmp_path / "dump" / "train_sources"
    key, stage, code, told = (dump / "skipped.tsv").read_text().rstrip("\n").split("\t")
    assert (key, stage, code) == ("d", "2", expected) and reason in told
    assert set(content(dump, "codes")) == set(SAMPLES) - {"d"} == set(datadir.read_table(dump / "utt2num_frames"))


def test_an_utterance_is_skipped_with_all_its_speakers(tmp_path, codec, mixtures):
    break_file(datadir.read_table(mixtures / "spk2.scp")["d"], "empty")
    assert run(tmp_path, mixtures, "--max_skipped", "0.3") == 0
    dump = tmp_path / "dump" / "train"
    assert "d" not in content(dump, "spk1_codes") and "d" not in content(dump, "spk2_codes")
    assert Dataset(mixtures, dump, ("codes",)).ids == ["a", "b", "c", "e"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_too_many_skipped_fails_and_leaves_no_scp(tmp_path, codec, singles, capsys, jobs):
    path = datadir.read_table(singles / "wav.scp")["d"]
    wave, _ = audio.read_audio(path)
    break_file(path, "empty")
    assert [run(tmp_path, singles, "--job", f"{job}/{jobs}") for job in range(1, jobs + 1)][-1] == 2
    dump = tmp_path / "dump" / "train_sources"
    assert "1 of 5" in capsys.readouterr().err and not (dump / "codes.scp").exists()
    assert (dump / "skipped.tsv").read_text().startswith("d\t")
    audio.write_audio(path, wave, RATE)
    assert [run(tmp_path, singles, "--job", f"{job}/{jobs}") for job in range(1, jobs + 1)][-1] == 0


def test_nothing_usable_fails_even_when_all_may_be_skipped(tmp_path, codec, singles):
    for path in list(datadir.read_table(singles / "wav.scp").values()):
        break_file(path, "silent")
    assert run(tmp_path, singles, "--max_skipped", "1") == 2


def test_a_codec_that_miscounts_is_refused(tmp_path, codec, singles, monkeypatch, capsys):
    monkeypatch.setattr(codec, "num_frames", lambda samples: 7)
    assert run(tmp_path, singles) == 2
    assert "stage 1" in capsys.readouterr().err and not list((tmp_path / "dump").rglob("*.scp"))


def test_other_rate_of_the_whole_directory_is_resampled(tmp_path, codec, singles):
    codec.info = CodecInfo("toy", "f0", RATE // 2, RATE / 2 / HOP, HOP, LEVELS, SIZE)
    assert run(tmp_path, singles) == 0
    assert content(tmp_path / "dump" / "train_sources", "codes")["d"].shape == (LEVELS, -(-1200 // HOP))


@pytest.mark.parametrize("job", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_job_is_checked(job):
    with pytest.raises(shards.ShardError, match="<i>/<n>"):
        shards.job_of(job)


def test_mistakes_on_the_command_line(tmp_path, codec, singles, capsys):
    assert run(tmp_path, singles, "--jobs", "3") == 2
    assert "--jobs" in capsys.readouterr().err
    (tmp_path / "codec" / "codec.json").unlink()
    assert run(tmp_path, singles) == 2
    assert "stage 1" in capsys.readouterr().err


def test_a_dump_that_was_tampered_with_is_found(tmp_path, codec, mixtures):
    run(tmp_path, mixtures)
    dump = tmp_path / "dump" / "train"
    data = (dump / "spk1_codes.ark").read_bytes()
    (dump / "spk1_codes.ark").write_bytes(data[:-3])
    with pytest.raises(ArkError, match="stage 2"):
        content(dump, "spk1_codes")
