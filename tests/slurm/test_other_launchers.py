"""queue.pl, pbs.pl and ssh.pl with programs that answer as Grid Engine, PBS and ssh do."""

import os
import re
import signal
import subprocess
import sys
import time

import launching
import pytest
from launching import Place, wait_for

CONF = (launching.ROOT / "egs/prompts2mix/conf").glob("*.conf")
SHIPPED = {path.name: path.read_text() for path in CONF}
FAST = {"CODECSEP_JOB_POLL": "0.3", "CODECSEP_JOB_GRACE": "1", "CODECSEP_JOB_SAY": "0.3"}


@pytest.fixture
def home(tmp_path):
    (tmp_path / "fake").mkdir()
    return tmp_path / "fake"


def make_place(tmp_path, home, launcher, **more):
    folder = tmp_path / "recipe"
    for name, text in SHIPPED.items():
        launching.conf(folder, text, name)
    path = f"{launching.FAKE / 'bin'}:{os.environ['PATH']}"
    environment = {**launching.CLEAN, **FAST, "PATH": path, "FAKE_GRID": str(home), **more}
    return Place(folder, environment, launcher)


@pytest.fixture
def sge(tmp_path, home):
    return make_place(tmp_path, home, "queue.pl")


@pytest.fixture
def pbs(tmp_path, home):
    return make_place(tmp_path, home, "pbs.pl", FAKE_GRID_PBS="1")


