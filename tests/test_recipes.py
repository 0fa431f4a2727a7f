"""Every recipe under egs/, found by listing the folder: run whole against a recorder in place of Python."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted(str(path.parent.relative_to(ROOT)) for path in ROOT.glob("egs/*/*/run.sh"))
STAGES = range(8)


def one_each(recipes, what):
    """The first of the recipes that are alike in something."""
    return list({what(recipe): recipe for recipe in reversed(recipes)}.values())[::-1]


# systems share a script, by links: what is asked of a script is asked of each once, what is asked of a corpus as well
SCRIPTS = one_each(RECIPES, lambda recipe: (ROOT / recipe / "run.sh").resolve())
CORPORA = one_each(RECIPES, lambda recipe: ((ROOT / recipe / "run.sh").resolve(), Path(recipe).parts[1]))
ORDER = ("get_codec", "tokenise", "build_sequences", "train", "separate", "score", "report")


def plant(folder):
    """The shell part of the repository without anything that recipes make, and the recorder."""
    generated = shutil.ignore_patterns("data", "dump", "exp", "log", "downloads", "__pycache__")
    for name in ("egs", "utils"):
        shutil.copytree(ROOT / name, folder / name, ignore=generated)
    return add_recorder(folder)


def add_recorder(folder):
    """A program in the place of Python that writes down how it was called."""
    recorder = folder / "recorder"
    recorder.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{ROOT}/tests/recorder.py" "$@"\n')
    recorder.chmod(0o755)
    return folder


@pytest.fixture
def tree(tmp_path):
    return plant(tmp_path)


@pytest.fixture(scope="module", params=RECIPES)
def whole(request, tmp_path_factory):
    """(recipe, result, calls) of all stages of a recipe."""
    return request.param, *run(plant(tmp_path_factory.mktemp("tree")), request.param)


def run(tree, recipe, *words):
    """(result, calls): what the recipe did, and the calls of Python as lists of words."""
    record = tree / "record.jsonl"
    record.write_text("")
    environment = {**os.environ, "RECORD": str(record)}
    result = subprocess.run(
        [tree / recipe / "run.sh", *words, "--python", tree / "recorder"] if words[:1] != ("--help",) else
        [tree / recipe / "run.sh", *words],
        capture_output=True, text=True, timeout=600, env=environment,
    )  # fmt: skip
    return result, [json.loads(line) for line in record.read_text().splitlines()]


def modules(calls):
    """Names of the programs of codecsep/bin that were called, in order."""
    return [call[0].rsplit(".", 1)[1] for call in calls if call[0].startswith("codecsep.bin.")]


def value(call, name):
    return call[call.index(name) + 1]


def unpack(folder):
    """What `git archive` gives of the committed tree, unpacked in `folder`, with the recorder."""
    packed = subprocess.run(["git", "archive", "HEAD", "egs", "utils"], cwd=ROOT, capture_output=True)
    if packed.returncode:
        pytest.skip("this tree is no git repository: nothing to pack")
    folder.mkdir(parents=True)
    subprocess.run(["tar", "x"], cwd=folder, input=packed.stdout, check=True)
    return add_recorder(folder)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A copy that a user downloaded, in a directory with a name of its own."""
    return unpack(tmp_path_factory.mktemp("tree") / "my own, [1] Gerät" / "codecsep-main")


@pytest.mark.parametrize("recipe", SCRIPTS)
def test_runs_from_an_archive_in_a_path_with_blanks(archive, recipe):
    for words in (["--help"], ["--dry_run", "true"]):
        result, calls = run(archive, recipe, *words)
        assert result.returncode == 0 and not calls, result.stderr
        assert result.stdout.count("\n") >= len(STAGES)
    result, calls = run(archive, recipe)
    assert result.returncode == 0, result.stderr
    assert re.findall(r"stage (\d): ", result.stderr) == [str(stage) for stage in STAGES]
    assert modules(calls)[-1] in ("report", "score_codec")


@pytest.mark.parametrize("recipe", SCRIPTS)
def test_a_colon_in_the_path_is_refused_in_one_line(tmp_path, recipe):
    result, calls = run(plant(tmp_path / "a:b"), recipe)
    assert result.returncode == 1 and not calls
    assert "holds a ':'" in result.stderr and result.stderr.count("\n") == 1


def test_there_are_recipes():
    assert "egs/prompts2mix/slm_ss" in RECIPES


def test_runs_whole_in_order(whole):
    recipe, result, calls = whole
    assert result.returncode == 0, result.stderr
    assert "Successfully finished." in result.stderr.splitlines()[-1]
    called = [name for name in modules(calls) if name in ORDER]
    if "score_codec" not in modules(calls):  # a codec's recipe trains first and exports then
        assert called == sorted(called, key=ORDER.index)
        assert called[-1] == "report"
    else:
        assert modules(calls)[-1] == "score_codec"
    assert re.findall(r"stage (\d): ", result.stderr) == [str(stage) for stage in STAGES]


