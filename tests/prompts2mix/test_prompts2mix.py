"""Stage 0 of prompts2mix on a small made-up corpus of the same form: four voices, G.722, official lists."""

import csv
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
from made_up_corpus import LOCAL, REASONS, ROOT, SETS, prepare, snapshot

from codecsep.data import audio, check, datadir
from codecsep.data.datadir import DataDir


def test_all_directories_are_valid(inside):
    for name in SETS:
        assert check.problems(DataDir(f"data/{name}_sources")) == []
        assert check.problems(DataDir(f"data/{name}"), sums=100) == []
    assert [len(DataDir(f"data/{name}").ids) for name in SETS] == [4, 6, 12]


def test_what_is_left_out_is_counted(recipe):
    printed = (recipe / "printed").read_text()
    for reason in REASONS:
        assert sum(f" {reason} " in line and line.endswith(" 1") for line in printed.splitlines()) == 4, reason
    kept = [key for name in SETS for key in DataDir(recipe / f"data/{name}_sources").ids]
    assert len(kept) == len(set(kept)) == 4 * 12 and all("good" in key or "shared" in key for key in kept)


def test_no_sentence_is_in_two_sets(inside, local):
    key = local["voices"].sentence_key
    texts = {name: {key(text) for text in DataDir(f"data/{name}_sources").table("text").values()} for name in SETS}
    paths = {name: set(DataDir(f"data/{name}_sources").table("wav.scp").values()) for name in SETS}
    for one, other in itertools.combinations(SETS, 2):
        assert not texts[one] & texts[other] and not paths[one] & paths[other]
    assert all(len(DataDir(f"data/{name}_sources").table("spk2utt")) == 4 for name in ("train", "test"))


def test_measures_of_the_sources(inside):
    directory = DataDir("data/train_sources")
    for key in directory.ids[:3]:
        samples, _ = audio.read_audio(directory.table("wav.scp")[key])
        assert float(directory.table("utt2peak")[key]) == pytest.approx(np.abs(samples).max(), abs=1e-5)
        assert -40 < float(directory.table("utt2lufs")[key]) < -5
        assert float(directory.table("utt2onset")[key]) < 0.1


def test_mixtures_are_balanced_and_of_different_persons(inside):
    directory = DataDir("data/test")
    speakers = [tuple(value.split("-")) for value in directory.table("utt2spk").values()]
    assert all(len(set(pair)) == 2 for pair in speakers)
    assert {speakers.count(pair) for pair in set(speakers)} == {2} and len(set(speakers)) == 6
    assert sum("en_allison" in pair for pair in speakers) == 6


def test_metadata_tells_the_loudness_and_the_tables_follow_it(inside):
    source_texts = DataDir("data/test_sources").table("text")
    directory = DataDir("data/test")
    with open("data/metadata/test.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({frozenset((row["source_1_ID"], row["source_2_ID"])) for row in rows}) == 12
    for row in rows:
        key = row["mixture_ID"]
        for j in (1, 2):
            assert -33.1 <= float(row[f"source_{j}_lufs"]) <= -24.9 or float(row["clipping_weight"]) < 1
            assert directory.table(f"text_spk{j}")[key] == source_texts[row[f"source_{j}_ID"]]
            assert directory.table(f"utt2lang_spk{j}")[key] == row[f"source_{j}_ID"][:2]


def test_the_csv_gives_the_same_bytes_again(inside, tmp_path):
    again = tmp_path / "again"
    command = [LOCAL / "simulate.py", "--metadata", "data/metadata/test.csv", "--set", again, "--sources"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *map(str, command), "data/test_sources"], env=environment, check=True)
    old = {name.removeprefix("data/test/"): data for name, data in snapshot("data/test").items()}
    new = {name.removeprefix(f"{again}/"): data for name, data in snapshot(again).items()}
    wavs = [name for name in old if name.endswith(".wav")]
    assert len(wavs) == 36 and all(old[name] == new[name] for name in wavs)
    assert all(old[name] == new[name] for name in ("sot_order", "text_spk2", "utt2spk", "utt2num_samples"))


def test_second_run_does_nothing_fast(recipe, tree):
    before = snapshot(recipe)
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = prepare(recipe, tree)
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0 and end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime < 1
    assert result.stdout.count("up to date") == 5 and snapshot(recipe) == before


def test_same_options_same_bytes_other_options_other_mixtures(recipe, tree, tmp_path):
    copy = tmp_path / "system"
    (tmp_path / "wav").symlink_to(recipe.parent / "wav")
    copy.mkdir()
    assert prepare(copy, tree).returncode == 0
    before = snapshot(copy / "data")
    assert list(before.values()) == list(snapshot(recipe / "data").values())
    assert prepare(copy, tree, "--seed", "5").returncode == 0
    after = snapshot(copy / "data")
    assert before.keys() != after.keys() or list(before.values()) != list(after.values())
    sources = [name for name in before if "_sources/" in name]
    assert all(before[name] == after[name] for name in sources), "the seed of the mixtures leaves the split alone"


