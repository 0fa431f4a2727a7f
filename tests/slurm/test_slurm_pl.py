"""utils/slurm.pl with a Slurm that is a few files and processes: every way in which a job can end, or not."""

import os
import re
import signal
import time

import launching
import pytest
from launching import wait_for

ERROR = re.compile(r"slurm\.pl: E\d{3} .+ \(fix: .+\)")


def test_a_job(place):
    result = place.run("exp/log/x.log", "echo", "hello")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == "slurm.pl: job 1: exp/log/x.log\n"
    log = place.read("exp/log/x.log")
    for line in ("# echo hello", "# Started at ", "# Running on ", "# SLURM_JOB_ID=1", "hello", "# Finished at "):
        assert re.search(f"^{re.escape(line)}", log, re.MULTILINE), line
    footer = r"# Finished at .+ with status 0\n# Accounting: time=\d+ threads=1\n# Ended \(code 0\) at .+\n$"
    assert re.search(footer, log)
    assert sorted(path.name for path in (place.folder / "exp/log/q").iterdir()) == ["x.log", "x.sh"]
    assert "submitted batch job 1" in place.read("exp/log/q/x.log")


def test_an_array(place, home):
    result = place.run("--time", "10", "--max-jobs-run", "2", "JOB=2:4", "log/x.JOB.log", "bash", "-c", "echo aJOBb")
    assert result.returncode == 0, result.stderr
    assert [place.body(f"log/x.{number}.log") for number in (2, 3, 4)] == ["a2b\n", "a3b\n", "a4b\n"]
    words = launching.submissions(home)[0]
    assert words[0] == "--export=ALL" and "--array=2-4%2" in words and words[-2:] == ["--time=10", "log/q/x.sh"]


def test_one_number_is_an_array_too(place):
    assert place.run("JOB=3", "x.JOB.log", "echo", "JOB").returncode == 0
    assert place.body("x.3.log") == "3\n"


def test_limit_without_an_array(place, home):
    result = place.run("--max-jobs-run", "2", "x.log", "true")
    assert result.returncode == 0 and "--max-jobs-run is ignored" in result.stderr
    assert not [word for word in launching.submissions(home)[0] if "array" in word]


def test_failed_and_killed_tasks_are_named(place):
    """Task 2's command is killed, task 3 fails, task 4 is killed with all that watches over it."""
    command = "echo here is JOB; case JOB in 2) kill -9 $$;; 3) exit 7;; 4) kill -9 $PPID $$;; esac"
    began = time.time()
    result = place.run("JOB=1:4", "log/x.JOB.log", "bash", "-c", command)
    assert result.returncode == 1 and time.time() - began < 30
    lines = result.stderr.splitlines()[1:]
    assert lines[0] == "slurm.pl: 3 / 4 failed, log is in log/x.*.log"
    assert all(ERROR.fullmatch(line) for line in lines[1:4])
    assert "E521 task 2 (log/x.2.log): FAILED" in lines[1] and "killed by signal 9 - out of memory?" in lines[1]
    assert "E620 task 3 (log/x.3.log): FAILED" in lines[2] and "ended with status 7" in lines[2]
    assert "E620 task 4 (log/x.4.log): FAILED" in lines[3]
    assert lines[4] == "slurm.pl: the end of log/x.2.log:" and lines[5] == "here is 2"


def test_one_job_fails(place):
    result = place.run("x.log", "bash", "-c", "exit 5")
    assert result.returncode == 1
    assert result.stderr.splitlines()[1] == "slurm.pl: job failed with status 5, log is in x.log"


def test_command_that_is_not_there(place):
    result = place.run("x.log", "no-such-program")
    assert result.returncode == 1 and "slurm.pl: no-such-program: No such file or directory" in result.stderr
    assert "job failed with status 127" in result.stderr


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("CANCELLED by 1000", "E620"),
        ("TIMEOUT TimeLimit", "E620"),
        ("NODE_FAIL NodeDown", "E620"),
        ("OUT_OF_MEMORY OutOfMemory", "E521"),
        ("PREEMPTED None", "E620"),
        ("DEADLINE DeadLine", "E620"),
    ],
)
def test_dead_job_is_noticed(place, home, state, code):
    """The node is gone: nothing runs any more and nothing tells its status."""
    process = place.start("JOB=1:2", "log/x.JOB.log", "bash", "-c", "[[ JOB == 1 ]] || exec sleep 300")
    assert wait_for((place.folder / "log/x.2.log").exists)
    (home / "1_2.state").write_text(state)
    for pid in launching.left_of_session(int((home / "1_2.pid").read_text())):
        os.kill(pid, signal.SIGKILL)
    began = time.time()
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1 and time.time() - began < 30
    assert f"slurm.pl: {code} task 2 (log/x.2.log): {state.split()[0]}" in output
    assert "1 / 2 failed" in output