def test_what_it_calls_exists(whole):
    recipe, _, calls = whole
    for name in modules(calls):
        assert (ROOT / "codecsep" / "bin" / f"{name}.py").is_file(), f"codecsep/bin/{name}.py"
    for call in calls:
        if "--config" in call:
            assert (ROOT / recipe / value(call, "--config")).is_file(), value(call, "--config")


@cache
def help_of(module):
    result = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return set(re.findall(r"(?<![\w-])--[a-z_]+", result.stdout))


def test_options_it_gives_are_known(whole):
    _, _, calls = whole
    overrides = {"--init"}  # keys of a training's YAML
    for call in calls:
        given = {word for word in call if re.fullmatch(r"--[a-z_]+", word)} - overrides
        if call[0].startswith("codecsep.bin."):
            assert given <= help_of(call[0]), call


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("recipe", CORPORA)
def test_empty_tree_names_the_stage_to_run(tree, recipe, stage):
    if stage == 0:
        return  # nothing comes before it
    result, calls = run(tree, recipe, "--stage", str(stage), "--stop-stage", str(stage))
    if result.returncode == 0:
        assert stage == 1 or "nothing to do" in result.stderr
        return
    last = result.stderr.splitlines()[-1]
    earlier = re.fullmatch(r"run\.sh: E120 \S+: is missing or empty \(fix: run --stage (\d) first\)", last)
    assert earlier and int(earlier[1]) < stage
    assert not calls


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stagee", "3"], "did you mean --stage?"),
        (["--stage", "9"], "stages run from 0 to 7"),
        (["--stage", "3", "--stop-stage", "1"], "stages run from 0 to 7"),
        (["--ngpu", "x"], "--ngpu takes a whole number"),
        (["--dry_run", "yes"], "takes true or false"),
        (["word"], "unexpected argument 'word'"),
    ],
)
@pytest.mark.parametrize("recipe", SCRIPTS)
def test_mistakes_are_refused_in_one_line(tree, recipe, words, message):
    result, calls = run(tree, recipe, *words)
    assert result.returncode == 1 and not calls
    assert message in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("recipe", SCRIPTS)
def test_missing_value(tree, recipe):
    result = subprocess.run([tree / recipe / "run.sh", "--stage"], capture_output=True, text=True)
    message = "run.sh: E144 option --stage requires a value (fix: run.sh --help says more)\n"
    assert (result.returncode, result.stderr) == (1, message)


@pytest.mark.parametrize("recipe", RECIPES)
def test_help_and_dry_run(tree, recipe):
    result, _ = run(tree, recipe, "--help")
    assert result.returncode == 0 and result.stderr == ""
    for word in ("  0 data", "  7 score", "--stop_stage=7", "--ngpu=0", "--python=python3"):
        assert word in result.stdout
    result, calls = run(tree, recipe, "--dry_run", "true", "--stage", "2")
    assert re.findall(r"^stage (\d): ", result.stdout, re.MULTILINE) == [str(stage) for stage in STAGES[2:]]
    assert result.returncode == 0 and not calls


@pytest.mark.parametrize("recipe", RECIPES)
def test_can_be_called_from_anywhere(tree, recipe):
    words = [f"{recipe}/run.sh", "--stage", "9", "--python", "x"]
    result = subprocess.run(words, cwd=tree, capture_output=True, text=True, env={**os.environ, "python": "y"})
    assert result.returncode == 1 and result.stderr.startswith("run.sh: E144 stages run from 0 to 7")


@pytest.mark.parametrize("recipe", RECIPES)
def test_size_and_syntax(recipe):
    path = ROOT / recipe / "run.sh"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert 100 <= len(lines) <= 150 and max(map(len, lines)) <= 130
    assert subprocess.run(["bash", "-n", path]).returncode == 0


@pytest.mark.parametrize("path", sorted(ROOT.glob("egs/*/*/conf/**/*.yaml")), ids=lambda p: str(p.relative_to(ROOT)))
def test_configurations_hold_known_keys(path):
    from codecsep import config
    from codecsep.decode.options import DecodeOptions
    from codecsep.train.settings import TrainConfig

    if "model" in config.read_yaml(path):
        assert config.load_model_config(TrainConfig, path).train.max_steps > 0
    else:
        config.load(DecodeOptions, path)


@pytest.mark.parametrize("folder", sorted(ROOT.glob("egs/*/*/conf/toy")), ids=lambda p: "/".join(p.parts[-4:-2]))
def test_every_configuration_has_a_toy(folder):
    assert {path.name for path in folder.parent.glob("*.yaml")} == {path.name for path in folder.glob("*.yaml")}


