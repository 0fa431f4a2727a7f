import json
import re

import numpy as np
import pytest
import soundfile
from toy_system import RATE, ToyCodec, ToySeparator, make_experiment, tones

from codecsep.bin import cli, separate, separation
from codecsep.codecs import base as codecs
from codecsep.data import audio, datadir


@pytest.fixture
def system(monkeypatch, tmp_path):
    """A working directory with exp/{ar,nar,codec}; loading them gives the toys."""
    separator = ToySeparator()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(separation, "load_separator", lambda *given: separator)
    monkeypatch.setattr(codecs, "load", lambda path, *rest: ToyCodec())
    make_experiment(tmp_path / "exp")
    return separator


def run(*words):
    return separate.main([str(word) for word in (*words, "--exp", "exp", "--out", "out")])


def estimates(name, folder="out"):
    read = [soundfile.read(path, dtype="float32") for path in sorted((datadir.Path(folder)).glob(f"{name}_spk*.wav"))]
    return np.stack([samples for samples, _ in read]), {rate for _, rate in read}


def correlation(first, second):
    return float(np.corrcoef(first, second)[0, 1])


def similar(first, second):
    """Envelopes over 20 ms: what the toy codec keeps at any phase."""
    size = len(first) // 320 * 320
    return correlation(*(np.abs(x[:size]).reshape(-1, 320).mean(1) for x in (first, second)))


@pytest.mark.parametrize("rate", [16000, 8000, 44100, 11025])
@pytest.mark.parametrize("seconds", [0.2, 3.0])
def test_any_rate_gives_the_same_rate_and_length(system, rate, seconds):
    sources = tones(seconds, rate)
    audio.write_audio("mix.wav", sources.sum(0), rate)
    assert run("mix.wav") == 0
    found, rates = estimates("mix")
    assert rates == {rate} and found.shape == sources.shape
    if seconds > 1:
        assert min(similar(a, b) for a, b in zip(found, sources, strict=True)) > 0.9
    assert np.sqrt((found.sum(0) ** 2).mean()) == pytest.approx(np.sqrt((sources.sum(0) ** 2).mean()), rel=1e-3)


def test_separates_exactly_what_the_toy_can(system):
    sources = tones(3.0)
    audio.write_audio("mix.wav", sources.sum(0), RATE)
    run("mix.wav")
    found, _ = estimates("mix")
    assert min(correlation(a, b) for a, b in zip(found, sources, strict=True)) > 0.99


def test_sixty_seconds_keep_their_speakers_across_windows(system):
    sources = tones(60.0)
    audio.write_audio("long.wav", sources.sum(0), RATE)
    assert run("long.wav") == 0
    found, _ = estimates("long")
    assert found.shape == sources.shape
    assert sum(map(len, system.calls)) == 10 and max(map(len, system.calls)) <= 8
    assert min(correlation(a, b) for a, b in zip(found, sources, strict=True)) > 0.98


def test_stereo_is_averaged_and_said(system, capsys):
    left, right = tones(1.0, 44100)
    soundfile.write("stereo.wav", np.stack([left, right], 1), 44100)
    assert run("stereo.wav") == 0
    assert "stereo.wav: 2 channels are averaged to one" in capsys.readouterr().err
    found, rates = estimates("stereo")
    assert rates == {44100} and found.shape == (2, 44100)


@pytest.mark.parametrize("num_samples", [1, 7, 3200])
def test_silence_stays_silence(system, num_samples):
    audio.write_audio("silence.wav", np.zeros(num_samples, np.float32), RATE)
    assert run("silence.wav") == 0
    found, _ = estimates("silence")
    assert found.shape == (2, num_samples) and not found.any()


def test_one_speaker_only(system):
    system.num_speakers = 1
    audio.write_audio("mix.wav", tones(1.0)[0], RATE)
    assert run("mix.wav") == 0
    assert estimates("mix")[0].shape == (1, RATE)


def bad_inputs():
    def text():
        datadir.Path("bad.wav").write_text("this is no audio\n")

    def nothing():
        datadir.Path("bad.wav").write_bytes(b"")

    def no_samples():
        soundfile.write("bad.wav", np.zeros(0), RATE)

    def nan():
        soundfile.write("bad.wav", np.array([0.0, np.nan]), RATE, subtype="FLOAT")

    def missing():
        pass

    return {"text": text, "0 bytes": nothing, "no samples": no_samples, "nan": nan, "missing": missing}