def test_vanished_job(place, home):
    process = place.start("x.log", "sleep", "300")
    assert wait_for((home / "1_0.pid").exists)
    for pid in launching.left_of_session(int((home / "1_0.pid").read_text())):
        os.kill(pid, signal.SIGKILL)
    (home / "forgotten").write_text("")
    began = time.time()
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1 and time.time() - began < 30
    assert "E620 x.log: the scheduler does not know the job any more on the cluster (job 1)" in output


@pytest.mark.parametrize("forgets", [False, True])
def test_status_file_that_never_shows_up(place, home, forgets):
    """A disk that is full, a network file system that is late: the end of the log tells as much."""
    script = "for word in $(ps -o args= $PPID); do case $word in log/q/x.done.*) mkdir $word.1.tmp;; esac; done"
    process = place.start("log/x.log", "bash", "-c", f"{script}; echo done")
    assert wait_for((home / "1_0.pid").exists)
    if forgets:  # a controller that forgets ended jobs at once
        (home / "forgotten").write_text("")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert place.body("log/x.log") == "done\n" and not list((place.folder / "log/q").glob("x.done.*.1"))


def test_completed_with_neither_status_nor_end_of_log(place, home):
    process = place.start("x.log", "sleep", "300")
    assert wait_for((place.folder / "x.log").exists)
    (home / "1_0.state").write_text("COMPLETED None")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1 and "E620 x.log: COMPLETED on the cluster (job 1)" in output
    os.killpg(int((home / "1_0.pid").read_text()), signal.SIGTERM)


def test_controller_is_down_for_a_while(place, home):
    process = place.start("x.log", "bash", "-c", "sleep 4; echo done")
    assert wait_for((home / "1_0.pid").exists)
    (home / "down").write_text("")
    time.sleep(2.5)
    (home / "down").unlink()
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0
    assert "job 1: the scheduler does not answer (squeue: error: Unable to contact slurm controller" in output
    assert place.body("x.log") == "done\n"


def test_controller_is_down_and_the_job_fails_meanwhile(place, home):
    process = place.start("x.log", "bash", "-c", "exit 3")
    (home / "down").write_text("") if wait_for((home / "1_0.pid").exists) else None
    time.sleep(2)
    assert process.poll() is None  # not blamed on the job before Slurm has been asked whether it starts again
    (home / "down").unlink()
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1 and "job failed with status 3" in output


def test_controller_is_down_at_submission(place, home):
    (home / "down").write_text("")
    process = place.start("x.log", "true")
    assert wait_for(lambda: (home / "sbatch.jsonl").exists() and len(launching.submissions(home)) >= 2)
    (home / "down").unlink()
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "Unable to contact slurm controller (connect failure); trying again" in output


def test_refused(place, home):
    (home / "refuse").write_text("More processors requested than permitted")
    result = place.run("x.log", "true")
    assert result.returncode == 1 and ERROR.fullmatch(result.stderr.strip())
    assert "E621" in result.stderr and "More processors requested than permitted" in result.stderr


def test_why_a_job_waits_is_told(place, home):
    (home / "hold").write_text("Resources")
    process = place.start("JOB=1:3", "x.JOB.log", "true")
    assert "job 1: x.JOB.log" in process.stdout.readline()
    assert process.stdout.readline() == "slurm.pl: job 1: 3 of 3 PENDING (Resources)\n"
    (home / "hold").unlink()
    process.communicate(timeout=120)
    assert process.returncode == 0


