"""Stage 0 of librimix as the recipes run it: directories, killed and damaged runs, mistakes."""

import os
import shutil

import pytest
from made_up_librimix import RATE, ROOT, stage0, tree_digest

from codecsep.data import audio, check
from codecsep.data.datadir import DataDir

OPTIONS = ["--mixture", "both", "--sample-rate", "8000", "--mode", "max"]


@pytest.fixture
def done(prepared, tmp_path):
    """A copy of the recipe directory and of the wavs, to be changed."""
    shutil.copytree(prepared.parent, tmp_path / "c")
    return tmp_path / "c" / "system"


def snapshot(recipe):
    files = [path for path in recipe.parent.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(recipe.parent)): path.read_bytes()
        for path in files if path.suffix != ".lock" and path.name != ".lock" and not path.name.endswith("stamps")
    }  # fmt: skip


def test_directories_are_valid(prepared, monkeypatch):
    monkeypatch.chdir(prepared)
    for name in ("train", "dev", "test", "train_sources", "dev_sources"):
        assert check.problems(DataDir(f"data/{name}"), sums=9, tolerance=1.3e-4) == []
    data = DataDir("data/test")
    assert data.speakers() == ["spk1", "spk2"] and len(data.ids) == 2
    assert data.table("text_spk2")["31-7-0000_32-7-0001"] == "WORDS OF 32 1"
    assert data.table("utt2source_spk1")["31-7-0000_32-7-0001"] == "31-7-0000"
    assert data.table("noise.scp")["31-7-0000_32-7-0001"] == (
        "../downloads/Libri2Mix/wav8k/max/test/noise/31-7-0000_32-7-0001.wav"
    )
    sources = DataDir("data/train_sources")
    assert len(sources.ids) == len(set(DataDir("data/train").table("utt2source_spk1").values())) + 2
    for key in sources.ids:
        samples, rate = audio.read_audio(
            sources.table("wav.scp")[key], declared=int(sources.table("utt2num_samples")[key])
        )
        assert rate == 8000 and abs(float(sources.table("utt2peak")[key]) - abs(samples).max()) < 1e-5
        assert sources.table("text")[key].startswith("WORDS OF " + key.partition("-")[0])


def test_at_16_khz_single_sources_are_the_files_of_librispeech(run, corpus, tmp_path):
    recipe = tmp_path / "d" / "system"
    assert run(recipe)[0] == 0
    paths = DataDir("data/train_sources").table("wav.scp").values()
    assert all(path.endswith(".flac") and str(corpus) in path and audio.sample_rate(path) == RATE for path in paths)
    assert not list((recipe.parent / "downloads/Libri2Mix/wav16k/sources").rglob("*.wav"))
    assert not DataDir("data/train").has("noise.scp")


def test_a_second_run_does_nothing(run, done):
    before = {path: path.stat().st_mtime_ns for path in done.parent.rglob("*") if path.is_file()}
    status, told, _ = run(done, *OPTIONS)
    assert status == 0 and told.count("up to date") == 10, told
    changed = [path for path, time in before.items() if path.stat().st_mtime_ns != time and path.suffix != ".lock"]
    assert [path for path in changed if not path.name.endswith("stamps")] == []


LATER = ["stage0.mid@1", "stage0.mid@9", "manifest.before_done@1", "manifest.before_done@2", "atomic.after_rename@5"]


@pytest.mark.parametrize("fault", ["stage0.mid@2", *(pytest.param(one, marks=pytest.mark.long) for one in LATER)])
def test_a_killed_run_goes_on(run, prepared, corpus, tmp_path, fault, monkeypatch):
    recipe, options = tmp_path / "k" / "system", [word.replace("-r", "_r") for word in OPTIONS]
    monkeypatch.setenv("CODECSEP_FAULT", f"{fault}:kill")
    assert stage0(recipe, corpus, *options).returncode in (-9, 137)
    monkeypatch.delenv("CODECSEP_FAULT")
    times = {path: path.stat().st_mtime_ns for path in recipe.parent.rglob("*.wav")}
    assert times or fault == "stage0.mid@1"
    assert run(recipe, *OPTIONS)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times, "finished files are kept"
    clean = {name: content for name, content in snapshot(prepared).items() if not name.endswith(".manifest.json")}
    after = snapshot(recipe)
    assert set(snapshot(prepared)) == set(after) and all(after[name] == content for name, content in clean.items())