@pytest.mark.parametrize("kind", bad_inputs())
def test_a_bad_file_is_one_line_and_exit_2(system, kind, capsys):
    bad_inputs()[kind]()
    audio.write_audio("good.wav", tones(0.5).sum(0), RATE)
    assert run("good.wav", "bad.wav") == 2
    lines = capsys.readouterr().err.strip().split("\n")
    assert len(lines) == 1 and re.fullmatch(r"codecsep-separate: E\d{3} bad\.wav: .+ \(fix: .+\)", lines[0])
    assert not datadir.Path("out").exists()  # all files are read before the first is written


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "give either audio files or --data"),
        (["mix.wav", "--data", "data/test"], "give either audio files or --data"),
        (["mix.wav", "--temperature", "0"], "temperature is 0"),
        (["mix.wav", "--num_speakers", "two"], "num_speakers"),
        (["mix.wav", "--strategy", "greed"], "strategy is 'greed'; allowed: greedy, sample, beam"),
        (["mix.wav", "--window", "1"], "--window must be longer than --overlap"),
        (["mix.wav", "other/mix.wav"], "several recordings are named mix"),
        (["mix.wav", "--batch_size", "0"], "--batch_size is 0"),
        (["mix.wav", "--config", "no.yaml"], "no.yaml: cannot be read"),
    ],
)
def test_bad_calls_are_one_line_and_exit_2(system, words, message, capsys):
    audio.write_audio("mix.wav", tones(0.5).sum(0), RATE)
    assert run(*words) == 2
    lines = capsys.readouterr().err.strip().split("\n")
    assert len(lines) == 1 and message in lines[0]