@pytest.fixture(params=["sge", "pbs"])
def grid(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def ssh(tmp_path, home):
    place = make_place(tmp_path, home, "ssh.pl", FAKE_SSH=str(home / "hosts"))
    (place.folder / ".queue").mkdir()
    (place.folder / ".queue/machines").write_text("alpha\n# not this one\nbeta  # but this\n")
    return place


ODD = ["two words", "it's", '"', "$HOME", "`date`", "$(touch canary)", "a\n#$ -l gpu=9\n#PBS -l gpu=9", "", "*", "é"]


def test_grid_runs_a_job_and_an_array(grid):
    command = "import sys; open('argv', 'w').write(repr(sys.argv[1:]))"
    result = grid.run("log/x.log", "python3", "-c", command, *ODD)
    assert result.returncode == 0, result.stderr
    assert eval(grid.read("argv"), {}) == ODD and not (grid.folder / "canary").exists()
    assert grid.run("JOB=2:4", "log/y.JOB.log", "echo", "aJOB").returncode == 0
    assert [grid.body(f"log/y.{number}.log") for number in (2, 3, 4)] == ["a2\n", "a3\n", "a4\n"]
    assert grid.run("JOB=3", "log/z.JOB.log", "echo", "aJOB").returncode == 0
    assert grid.body("log/z.3.log") == "a3\n"


def test_grid_names_what_failed(grid):
    command = "case JOB in 2) kill -9 $$;; 3) exit 7;; 4) kill -9 $PPID $$;; esac"
    result = grid.run("JOB=1:4", "x.JOB.log", "bash", "-c", command)
    assert result.returncode == 1
    assert result.stderr.splitlines()[1] == f"{grid.launcher}: 3 / 4 failed, log is in x.*.log"
    assert "E521 task 2 (x.2.log)" in result.stderr and "E620 task 3 (x.3.log)" in result.stderr
    assert "E620 task 4 (x.4.log): the scheduler does not know the job any more" in result.stderr


def test_grid_options(sge, home):
    words = ["--mem", "4G", "--num-threads", "2", "--gpu", "1", "--max-jobs-run", "3", "--name", "a b"]
    assert sge.run(*words, "JOB=1:2", "x.JOB.log", "true").returncode == 0
    submitted = launching.submissions(home)[0]
    for pair in (["-l", "mem_free=4G,h_vmem=4G"], ["-pe", "smp", "2"], ["-l", "gpu=1"], ["-tc", "3"], ["-N", "a b"]):
        assert any(submitted[i : i + len(pair)] == pair for i in range(len(submitted))), (pair, submitted)
    assert submitted[:6] == ["-V", "-cwd", "-S", "/bin/bash", "-j", "y"] and ["-t", "1-2"] == submitted[10:12]


def test_grid_picks(grid):
    for number, end in {1: "code 0", 2: "code 3", 3: "code 0", 4: "code 1"}.items():
        (grid.folder / f"x.{number}.log").write_text(f"# Ended ({end}) at some time\n")
    assert grid.run("--pick", "failed", "JOB=1:4", "x.JOB.log", "touch", "ran.JOB").returncode == 0
    assert [number for number in range(1, 5) if (grid.folder / f"ran.{number}").exists()] == [2, 4]


def test_grid_waits_for_its_master(grid, home):
    (home / "down").write_text("")
    process = grid.start("x.log", "bash", "-c", "sleep 1")
    assert wait_for(lambda: (home / "qsub.jsonl").exists() and len(launching.submissions(home)) >= 2)
    (home / "down").unlink()
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and "unable to contact qmaster" in output and "trying again" in output


def test_grid_refuses(grid, home):
    (home / "refuse").write_text("Unable to run job: unknown resource \"gpuu\"")
    result = grid.run("x.log", "true")
    assert result.returncode == 1 and "E621 qsub " in result.stderr and "unknown resource" in result.stderr


def test_grid_job_in_error_state(sge, home):
    (home / "hold").write_text("")
    process = sge.start("JOB=1:2", "x.JOB.log", "true")
    assert wait_for(lambda: list(home.glob("*.job")))
    (home / "error").write_text("")
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and "E620 task 1 (x.1.log): Eqw on the cluster (job 1)" in output


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_grid_signals(grid, home, signum):
    process = grid.start("x.log", "bash", "-c", "sleep 300 & echo $! $$ > pids; wait")
    assert wait_for(lambda: (grid.folder / "pids").exists() and len(grid.read("pids").split()) == 2)
    process.send_signal(signum)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signum and (home / "1.deleted").exists()
    assert wait_for(lambda: not any(launching.alive(int(pid)) for pid in grid.read("pids").split()), 5)


def test_ssh_takes_the_machines_in_turn(ssh, home):
    (ssh.folder / "path.sh").write_text("export FROM_PATH_SH=yes\n")
    result = ssh.run("JOB=1:4", "log/x.JOB.log", "bash", "-c", "echo JOB $FROM_PATH_SH $PWD", "--max-jobs-run", "1")
    assert result.returncode == 0, result.stderr
    assert [ssh.body(f"log/x.{n}.log") for n in range(1, 5)] == [f"{n} yes {ssh.folder}\n" for n in range(1, 5)]
    assert sorted((home / "hosts").read_text().split()) == ["alpha", "alpha", "beta", "beta"]


def test_ssh_passes_values_exactly(ssh):
    command = "import sys; open('argv', 'w').write(repr(sys.argv[1:]))"
    assert ssh.run("x.log", "python3", "-c", command, *ODD).returncode == 0
    assert eval(ssh.read("argv"), {}) == ODD and not (ssh.folder / "canary").exists()


def test_ssh_names_what_failed(ssh):
    (ssh.folder / ".queue/machines").write_text("alpha\nunreachable\n")
    result = ssh.run("JOB=1:3", "x.JOB.log", "bash", "-c", "(( JOB == 1 )) || exit 5")
    assert result.returncode == 1 and "ssh.pl: 2 / 3 failed, log is in x.*.log" in result.stderr
    assert "E620 task 2 (x.2.log): on unreachable, ended with status 255 (fix: " in result.stderr
    assert "task 2 (x.2.log): on unreachable" in result.stderr and "No route to host" in result.stderr
    assert "E620 task 3 (x.3.log): on alpha, ended with status 5" in result.stderr


def test_ssh_tells_what_it_ignores(ssh):
    result = ssh.run("--gpu", "0", "--mem", "4G", "--num-threads", "2", "x.log", "bash", "-c", "echo $OMP_NUM_THREADS")
    assert result.returncode == 0 and result.stderr == "ssh.pl: ignored here: --mem\n" and ssh.body("x.log") == "2\n"


@pytest.mark.parametrize(("text", "status"), [(None, 1), ("# none\n", 255), ("-oProxyCommand=x\n", 1), ("a b\n", 1)])
def test_ssh_machines(ssh, text, status):
    machines = ssh.folder / ".queue/machines"
    machines.unlink() if text is None else machines.write_text(text)
    result = ssh.run("x.log", "true")
    assert result.returncode == status and re.fullmatch(r"ssh\.pl: E641 .+ \(fix: .+\)\n", result.stderr)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_ssh_leaves_nothing_there(ssh, signum):
    """The machine only sees that the connection ends, also when ssh.pl itself is killed."""
    command = "trap '' TERM; setsid sleep 300 & sleep 300 & echo $! $$ > pids; wait; sleep 300"
    process = ssh.start("x.log", "bash", "-c", command)
    assert wait_for(lambda: (ssh.folder / "pids").exists() and len(ssh.read("pids").split()) == 2)
    pids = [int(pid) for pid in ssh.read("pids").split()]
    process.send_signal(signum)
    if signum != signal.SIGKILL:
        process.communicate(timeout=60)
        assert process.returncode == 128 + signum
    assert wait_for(lambda: not any(map(launching.alive, pids)), 20)
    process.communicate(timeout=60)


def test_the_far_side_ends_with_its_input(tmp_path):
    """What runs on a machine of ssh.pl, by itself: TERM when standard input ends, KILL for what stays."""
    task = [sys.executable, str(launching.ROOT / "utils/jobs/task.py"), "--prog", "x", "--log", "x.log"]
    stubborn = "trap '' TERM; echo $$ > pid; while :; do sleep 1; done"
    task += ["--status", "s", "--end-with-stdin", "--", "bash", "-c", stubborn]
    process = subprocess.Popen(task, cwd=tmp_path, stdin=subprocess.PIPE, start_new_session=True)
    assert wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    began = time.time()
    process.stdin.close()
    assert process.wait(timeout=60) == 137 and 3 < time.time() - began < 20
    assert (tmp_path / "s.1").read_text() == "137\n" and "(code 0; signal 9)" in (tmp_path / "x.log").read_text()
    assert not launching.left_of_session(process.pid)
