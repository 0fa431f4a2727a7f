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
    assert lines[1].startswith("run.pl: E620 task 2 (log/x.2.log): ended with status 3 (fix: ")
    assert lines[2].startswith("run.pl: E620 task 3 (log/x.3.log): ended with status 3 (fix: ")
    assert lines[3] == "run.pl: the end of log/x.2.log:" and "said by 2" in lines and "said by 3" not in lines
    single = run("x.log", "bash", "-c", "for i in {1..50}; do echo line $i; done; exit 2")
    assert single.stderr.splitlines()[0] == "run.pl: job failed, log is in x.log"
    assert len(single.stderr.splitlines()) == 23 and "line 50" in single.stderr


def test_many_failures_are_all_named(run):
    result = run("JOB=1:14", "x.JOB.log", "false")
    assert result.stderr.startswith("run.pl: 14 / 14 failed, log is in x.*.log\n")
    assert result.stderr.count("E620") == 10 and "failed as well: 11 12 13 14\n" in result.stderr


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


@pytest.mark.parametrize(
    ("command", "ended"), [("kill -9 $$", "(code 0; signal 9)"), ("bash -c 'kill -9 $$'; exit 137", "(code 137)")]
)
def test_killed_job_is_told(run, tmp_path, command, ended):
    result = run("x.log", "bash", "-c", command)
    log = (tmp_path / "x.log").read_text()
    assert result.returncode == 1 and "Killed by signal 9: out of memory?" in log and ended in log
    assert "run.pl: E521 x.log: killed by signal 9 - out of memory? (fix: fewer jobs at a time" in result.stderr


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


def test_smallest_limit_counts(run, tmp_path):
    count = "echo >> running; wc -l < running > seen.JOB; sleep 0.2; sed -i 1d running"
    limits = ["--max-jobs-run", "3", "-tc", "1", "--max_jobs_run", "2"]
    assert run(*limits, "JOB=1:3", "x.JOB.log", "bash", "-c", count).returncode == 0
    assert [(tmp_path / f"seen.{i}").read_text().strip() for i in (1, 2, 3)] == ["1", "1", "1"]


def test_jobs_run_side_by_side(run):
    wait = "touch here.JOB; for i in {1..200}; do [[ -e here.1 && -e here.2 ]] && exit 0; sleep 0.05; done; exit 1"
    assert run("--max-jobs-run", "2", "JOB=1:2", "x.JOB.log", "bash", "-c", wait).returncode == 0


@pytest.mark.parametrize(
    ("options", "given", "threads"),
    [
        ([], None, "1"),
        ([], "3", "3"),
        (["--num-threads", "4"], "3", "4"),
        (["--num_threads", "4"], None, "4"),
        (["-pe", "smp", "5"], None, "5"),
    ],
)
def test_threads(run, tmp_path, monkeypatch, options, given, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    environment = {"OMP_NUM_THREADS": given} if given else {}
    assert run(*options, "x.log", "bash", "-c", "echo =$OMP_NUM_THREADS=", **environment).returncode == 0
    log = (tmp_path / "x.log").read_text()
    assert f"\n={threads}=\n" in log


def test_options_of_clusters_are_swallowed(run, tmp_path):
    options = ["-V", "-sync", "y", "--time", "1:0:0", "--config", "f", "--num_nodes", "2", "--requeue", "true"]
    assert run(*options, "JOB=1:2", "--mem", "4G", "x.JOB.log", "true").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.1.log", "x.2.log"]


ENDS = {1: "code 0", 2: "code 3", 5: "code 0; signal 9"}


@pytest.mark.parametrize(
    ("pick", "status", "ran"), [("all", 0, [1, 2, 3, 4, 5]), ("failed", 0, [2, 3, 4, 5]), ("incomplete", 1, [3, 4])]
)
def test_pick(run, tmp_path, pick, status, ran):
    for number, end in ENDS.items():
        (tmp_path / f"x.{number}.log").write_text(f"said\n# Ended ({end}) at some time\n")
    (tmp_path / "x.3.log").write_text("# Ended (code 0) at some time\nand then it was killed\n")
    result = run("--pick", pick, "JOB=1:5", "x.JOB.log", "touch", "ran.JOB")
    assert result.returncode == status, result.stderr
    assert [number for number in range(1, 6) if (tmp_path / f"ran.{number}").exists()] == ran
    if pick == "incomplete":
        assert result.stderr.startswith("run.pl: 2 / 5 failed, log is in x.*.log\n")
        assert "task 2 (x.2.log): ended with status 3" in result.stderr and "E521 task 5 (x.5.log)" in result.stderr


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([], 255),
        (["x.log"], 255),
        (["JOB=0:2", "x.JOB.log", "true"], 255),
        (["JOB=3:2", "x.JOB.log", "true"], 255),
        (["JOB=1:2", "x.log", "true"], 1),
        (["--max-jobs-run", "0", "x.log", "true"], 255),
        (["--max-jobs-run", "-1", "x.log", "true"], 255),
        (["--num-threads", "x", "x.log", "true"], 255),
        (["--gpu", "x", "x.log", "true"], 255),
        (["--pick", "some", "x.log", "true"], 255),
        (["--mem"], 255),
    ],
)
def test_wrong_usage(run, tmp_path, words, status):
    result = run(*words)
    assert result.returncode == status
    assert re.fullmatch(r"run\.pl: E640 .+ \(fix: .+\)\n", result.stderr)
    assert not list(tmp_path.iterdir())


def test_unwritable_log(run, tmp_path):
    (tmp_path / "file").write_text("")
    result = run("file/x.log", "true")
    assert result.returncode == 1 and re.fullmatch(r"run\.pl: E643 file: .+ \(fix: .+\)\n", result.stderr)


def test_header_of_a_command_with_line_ends(run, tmp_path):
    assert run("x.log", "printf", "%s", "a\nb").returncode == 0
    assert (tmp_path / "x.log").read_text().startswith("# printf %s 'a\n# b'\n# Started at ")


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