def test_a_damaged_file_alone_is_made_again(run, done):
    wavs, clean = done.parent / "downloads", tree_digest(done.parent / "downloads")
    path = sorted((wavs / "Libri2Mix/wav8k/max/dev/s1").glob("*.wav"))[0]
    os.truncate(path, 1000)
    times = {other: other.stat().st_mtime_ns for other in wavs.rglob("*.wav") if other != path}
    status, told, _ = run(done, *OPTIONS)
    assert status == 0 and tree_digest(wavs) == clean
    assert "(both): 2 to make: " in told and "2 made, 1 of them before" in told
    assert {other: other.stat().st_mtime_ns for other in times} == times


def test_a_tree_that_moved_is_no_work_and_another_recording_is(run, done, corpus, tmp_path):
    tree, wavs = tmp_path / "LibriSpeech", done.parent / "downloads"
    shutil.copytree(corpus / "LibriSpeech", tree)
    before = tree_digest(wavs)
    status, told, _ = run(done, *OPTIONS, "--librispeech", tree)
    assert status == 0 and tree_digest(wavs) == before
    assert told.count("2 made, 2 of them before") == 3, told
    shutil.copy(tree / "dev-clean/21/7/21-7-0002.flac", tree / "dev-clean/21/7/21-7-0000.flac")
    status, told, _ = run(done, *OPTIONS, "--librispeech", tree)
    assert status == 0 and tree_digest(wavs) != before
    assert told.count("it was made from what has changed since") == 2, "the mixtures and the sources of dev"


def test_missing_files_stop_it_before_any_work(run, corpus, tmp_path):
    tree, recipe = tmp_path / "LibriSpeech", tmp_path / "m" / "system"
    shutil.copytree(corpus / "LibriSpeech", tree)
    (tree / "test-clean/31/7/31-7-0000.flac").unlink()
    status, _, told = run(recipe, "--librispeech", tree)
    expected = f"data preparation: E126 {tree}: 1 of 12 files that the lists name are missing or empty: test-clean/31/7"
    assert status == 2 and expected in told and told.count("\n") == 1
    assert (recipe / "data/log/missing_speech.txt").read_text() == "test-clean/31/7/31-7-0000.flac\n"
    assert not (tmp_path / "m" / "downloads").exists()


def test_a_transcript_less_makes_a_corpus_without_any(run, corpus, tmp_path):
    tree = tmp_path / "LibriSpeech"
    shutil.copytree(corpus / "LibriSpeech", tree)
    (tree / "dev-clean/21/7/21-7.trans.txt").unlink()
    status, told, _ = run(tmp_path / "t" / "system", "--librispeech", tree)
    assert status == 0 and "data/dev: 2 utterances, without transcripts" in told
    assert DataDir("data/test").has("text_spk1") and not DataDir("data/dev").has("text_spk1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metadata", "/nowhere"], "E126 /nowhere/Libri2Mix/libri2mix_train-clean-100.csv: no such list"),
        (["--mixture", "noisy"], "invalid choice: 'noisy'"),
        (["--sample-rate", "44100"], "invalid choice: 44100"),
        (["--num-spk", "4"], "libri4mix_train-clean-100.csv: no such list"),
        (["--num-spk", "1"], "--num-spk must be at least 2"),
        (["--wham", "/nowhere", "--mixture", "both"], "E126 /nowhere: no such directory (fix: give --wham DIR)"),
        (["--train-lists", "test-clean"], "E130 2 speakers are in train and in test"),
    ],
)
def test_mistakes_are_one_clear_line(run, tmp_path, options, message):
    status, _, told = run(tmp_path / "system", *options)
    assert status == 2 and message in told


def test_mistakes_on_the_command_line_of_the_script(corpus, tmp_path):
    result = stage0(tmp_path / "system", corpus, "--librispech", "x")
    assert result.returncode == 1 and "did you mean --librispeech?" in result.stderr


def test_links_of_the_corpus_lead_to_the_repository():
    import subprocess

    for name in ("librimix", "wsj0_2mix"):
        words = f'. "{ROOT}/egs/{name}/path.sh"; . "{ROOT}/egs/{name}/cmd.sh"; echo "${{ROOT}} ${{train_cmd}}"'
        result = subprocess.run(["bash", "-c", words], capture_output=True, text=True, cwd="/")
        assert result.stdout == f"{ROOT} run.pl\n", result.stderr
