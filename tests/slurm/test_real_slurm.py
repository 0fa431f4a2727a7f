"""utils/slurm.pl on a real Slurm: a private one with two nodes, started here; skipped where Slurm is not installed."""

import signal
import time

import cluster
import launching
import pytest
from launching import Place, wait_for

missing = cluster.missing_programs()
pytestmark = pytest.mark.skipif(bool(missing), reason=f"no Slurm here (apt-get install slurm-wlm): {' '.join(missing)}")
SHIPPED = (launching.ROOT / "egs/prompts2mix/conf/slurm.conf").read_text()


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with cluster.running(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture
def place(tmp_path, slurm):
    launching.conf(tmp_path, SHIPPED)
    environment = {name: value for name, value in slurm.environment.items() if name in {"SLURM_CONF", "PATH"}}
    return Place(tmp_path, {**launching.CLEAN, **environment})


def job_of(process):
    """The id in the first line that slurm.pl prints."""
    return process.stdout.readline().split()[2].rstrip(":")


def is_running(slurm, job):
    return slurm.call("squeue", "-h", "-j", job, "-o", "%T").strip() == "RUNNING"


def test_a_job_with_gpus_memory_and_threads(place):
    words = ["--gpu", "2", "--mem", "50M", "--num-threads", "3", "--time", "0:10:0", "--name", "two words"]
    command = "echo $CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS $SLURM_CPUS_PER_TASK $SLURM_MEM_PER_CPU $SLURM_JOB_NAME"
    result = place.run(*words, "log/x.log", "bash", "-c", command)
    assert result.returncode == 0, result.stderr
    assert place.body("log/x.log") == "0,1 3 3 50 two words\n"


def test_several_nodes_and_tasks(place):
    """srun starts --num-tasks processes on each of --num-nodes nodes, with --num-threads CPUs for each."""
    words = ["--num-nodes", "2", "--num-tasks", "2", "--num-threads", "2", "x.log", "srun", "--mpi=none", "bash", "-c"]
    command = "echo task $SLURM_PROCID of $SLURM_STEP_NUM_TASKS node $SLURM_NODEID cpus $SLURM_CPUS_PER_TASK"
    result = place.run(*words, command)
    assert result.returncode == 0, result.stderr
    told = sorted(line for line in place.body("x.log").splitlines() if line.startswith("task"))
    assert told == [f"task {rank} of 4 node {rank // 2} cpus 2" for rank in range(4)]


def test_failing_and_killed_tasks(place):
    """One fails, one is killed, of one all that watches over it is killed: named, in less than ten seconds."""
    command = "case JOB in 2) kill -9 $$;; 3) exit 7;; 4) kill -9 $PPID $$;; esac"
    began = time.time()
    result = place.run("JOB=1:5", "log/x.JOB.log", "bash", "-c", command)
    assert result.returncode == 1 and time.time() - began < 10
    assert "slurm.pl: 3 / 5 failed, log is in log/x.*.log" in result.stderr
    assert "E521 task 2 (log/x.2.log)" in result.stderr and "killed by signal 9 - out of memory?" in result.stderr
    assert "E620 task 3 (log/x.3.log)" in result.stderr and "ended with status 7" in result.stderr
    assert "E620 task 4 (log/x.4.log): FAILED" in result.stderr


def test_scancel_from_outside(place, slurm):
    process = place.start("x.log", "sleep", "300")
    job = job_of(process)
    assert wait_for(lambda: is_running(slurm, job))
    time.sleep(4)  # the questions have become rarer
    began = time.time()
    slurm.call("scancel", job)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1 and time.time() - began < 30
    assert f"CANCELLED on the cluster (job {job})" in output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--num-threads", "64"], "More processors requested than permitted"),
        (["--gpu", "9"], "Requested node configuration is not available"),
        (["--mem", "900G"], "Memory specification can not be satisfied"),
        (["--time", "2-0"], "Requested time limit is invalid"),
    ],
)
def test_impossible_request_is_refused(place, words, said):
    began = time.time()
    result = place.run(*words, "x.log", "true")
    assert result.returncode == 1 and "slurm.pl: E621 sbatch " in result.stderr and said in result.stderr
    assert time.time() - began < 10