@pytest.mark.parametrize(("count", "mode"), [(3, "min"), (4, "max")])
def test_three_and_four_speakers(recipe, tree, tmp_path, monkeypatch, count, mode):
    copy = tmp_path / "system"
    (tmp_path / "wav").symlink_to(recipe.parent / "wav")
    copy.mkdir()
    result = prepare(copy, tree, "--num_spk", str(count), "--mode", mode, "--max_offset", "0.2", "--split_seed", "3")
    assert result.returncode == 0, result.stderr
    monkeypatch.chdir(copy)
    directory = DataDir("data/dev")
    assert directory.speakers() == [f"spk{j}" for j in range(1, count + 1)]
    assert check.problems(directory, sums=100) == []
    assert all(len(set(value.split("-"))) == count for value in directory.table("utt2spk").values())


def test_max_prompts_is_a_quick_look(recipe, tree, tmp_path):
    copy = tmp_path / "system"
    (tmp_path / "wav").symlink_to(recipe.parent / "wav")
    copy.mkdir()
    result = prepare(copy, tree, "--max_prompts", "8")
    assert result.returncode == 0 and "no more different ones" in result.stdout
    for name, count in zip(SETS, (24, 4, 4), strict=True):
        ids = DataDir(copy / f"data/{name}_sources").ids
        assert len(ids) == count and set(ids) <= set(DataDir(recipe / f"data/{name}_sources").ids)


def test_a_killed_run_leaves_no_half_directory(recipe, tree, tmp_path):
    """A directory that is damaged is made anew; leftovers beside are removed."""
    copy = tmp_path / "system"
    shutil.copytree(recipe, copy)
    (tmp_path / "wav").symlink_to(recipe.parent / "wav")
    (copy / "data/test/options.json").unlink()
    (copy / "data/test/wav.scp").write_text("half")
    host = os.uname().nodename.replace(".", "-")
    (copy / f"data/.test.{host}.999999999.0123abcd.tmp").mkdir()
    assert prepare(copy, tree).returncode == 0
    assert snapshot(copy / "data").keys() == {
        name.replace(str(recipe), str(copy)) for name in snapshot(recipe / "data")
    }
    assert list(snapshot(copy / "data").values()) == list(snapshot(recipe / "data").values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num_spk", "5"], "4 voices: give 2, 3 or 4"),
        (["--num_spk", "1"], "4 voices: give 2, 3 or 4"),
        (["--mode", "mean"], "invalid choice: 'mean'"),
        (["--num_spk", "two"], "'two' is no whole number"),
        (["--min_duration", "9"], "below --max-duration"),
        (["--max_offset", "2"], "below --min-duration"),
        (["--sede", "1"], "or --seed?"),
        (["--corpus", "/nowhere"], "holds no asterisk-core-sounds-en-g722_1.6.1-1_all.deb"),
    ],
)
def test_mistakes_are_one_clear_line(recipe, tree, options, message):
    result = prepare(recipe, tree, *options)
    assert result.returncode != 0 and message in result.stderr and "Traceback" not in result.stderr


def test_packages_are_checked_by_their_hash(local, tmp_path):
    decode_prompts, voices = local["decode_prompts"], local["voices"]
    for name in voices.SHA256:
        (tmp_path / f"{name}_{voices.VERSION}.deb").write_bytes(b"not the package")
    with pytest.raises(decode_prompts.CorpusError, match="SHA-256 differs.*delete the files"):
        decode_prompts.check_packages(tmp_path)


def test_options_are_stored_beside(recipe):
    options = json.loads((recipe / "data/test/options.json").read_text())
    assert options["num_spk"] == 2 and options["mode"] == "max" and options["number"] == 12
    assert datadir.read_table(recipe / "data/test/sot_order")


@pytest.mark.parametrize(
    ("text", "language", "cleaned"),
    [
        ("dot [.]", "en", "dot"),
        ("letters/space [ ]", "en", "letters/space"),
        ('IAX (note: does not say "2")', "en", "IAX"),
        ("(1 second of silence)", "en", ""),
        ("<beep ascending>", "ru", ""),
        ("[ascending tones]", "fr", "[ascending tones]"),
        ("La conferenza ? piena.", "it", "La conferenza è piena."),
        ("Casella di posta?", "it", "Casella di posta?"),
    ],
)
def test_transcripts_lose_their_notes(local, text, language, cleaned):
    assert local["voices"].clean_transcript(text, language) == cleaned


def test_sentence_keys(local):
    key = local["voices"].sentence_key
    assert key("Press one,  for: YES!") == key("press ONE for yes") == "press one for yes"
    assert key("Нажмите_1.") == "нажмите 1" and key("...") == ""
