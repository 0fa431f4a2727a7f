"""utils/run.pl: arrays, logs, exit status, quoting, limits, signals."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = [sys.executable, str(ROOT / "utils" / "run.pl")]
FOOTER = re.compile(r"# Accounting: time=\d+ threads=1\n# Ended \(code (\d+)\) at .+, elapsed time \d+ seconds\n$")


@pytest.fixture
def run(tmp_path):
    def call(*words, **environment):
        environment = {**{k: v for k, v in os.environ.items() if k != "RECIPE_PID"}, **environment}
        return subprocess.run(
            [*RUN, *words], capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment
        )

    return call


def test_log_has_header_output_and_footer(run, tmp_path):
    result = run("--mem", "4G", "--time", "1:0:0", "a/b/x.log", "echo", "one  two", "$HOME")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    log = (tmp_path / "a/b/x.log").read_text()
    assert log.startswith("# echo 'one  two' '$HOME'\n# Started at ")
    assert "\n#\none  two $HOME\n" in log
    assert FOOTER.search(log)[1] == "0"


def test_array_replaces_the_name_everywhere(run, tmp_path):
    assert run("JOB=2:4", "log/x.JOB.log", "bash", "-c", "echo JOB of aJOBs > out.JOB").returncode == 0
    assert [(tmp_path / f"out.{i}").read_text() for i in (2, 3, 4)] == [f"{i} of a{i}s\n" for i in (2, 3, 4)]
    assert run("N=3", "x.N.log", "echo", "N").returncode == 0
    assert (tmp_path / "x.3.log").exists()


def test_failure_is_counted_and_shown(run):
    result = run("JOB=1:3", "log/x.JOB.log", "bash", "-c", "echo said by JOB; (( JOB == 1 )) || exit 3")
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert lines[0] == "run.pl: 2 / 3 failed, log is in log/x.*.log"
    assert lines[1] == "run.pl: the end of log/x.2.log:" and "said by 2" in lines and "said by 3" not in lines
    single = run("x.log", "bash", "-c", "for i in {1..50}; do echo line $i; done; exit 2")
    assert single.stderr.splitlines()[0] == "run.pl: job failed, log is in x.log"
    assert len(single.stderr.splitlines()) <= 22 and "line 50" in single.stderr


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["false", "|", "cat"], 1),
        (["true", "|", "cat"], 0),
        (["no-such-program", "a"], 1),
        (["bash", "-c", "kill -9 $$"], 1),
        (["echo", "hi", ">", "out.txt"], 0),
        (["false", "||", "true"], 0),
        (["true", "&&", "false"], 1),
        (["test", "a;b|c*", "=", "a;b|c*"], 0),
        (["test", '{"a": 1}', "=", '{"a": 1}'], 0),
    ],
)
def test_exit_status(run, command, code):
    assert run("x.log", *command).returncode == code


def test_arguments_are_exact_beside_a_pipe(run, tmp_path):
    assert run("x.log", "printf", "%s\n", "$(touch canary) 'q' \"d\"", "|", "cat").returncode == 0
    assert "$(touch canary) 'q' \"d\"\n" in (tmp_path / "x.log").read_text().split("#\n", 1)[1]
    assert not (tmp_path / "canary").exists()


def test_killed_job_is_told(run, tmp_path):
    assert run("x.log", "bash", "-c", "kill -9 $$").returncode == 1
    log = (tmp_path / "x.log").read_text()
    assert "Killed by signal 9: out of memory?" in log and "(code 0; signal 9)" in log


def test_at_most_so_many_at_a_time(run, tmp_path):
    count = "echo >> running; wc -l < running > seen.JOB; sleep 0.2; sed -i 1d running"
    assert run("--max-jobs-run", "1", "JOB=1:3", "x.JOB.log", "bash", "-c", count).returncode == 0
    assert [(tmp_path / f"seen.{i}").read_text().strip() for i in (1, 2, 3)] == ["1", "1", "1"]


def test_gpus_are_handed_out(run, tmp_path):
    words = ["JOB=1:4", "x.JOB.log", "bash", "-c", "echo $CUDA_VISIBLE_DEVICES > gpu.JOB; sleep 0.1"]
    assert run("--gpu", "2", *words, CUDA_VISIBLE_DEVICES="4,5,6,7").returncode == 0
    assert {(tmp_path / f"gpu.{i}").read_text().strip() for i in range(1, 5)} == {"4,5", "6,7"}
    assert run("--gpu", "1", *words, CUDA_VISIBLE_DEVICES="").returncode == 0
    refused = run("--gpu", "3", *words, CUDA_VISIBLE_DEVICES="0,1")
    assert refused.returncode == 1 and "this machine has 2" in refused.stderr


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["x.log"],
        ["JOB=0:2", "x.JOB.log", "true"],
        ["JOB=3:2", "x.JOB.log", "true"],
        ["JOB=1:2", "x.log", "true"],
        ["--max-jobs-run", "0", "x.log", "true"],
        ["--gpu", "x", "x.log", "true"],
        ["--pick", "failed", "x.log", "true"],
    ],
)
def test_wrong_usage(run, tmp_path, words):
    result = run(*words)
    assert result.returncode == 1 and result.stderr.startswith("run.pl: ") and result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_unwritable_log(run, tmp_path):
    (tmp_path / "file").write_text("")
    result = run("file/x.log", "true")
    assert result.returncode == 1 and result.stderr.count("\n") == 1


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition, seconds=60.0):
    end = time.time() + seconds
    while not condition() and time.time() < end:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_leaves_no_process_behind(tmp_path, signum):
    pids = tmp_path / "pids"
    command = f"sleep 60 & echo $! $$ > {pids}; wait"
    process = subprocess.Popen(
        [*RUN, tmp_path / "x.log", "bash", "-c", command], stderr=subprocess.PIPE, cwd=tmp_path, start_new_session=True
    )
    assert wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    os.kill(process.pid, signum)
    assert process.wait(timeout=60) == 128 + signum
    process.stderr.close()
    assert wait_for(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))
    assert "# Ended (code" in (tmp_path / "x.log").read_text()


def test_jobs_end_with_their_recipe(tmp_path):
    pids = tmp_path / "pids"
    recipe = tmp_path / "recipe.sh"
    recipe.write_text(
        f". {ROOT}/utils/stage.sh\n{' '.join(RUN)} x.log bash -c 'echo $$ > {pids}; sleep 60'\necho never\n"
    )
    process = subprocess.Popen(["bash", recipe], cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True)
    assert wait_for(lambda: pids.exists() and pids.read_text().strip())
    process.kill()
    process.wait(timeout=60)
    assert wait_for(lambda: not alive(int(pids.read_text())))


def test_stdout_pl_shows_the_output(tmp_path):
    result = subprocess.run(
        [ROOT / "utils" / "stdout.pl", "x.log", "bash", "-c", "echo hello; echo oops >&2; exit 3"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert result.returncode == 1 and "hello\noops\n" in result.stdout
    assert "hello\noops\n" in (tmp_path / "x.log").read_text()


def test_help(run):
    result = run("--help")
    assert result.returncode == 0 and "usage: run.pl" in result.stdout
