"""The recipe slm_ss at nano size through a real Slurm, by nothing but an environment variable."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cluster
import launching
import pytest

sys.path.insert(0, str(launching.ROOT / "tests/faults"))
from nano import CORPUS, OPTIONS, make_corpus  # noqa: E402 -- the sounds and settings of tests/faults

missing = cluster.missing_programs()
pytestmark = pytest.mark.skipif(bool(missing), reason=f"no Slurm here (apt-get install slurm-wlm): {' '.join(missing)}")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with cluster.running(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A copy of the recipes, with stages 0 and 1 run on this machine."""
    folder = tmp_path_factory.mktemp("tree")
    generated = shutil.ignore_patterns("data", "dump", "exp", "log", "downloads", "__pycache__")
    shutil.copytree(launching.ROOT / "egs", folder / "egs", ignore=generated)
    for name in ("codecsep", "utils", "tools"):
        (folder / name).symlink_to(launching.ROOT / name)
    make_corpus(folder / "corpus")
    recipe = folder / CORPUS / "slm_ss"
    run(recipe, {}, 0, 1)
    return recipe


def run(recipe: Path, environment: dict[str, str], first: int, last: int) -> str:
    """Stages of the recipe; what it said."""
    options = [word for pair in (OPTIONS | {"--nj": "2", "--num_threads": "1"}).items() for word in pair]
    corpus = recipe.parents[2] / "corpus"
    words = [recipe / "run.sh", *options, "--corpus", corpus, "--python", sys.executable]
    words += ["--stage", str(first), "--stop-stage", str(last)]
    clean = {**launching.CLEAN, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(words, env={**clean, **environment}, capture_output=True, text=True, timeout=580)
    assert result.returncode == 0, result.stderr
    return result.stderr


def through_slurm(slurm) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{slurm.environment['PATH']}"
    return {"SLURM_CONF": slurm.environment["SLURM_CONF"], "PATH": path, "CODECSEP_CMD_BACKEND": "slurm"}


@pytest.mark.long  # .ci/run runs this file with the long ones
def test_a_stage_of_arrays(recipe, slurm):
    """Stage 2: four arrays of two jobs."""
    said = run(recipe, through_slurm(slurm), 2, 2)
    assert said.count("slurm.pl: job ") == 4
    log = (recipe / "dump/test/log/tokenise.2.log").read_text()
    assert "# SLURM_ARRAY_TASK_ID=2" in log and "(code 0)" in log
    assert codes(recipe)


def codes(recipe: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (recipe / "dump/test").glob("*codes*.ark")}


@pytest.mark.long
def test_same_tokens_as_run_pl_then_trainings_and_decoding(recipe, slurm):
    run(recipe, through_slurm(slurm), 2, 2)
    made = codes(recipe)
    shutil.rmtree(recipe / "dump")
    run(recipe, {}, 2, 2)
    assert made and codes(recipe) == made
    said = run(recipe, through_slurm(slurm), 3, 6)
    assert said.count("slurm.pl: job ") == 3 + 2 + 1 + 2
    for name in ("exp/ar/log/train.log", "exp/decode/slm_ss_seed1/test/log/separate.log"):
        log = (recipe / name).read_text()
        assert "# SLURM_JOB_ID=" in log and "# SLURM_CPUS_PER_TASK=1" in log and "(code 0)" in log
    assert (recipe / "exp/decode/slm_ss_seed1/test/spk1.scp").stat().st_size > 0
