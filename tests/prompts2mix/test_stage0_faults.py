"""Stage 0 of prompts2mix killed, damaged, raced: the same command again gives the same bytes; sets are disjoint."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_up_corpus import REASONS, ROOT, SETS, prepare, prepare_killed, snapshot

from codecsep.data import datadir, manifest, skipped
from codecsep.data.datadir import DataDir
from codecsep.data.lock import locked
from codecsep.data.splits import LeakError

LONG = [pytest.param(fault, marks=pytest.mark.long) for fault in ("stage0.mid@6", "manifest.before_done@7")]


@pytest.mark.parametrize("fault", ["stage0.mid@2", "stage0.mid@17", *LONG])
def test_killed_and_run_again_gives_the_same_bytes(recipe, tree, tmp_path, fault):
    """While prompts are decoded, sets listed, mixtures written, a set finished."""
    (tmp_path / "system").mkdir()
    assert prepare_killed(tmp_path / "system", tree, fault)
    assert prepare(tmp_path / "system", tree).returncode == 0
    clean, after = snapshot(recipe.parent), snapshot(tmp_path)
    names = {name.replace(str(recipe.parent), str(tmp_path)) for name in clean if not name.endswith("printed")}
    assert names == set(after), "nothing is left over"
    assert all(after[name] == clean[name.replace(str(tmp_path), str(recipe.parent))] for name in names)


@pytest.mark.parametrize(
    ("file", "made_again"),
    [
        ("data/test/wav/s1/*00003.wav", ["data/test"]),
        ("data/dev/sot_order", ["data/dev"]),
        ("data/train_sources/utt2lufs", ["data/train_sources"]),
        ("data/metadata/dev.csv", []),
        ("data/metadata/skipped.tsv", []),
        ("../wav/en_allison/en_allison-good-03.wav", ["../wav"]),
    ],
)
def test_what_is_damaged_is_made_again_and_nothing_else(done, tree, file, made_again):
    clean = snapshot(done.parent)
    (path,) = done.glob(file) if "*" in file else [done / file]
    os.truncate(path, path.stat().st_size // 2)
    stamps = {name: os.stat(name).st_mtime_ns for name in clean}
    result = prepare(done, tree)
    assert result.returncode == 0 and snapshot(done.parent) == clean
    told = [line.split(": made again: ")[0] for line in result.stdout.splitlines() if ": made again: " in line]
    assert told == made_again, result.stdout
    changed = {os.path.relpath(name, done) for name in clean if os.stat(name).st_mtime_ns != stamps[name]}
    assert all(any(name.startswith(f"{folder}/") for folder in [*made_again, "data/metadata"]) for name in changed)


def test_a_deleted_file_and_a_deleted_folder(done, tree):
    clean = snapshot(done.parent)
    (done / "data/dev/utt2spk").unlink()
    shutil.rmtree(done / "data/test_sources")
    assert prepare(done, tree).returncode == 0 and snapshot(done.parent) == clean


def test_every_prompt_is_in_a_set_or_listed_with_a_reason(recipe, local):
    rows = skipped.read(recipe / "data/metadata/skipped.tsv")
    kept = [key for name in SETS for key in DataDir(recipe / f"data/{name}_sources").ids]
    prompts = [row["id"] for row in local["sources"].read_prompts(recipe.parent / "wav")]
    assert sorted([*kept, *(row.key for row in rows)]) == sorted(prompts) and {row.stage for row in rows} == {"0"}
    assert {row.code for row in rows} == {"E125"} and {row.reason for row in rows} == set(REASONS)
    counts = manifest.read(recipe / "data/metadata", "sources")["counts"]
    assert counts == {"given": len(prompts), "made": len(kept), "skipped": len(rows)}


def test_all_folders_verify(recipe):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "codecsep.bin.verify", "data", "../wav"]
    result = subprocess.run(command, cwd=recipe, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.count(": whole: ") == 8, result.stdout + result.stderr


def test_two_preparations_at_once(done, tree):
    shutil.rmtree(done / "data/test")
    with locked(done / "data", ".test.lock"):
        result = prepare(done, tree)
    told = f"data preparation: E630 data: is being written by process {os.getpid()} on"
    assert result.returncode == 2 and told in result.stderr
    assert prepare(done, tree).returncode == 0


def test_what_is_in_two_sets_is_refused(done, tree, local, monkeypatch):
    """Row G14. A test mixture out of a training source, and a set whose list was changed on purpose."""
    prepare_module = local["prepare"]
    options = type("Options", (), {"out": Path("data")})
    monkeypatch.chdir(done)
    prepare_module.check_splits(options)
    taken = DataDir("data/train").table("utt2source_spk1")
    table = DataDir("data/test").table("utt2source_spk2")
    datadir.write_table("data/test/utt2source_spk2", {**table, next(iter(table)): next(iter(taken.values()))})
    with pytest.raises(LeakError, match="^E130 1 utterances are in train and in test, first .* --split-seed"):
        prepare_module.check_splits(options)
    datadir.write_table("data/test/utt2source_spk2", table)
    text = DataDir("data/train_sources").table("text")
    changed = {**text, next(iter(text)): next(iter(DataDir("data/dev_sources").table("text").values())).upper() + "!"}
    datadir.write_table("data/train_sources/text", changed)
    with pytest.raises(LeakError, match="E130 1 sentences are in train and in dev"):
        prepare_module.check_splits(options)


def test_errors_of_the_corpus_have_codes(done, tree):
    result = prepare(done, tree, "--corpus", "/nowhere")
    told = r"^data preparation: E126 /nowhere: holds no asterisk-.* \(fix: run data.sh without --corpus to .*\)$"
    assert result.returncode == 2 and re.search(told, result.stderr, re.MULTILINE), result.stderr