def test_request_that_would_wait_for_ever(tmp_path):
    """With Slurm's default (EnforcePartLimits=NO) what no partition allows waits; it is noticed and cancelled."""
    launching.conf(tmp_path, SHIPPED)
    with cluster.running(tmp_path / "slurm", enforce="NO") as slurm:
        place = Place(tmp_path, {**slurm.environment, "CODECSEP_JOB_GRACE": "2", "CODECSEP_JOB_SAY": "1"})
        result = place.run("--time", "2-0", "x.log", "true")
        assert slurm.call("squeue", "-h") == ""
    assert result.returncode == 1
    assert "E623 job 1: PENDING (PartitionTimeLimit): this request can never run; cancelled" in result.stderr


def test_why_a_job_waits_is_told(place, slurm):
    first = place.start("--num-nodes", "2", "--num-threads", "4", "a.log", "sleep", "300")
    job = job_of(first)
    assert wait_for(lambda: is_running(slurm, job))
    second = place.start("b.log", "true", CODECSEP_JOB_SAY="1")
    waiting = f"slurm.pl: job {job_of(second)}: 1 of 1 PENDING (Resources)\n"
    assert any(second.stdout.readline() == waiting for _ in range(20))  # at first Slurm itself does not know why
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=60) == 130
    assert second.wait(timeout=120) == 0
    first.stdout.close(), second.stdout.close()


ODD = ["two words", "it's", '"', "$HOME", "`date`", "$(touch canary)", "a\nb", "", "*", "\\", "é日", "#SBATCH -t 1"]


def test_values_and_environment_are_data(place):
    command = "import os, sys; open('argv', 'w').write(repr([*sys.argv[1:], os.environ['GIVEN']]))"
    result = place.run("log dir/x.log", "python3", "-c", command, *ODD, GIVEN="a b\n$c")
    assert result.returncode == 0, result.stderr
    assert eval(place.read("argv"), {}) == [*ODD, "a b\n$c"] and not (place.folder / "canary").exists()


def test_limit_of_jobs_at_a_time(place):
    """Every task notes when it began and ended; at most two at any moment, though there is room for eight."""
    command = "import time; a = time.time(); time.sleep(1); open('JOB.span', 'w').write(f'{a} {time.time()}')"
    assert place.run("--max-jobs-run", "2", "JOB=1:6", "x.JOB.log", "python3", "-c", command).returncode == 0
    spans = [tuple(map(float, path.read_text().split())) for path in place.folder.glob("*.span")]
    assert len(spans) == 6
    assert max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans) == 2


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signals_cancel_and_leave_nothing(place, slurm, signum):
    command = "sleep 300 & (setsid sleep 300 & echo $! >> pids); echo $! $$ >> pids; wait"
    process = place.start("x.log", "bash", "-c", command)
    job = job_of(process)
    assert wait_for(lambda: (place.folder / "pids").exists() and len(place.read("pids").split()) == 3)
    process.send_signal(signum)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    pids = list(map(int, place.read("pids").split()))
    assert wait_for(lambda: not any(map(launching.alive, pids)), 5)
    assert wait_for(lambda: not slurm.call("squeue", "-h", "-j", job).strip(), 20)


def test_controller_restarts(place, slurm):
    process = place.start("x.log", "bash", "-c", "sleep 6; echo done", CODECSEP_JOB_SAY="0.5", CODECSEP_JOB_POLL="1")
    job = job_of(process)
    assert wait_for(lambda: is_running(slurm, job))
    slurm.stop_controller()
    time.sleep(2)
    slurm.start_controller()
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert place.body("x.log") == "done\n"
