"""egs/*/cmd.sh: the backend is chosen by the environment, so that nobody edits a tracked file."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CMD = sorted(ROOT.glob("egs/*/cmd.sh"))
LAUNCHERS = {
    "local": "run.pl", "stdout": "stdout.pl", "slurm": "slurm.pl", "sge": "queue.pl", "pbs": "pbs.pl", "ssh": "ssh.pl"
}  # fmt: skip


def source(path, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in ("CODECSEP_CMD_BACKEND", "cmd_backend")}
    line = f'set -euo pipefail; . "{path}"; echo ${{train_cmd}}; echo ${{cuda_cmd}}; echo ${{decode_cmd}}'
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env={**clean, **environment})


@pytest.mark.parametrize("path", CMD, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("variable", ["CODECSEP_CMD_BACKEND", "cmd_backend"])
@pytest.mark.parametrize(("backend", "launcher"), LAUNCHERS.items())
def test_backends(path, variable, backend, launcher):
    train, cuda, decode = source(path, **{variable: backend}).stdout.splitlines()
    assert (train, decode) == (launcher, launcher) and cuda.split()[0] == launcher
    assert (ROOT / "utils" / launcher).stat().st_mode & 0o111
    if backend == "slurm":
        assert cuda == "slurm.pl --requeue true"


@pytest.mark.parametrize("path", CMD, ids=lambda path: path.parent.name)
def test_default_and_precedence(path):
    assert source(path).stdout == "run.pl\nrun.pl\nrun.pl\n"
    assert source(path, CODECSEP_CMD_BACKEND="stdout", cmd_backend="slurm").stdout.startswith("stdout.pl\n")
    assert source(path, CODECSEP_CMD_BACKEND="").stdout.startswith("run.pl\n")


@pytest.mark.parametrize("path", CMD, ids=lambda path: path.parent.name)
def test_unknown_backend_is_one_line_with_the_allowed_ones(path):
    result = source(path, CODECSEP_CMD_BACKEND="lsf")
    assert result.returncode == 1 and result.stdout == "" and result.stderr.count("\n") == 1
    assert "E646 CODECSEP_CMD_BACKEND: is 'lsf'" in result.stderr
    assert all(backend in result.stderr for backend in LAUNCHERS)
