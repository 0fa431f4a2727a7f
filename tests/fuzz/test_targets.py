"""The targets of the fuzzers over their corpus and all that was ever found; and the fuzzers, for a few seconds."""

import importlib.util
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sot_target
import targets

HERE = Path(__file__).parent
TARGETS = targets.TARGETS | {"sot": sot_target.sot}
SECONDS = 15 if os.environ.get("CODECSEP_LONG_TESTS") else 5
INPUTS = sorted(path for path in [*HERE.glob("corpus/*/*"), *HERE.glob("found/*/*")] if path.is_file())
FLAGS = ["-timeout=10", "-max_len=4096", "-seed=1", "-print_final_stats=1"]


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: str(path.relative_to(HERE)))
def test_known_inputs(path):
    """Nothing but CodecsepError, within 2 s and 1 GiB (three times as long is allowed here: machines are busy)."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    TARGETS[path.parent.name](path.read_bytes())
    assert time.monotonic() - began < 6
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20, "KiB"


def test_the_corpus_is_small_and_whole():
    assert {path.parent.name for path in HERE.glob("corpus/*/*")} == set(TARGETS)
    assert sum(path.stat().st_size for path in INPUTS) < 50_000


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed (extra dev)")
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_fuzzers_find_nothing(tmp_path, name):
    corpus = shutil.copytree(HERE / "corpus" / name, tmp_path / "corpus")
    limit = 3000 if name == "sot" else 1024  # MiB; torch and the fuzzer's own hooks need more than the target
    command = [sys.executable, f"fuzz_{name}.py", *FLAGS, f"-max_total_time={SECONDS}", f"-rss_limit_mb={limit}"]
    command += [f"-artifact_prefix={tmp_path}/", str(corpus)]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=300)
    found = [path for path in tmp_path.iterdir() if path.name != "corpus"]
    assert result.returncode == 0 and not found, f"{result.stderr[-3000:]}\nkeep {found} in tests/fuzz/found/{name}/"
    executed = re.search(r"number_of_executed_units:\s+(\d+)", result.stderr)
    assert executed and int(executed[1]) > 100
    print(f"{name}: {executed[1]} executions in {SECONDS} s")