def test_slm_ss_stages_read_what_earlier_ones_wrote(tree):
    _, calls = run(
        tree, "egs/prompts2mix/slm_ss", "--tag", "x", "--decode_seeds", "4 5", "--train_args", "--optim.lr 1"
    )
    trained = [call for call in calls if call[0].endswith(".train")]
    assert [value(call, "--out") for call in trained] == ["exp/pit_x", "exp/ar_x", "exp/nar_x"]
    assert all(call[-2:] == ["--optim.lr", "1"] for call in trained)
    assert "exp/pit_x" in value(trained[1], "--init")
    separated = [call for call in calls if call[0].endswith(".separate")]
    assert [value(call, "--seed") for call in separated] == ["4", "5", "1"]
    for call in separated[:2]:
        assert call[call.index("--models") + 1 :][:2] == ["exp/ar_x", "exp/nar_x"]
    score = next(call for call in calls if call[0].endswith(".score"))
    hypotheses = [score[i + 1] for i, word in enumerate(score) if word == "--hyp"]
    seeds = ",".join(value(call, "--out") for call in separated[:2])
    assert hypotheses == [f"slm_ss={seeds}", f"pit_classifier={value(separated[2], '--out')}"]


def test_waveform_recipes_score_what_a_codec_transmits(tree):
    recipe = "egs/prompts2mix/convtasnet"
    _, calls = run(tree, recipe, "--codec_opts", "--from ../codec/weights", "--num_spk", "3", "--conf_dir", "conf/toy")
    train = next(call for call in calls if call[0].endswith(".train"))
    assert value(train, "--config") == "conf/toy/convtasnet.yaml" and value(train, "--train") == "data/train_sources"
    assert value(train, "--data.train") == "dynamic" and value(train, "--network.num_speakers") == "3"
    assert value(train, "--network.sample_rate") == "16000"
    coded = [call for call in calls if call[0].endswith(".through_codec")]
    test = "exp/decode/convtasnet{}/test".format
    assert [(value(call, "--in"), value(call, "--out")) for call in coded] == [
        ("data/test", "exp/coded/test"), (test(""), test("_after")), (test("_before"), test("_both")),
    ]  # fmt: skip
    separated = [(value(c, "--data"), value(c, "--out")) for c in calls if c[0].endswith(".separate")]
    assert separated == [("data/test", test("")), ("exp/coded/test", test("_before"))]
    score = next(call for call in calls if call[0].endswith(".score"))
    assert [score[i + 1] for i, word in enumerate(score) if word == "--waveform"] == ["convtasnet"]
    assert [score[i + 1] for i, word in enumerate(score) if word == "--passes"] == ["convtasnet_both=2"]
    _, calls = run(tree, recipe, "--stage", "6", "--train_set", "train")
    assert modules(calls)[:1] == ["separate"] and "--codec" not in next(c for c in calls if c[0].endswith(".score"))


def test_latent_recipes_store_what_their_training_reads(tree):
    for system, content, trains in (("codecformer_el", "latents", "train"), ("dasb", "codes", "train_sources")):
        _, calls = run(tree, f"egs/prompts2mix/{system}")
        stored = [call for call in calls if call[0].endswith(".tokenise")]
        assert {value(call, "--content") for call in stored} == {content}
        assert [value(call, "--data") for call in stored[::2]] == [f"data/{trains}", "data/dev"]
        train = next(call for call in calls if call[0].endswith(".train"))
        assert value(train, "--train") == f"data/{trains}" and value(train, "--train_dump") == f"dump/{trains}"
    result, calls = run(tree, "egs/prompts2mix/codecformer")
    assert "tokenise" not in modules(calls)
    trained = [call for call in calls if call[0].endswith(".train")]
    assert [value(call, "--out") for call in trained] == ["exp/codecformer", "exp/codecformer_finetune"]
    assert value(trained[1], "--init") == "exp/codecformer" and value(trained[0], "--codec") == "exp/codec"
    hypotheses = next(call for call in calls if call[0].endswith(".score"))
    assert "codecformer_finetune=exp/decode/codecformer_finetune/test" in hypotheses


def test_slm_ss_can_train_its_codec(tree):
    result, calls = run(tree, "egs/prompts2mix/slm_ss", "--stop-stage", "1", "--train_codec", "true", "--ngpu", "2")
    assert result.returncode == 0, result.stderr
    assert modules(calls)[-3:] == ["train", "get_codec", "get_codec"]
    assert value(calls[-3], "--train").endswith("slm_ss/data/train_sources")
    assert (tree / "egs/prompts2mix/slm_ss/exp/codec/codec.json").is_file()


def test_slm_ss_trains_on_several_machines(tree, monkeypatch):
    recipe = "egs/prompts2mix/slm_ss"
    words = ["--stage", "4", "--stop-stage", "4", "--num_nodes", "2", "--ngpu", "4"]
    result, calls = run(tree, recipe, *words)
    assert result.returncode == 1 and not calls
    assert "--num_nodes 2 needs CODECSEP_CMD_BACKEND=slurm" in result.stderr
    run(tree, recipe, "--stop-stage", "3")
    (tree / "utils/slurm.pl").write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> "{tree}/jobs"\nexit 1\n')
    monkeypatch.setenv("CODECSEP_CMD_BACKEND", "slurm")
    result, calls = run(tree, recipe, *words)
    assert result.returncode == 1 and not calls
    job = (tree / "jobs").read_text()
    expected = "--requeue true --gpu 4 --num-threads 2 --num-nodes 2 --num-tasks 4"
    expected += " exp/pit/log/train.log srun --mpi=none"
    assert job.startswith(expected) and job.count("\n") == 1