@pytest.mark.parametrize("reason", ["PartitionTimeLimit", "BadConstraints", "QOSMaxCpuPerJobLimit", "PartitionConfig"])
def test_what_can_never_run_is_cancelled(place, home, reason):
    (home / "hold").write_text(reason)
    result = place.run("x.log", "true")
    assert result.returncode == 1 and (home / "1.cancelled").exists()
    assert f"E623 job 1: PENDING ({reason}): this request can never run; cancelled" in result.stderr


def test_status_85_starts_it_again(place):
    """The log of the first attempt is kept; what counts is how the second one ends."""
    command = "echo attempt ${SLURM_RESTART_COUNT:-0}; (( ${SLURM_RESTART_COUNT:-0} == 2 )) || exit 85"
    result = place.run("--requeue", "true", "log/x.log", "bash", "-c", command)
    assert result.returncode == 0, result.stderr
    assert [place.body(f"log/x.log{end}") for end in ("", ".attempt1", ".attempt2")] == [
        "attempt 2\n", "attempt 0\n", "attempt 1\n"
    ]  # fmt: skip
    assert "(code 85)" in place.read("log/x.log.attempt1")
    assert place.read("log/q/x.log").count("asking Slurm to start it again") == 2


def test_status_85_is_a_failure_where_nobody_asked_for_a_new_start(place):
    result = place.run("x.log", "bash", "-c", "exit 85")
    assert result.returncode == 1 and "status 85" in result.stderr


def test_preempted_job_is_waited_for(place, home):
    """Slurm ends the job and starts it again by itself: the status of the first attempt does not count."""
    command = "trap 'exit 9' TERM; [[ -n ${SLURM_RESTART_COUNT:-} ]] && exit 0; touch up; sleep 60 & wait"
    process = place.start("x.log", "bash", "-c", command, FAKE_REQUEUE_DELAY="3")
    assert wait_for((place.folder / "up").exists)
    launching.subprocess.run([launching.FAKE / "bin/scontrol", "requeue", "1"], env=place.environment, check=True)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert "(code 9)" in place.read("x.log.attempt1") and "(code 0)" in place.read("x.log")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_cancel(place, home, signum):
    process = place.start("x.log", "bash", "-c", "sleep 300 & echo $! $$ > pids; wait")
    assert wait_for(lambda: (place.folder / "pids").exists() and len(place.read("pids").split()) == 2)
    process.send_signal(signum)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signum and f"stopped by signal {signum}; its jobs were ended" in output
    assert (home / "1.cancelled").exists()
    assert wait_for(lambda: not any(launching.alive(int(pid)) for pid in place.read("pids").split()), 5)


def test_jobs_are_cancelled_when_their_recipe_is_gone(place, home):
    recipe = launching.subprocess.Popen(["sleep", "300"])
    process = place.start("x.log", "sleep", "300", RECIPE_PID=str(recipe.pid))
    assert wait_for((home / "1_0.pid").exists)
    recipe.kill()
    recipe.wait()
    process.communicate(timeout=60)
    assert process.returncode == 143 and (home / "1.cancelled").exists()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("pipe", [[], ["|", "cat"]])
def test_signals_to_the_script_reach_the_command(place, home, signum, pipe):
    """Slurm's --signal=B:USR1 goes to the batch script alone."""
    handler = f"s.signal({int(signum)}, lambda *_: sys.exit('saved'))"
    program = f"import signal as s, sys; {handler}; open('up', 'w'); s.pause()"
    process = place.start("x.log", "python3", "-c", program, *pipe)
    assert wait_for((place.folder / "up").exists)
    os.kill(int((home / "1_0.pid").read_text()), signum)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and place.body("x.log").startswith("saved\n"), output
    assert "with status 1," in output or (pipe and signum == signal.SIGTERM)  # which ends cat as well


def test_log_that_cannot_be_written(place):
    (place.folder / "file").write_text("")
    result = place.run("file/x.log", "true")
    assert result.returncode == 1 and result.stderr.startswith("slurm.pl: E643 ")


@pytest.mark.parametrize(("words", "status"), [([], 255), (["x.log"], 255), (["JOB=2:1", "x.JOB.log", "true"], 255)])
def test_wrong_usage(place, words, status):
    result = place.run(*words)
    assert result.returncode == status and result.stderr.startswith("slurm.pl: E640 ")