def test_an_untrained_system_says_how_to_train(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    audio.write_audio("mix.wav", tones(0.5).sum(0), RATE)
    assert separate.main(["mix.wav", "-o", "out", "--exp", "nowhere"]) == 2
    message = capsys.readouterr().err
    assert "nowhere/ar/best.safetensors: no such file" in message and "run.sh" in message and "--exp" in message


def test_the_config_of_the_recipe_is_used_for_files(system, monkeypatch):
    datadir.Path("conf").mkdir()
    datadir.Path("conf/decode.yaml").write_text("strategy: sample\ntemperature: 0.7\nnum_speakers: 2\n")
    audio.write_audio("mix.wav", tones(0.5).sum(0), RATE)
    seen = []
    plain = system.separate
    monkeypatch.setattr(system, "separate", lambda m, options, keys: seen.append(options) or plain(m, options, keys))
    assert run("mix.wav", "--seed", 9) == 0
    assert (seen[0].strategy, seen[0].temperature, seen[0].num_speakers, seen[0].seed) == ("sample", 0.7, 2, 9)


def make_data(lengths, rate=RATE):
    """data/test with a wav.scp alone: there are no references that could be read."""
    table = {}
    for name, seconds in lengths.items():
        audio.write_audio(f"data/wav/{name}.wav", tones(seconds, rate).sum(0), rate)
        table[name] = f"data/wav/{name}.wav"
    datadir.write_table("data/test/wav.scp", table)


def test_a_data_directory(system):
    lengths = {"utt_a": 1.5, "utt_b": 0.31, "utt_c": 2.0, "utt_d": 1.0}
    make_data(lengths)
    assert run("--data", "data/test", "--batch_size", 3, "--part_size", 3) == 0
    assert system.calls == [["utt_d", "utt_a", "utt_c"], ["utt_b"]]
    for speaker in ("spk1", "spk2"):
        table = datadir.read_table(f"out/{speaker}.scp")
        assert list(table) == list(lengths)
        for name, path in table.items():
            assert path == f"out/wav/{name}_{speaker}.wav"
            assert audio.num_samples(path) == round(lengths[name] * RATE)
    head, *rows = [line.split("\t") for line in datadir.Path("out/decode.tsv").read_text().splitlines()]
    row = dict(zip(head, rows[1], strict=True))
    assert row["id"] == "utt_b" and row["num_speakers"] == "2" and row["frames"] == "16,16"
    assert (
        row["loop_blocks"] == "3"
        and row["missing_eos"] == "0"
        and row["bound_hits"] == "-"
        and row["seconds"] == "0.3100"
    )
    summary = json.loads(datadir.Path("out/decode.json").read_text())
    assert summary["seed"] == 1 and summary["num_mixtures"] == 4 and summary["loop_blocks"] == 12
    assert summary["missing_eos"] == 0 and "bound_hits" not in summary
    assert set(summary["inputs"]["models"]) == {"exp/ar", "exp/nar"} and "rtf" not in summary
    timing = json.loads(datadir.Path("out/timing.json").read_text())
    assert timing["rtf"] > 0 and list(timing["mixtures"]) == list(lengths)


def test_a_second_run_is_already_decoded_and_other_inputs_are_not(system, capsys):
    make_data({"utt_a": 0.5})
    run("--data", "data/test")
    calls = len(system.calls)
    assert run("--data", "data/test", "--batch_size", 2) == 0
    assert len(system.calls) == calls and "already decoded" in capsys.readouterr().err
    for change in (
        lambda: None,
        lambda: datadir.Path("exp/nar/best.safetensors").write_bytes(b"trained on"),
        lambda: make_data({"utt_a": 0.6}),
    ):
        change()
        assert run("--data", "data/test", "--seed", 5) == 0
        calls += 1
        assert len(system.calls) == calls


def test_the_log_beside_survives_and_stale_speakers_do_not(system):
    make_data({"utt_a": 0.5})
    datadir.Path("out/log").mkdir(parents=True)
    datadir.Path("out/log/separate.log").write_text("started\n")
    datadir.Path("out/spk3.scp").write_text("utt_a out/wav/utt_a_spk3.wav\n")
    assert run("--data", "data/test") == 0
    assert datadir.Path("out/log/separate.log").is_file() and not datadir.Path("out/spk3.scp").exists()


def test_an_interrupted_run_leaves_nothing_that_looks_finished(system, monkeypatch):
    make_data({"utt_a": 0.5, "utt_b": 0.6})
    run("--data", "data/test")

    def stop(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(system, "separate", stop)
    with pytest.raises(KeyboardInterrupt):
        run("--data", "data/test", "--seed", 2)
    assert not datadir.Path("out/.done").exists() and datadir.Path("out/decode.json").exists()
    assert not list(datadir.Path("out").glob(".*.tmp"))


def test_batch_size_does_not_change_the_estimates(system):
    make_data({f"utt_{i}": 0.3 + 0.13 * i for i in range(5)})
    run("--data", "data/test", "--batch_size", 1)
    alone = {i: estimates(f"utt_{i}", "out/wav")[0] for i in range(5)}
    datadir.Path("out/decode.json").unlink()
    run("--data", "data/test", "--batch_size", 5)
    assert all(np.array_equal(alone[i], estimates(f"utt_{i}", "out/wav")[0]) for i in range(5))


def test_codes_of_another_codec_are_refused(system, capsys):
    audio.write_audio("mix.wav", tones(0.5).sum(0), RATE)
    plain = system.separate

    def shifted(*given):
        found = plain(*given)
        for result in found:
            result.codes = [codes + 190 for codes in result.codes]
        return found

    system.separate = shifted
    assert run("mix.wav") == 2
    assert "mix: codes are" in capsys.readouterr().err


def test_estimates_above_full_scale_are_scaled_together():
    mixture, other = tones(0.5)
    window = separation.Separated(np.stack([mixture + 90 * other, -90 * other]), [25, 25])
    result = separation._join([window], [(0, len(mixture))], RATE, mixture, RATE)
    assert np.abs(result.estimates).max() == pytest.approx(1.0)
    assert np.allclose(result.estimates.sum(0), result.attenuation * mixture, atol=1e-4) and result.attenuation < 1


def test_cli_finds_subcommands_by_name(system, capsys):
    audio.write_audio("mix.wav", tones(0.5).sum(0), RATE)
    assert cli.main(["separate", "mix.wav", "-o", "out", "--exp", "exp"]) == 0
    assert estimates("mix")[0].shape == (2, RATE // 2)
    capsys.readouterr()
    assert cli.main(["separat", "mix.wav"]) == 2
    assert "no subcommand 'separat' (nearest: 'separate')" in capsys.readouterr().err
    assert cli.main([]) == 0
    listing = capsys.readouterr().out
    assert "separate" in listing and "train" in listing and "separation" not in listing
