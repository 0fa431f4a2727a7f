"""utils/slurm.pl with a fake Slurm: values, environments, folders, and which jobs of an array are run."""

import os
import re
import signal

import launching
import pytest
from launching import Place, wait_for

ERROR = re.compile(r"slurm\.pl: E\d{3} .+ \(fix: .+\)")
ODD = ["two words", "it's", '"', "$HOME", "`date`", "$(touch canary)", "a\nb", "", "*", "\\", "é日", "#SBATCH -t 1"]


def test_values_are_data(place, home):
    command = "import sys; open('argv', 'w').write(repr(sys.argv[1:]))"
    result = place.run("x.log", "python3", "-c", command, *ODD)
    assert result.returncode == 0, result.stderr + place.read("x.log")
    assert eval(place.read("argv"), {}) == ODD and not (place.folder / "canary").exists()


def test_shell_words_are_a_shells(place):
    assert place.run("x.log", "printf", "%s\n", "$HOME", "|", "cat", ">", "out.txt").returncode == 0
    assert place.read("out.txt") == "$HOME\n"
    assert place.run("x.log", "false", "|", "cat").returncode == 1


@pytest.mark.parametrize("name", ["two words", "a,b [1]", "100%d", "it's $x", "日本"])
def test_odd_folders(place, name):
    inner = Place(place.folder / name, place.environment)
    launching.conf(inner.folder, launching.CONF)
    result = inner.run("JOB=1:2", "exp dir/x%j.JOB.log", "echo", "JOB")
    assert result.returncode == 0, result.stderr
    assert inner.body("exp dir/x%j.2.log") == "2\n" and "submitted" in inner.read("exp dir/q/x%j.log")


def test_logs_in_a_folder_of_each_job(place):
    assert place.run("JOB=1:2", "log/JOB/x.log", "echo", "JOB").returncode == 0
    assert place.body("log/2/x.log") == "2\n" and (place.folder / "log/q/x.sh").is_file()


def test_environment_of_a_job(place, monkeypatch):
    (place.folder.parent / "path.sh").write_text("export FROM_PATH_SH=yes\n")
    command = "echo =$FROM_PATH_SH=$GIVEN=$OMP_NUM_THREADS=${RECIPE_PID-unset}="
    launching.conf(place.folder, launching.CONF + "option num_threads=* -c $0\n")
    environment = {"GIVEN": "two words", "RECIPE_PID": str(os.getpid())}
    assert place.run("x.log", "bash", "-c", command, **environment).returncode == 0
    assert place.body("x.log") == "=yes=two words=1=unset=\n"
    assert place.run("--num-threads", "3", "x.log", "bash", "-c", command, **environment).returncode == 0
    assert "=3=" in place.body("x.log") and "threads=3" in place.read("x.log")
    (place.folder / "path.sh").write_text("export FROM_PATH_SH=own\n")
    assert place.run("x.log", "bash", "-c", command, **environment).returncode == 0
    assert "=own=" in place.body("x.log")


@pytest.mark.parametrize(
    ("pick", "array", "status"),
    [("failed", "--array=2-3,5", 0), ("incomplete", "--array=3", 1), ("all", "--array=1-5", 0)],
)
def test_pick(place, home, pick, array, status):
    for number, end in {1: "code 0", 2: "code 3", 4: "code 0", 5: "code 0; signal 9"}.items():
        (place.folder / f"x.{number}.log").write_text(f"# Ended ({end}) at some time\n")
    result = place.run("--pick", pick, "JOB=1:5", "x.JOB.log", "true")
    assert result.returncode == status and array in launching.submissions(home)[0]
    if pick == "incomplete":
        assert "slurm.pl: 2 / 5 failed" in result.stderr and "E521 task 5" in result.stderr


def test_nothing_left_to_pick(place, home):
    (place.folder / "x.log").write_text("# Ended (code 0) at some time\n")
    assert place.run("--pick", "failed", "x.log", "true").returncode == 0
    assert not list(home.iterdir())


def test_old_log_is_not_taken_for_the_new_one(place, home):
    (place.folder / "x.log").write_text("# Ended (code 0) at some time\n")
    process = place.start("x.log", "sleep", "300")
    assert wait_for((home / "1_0.pid").exists)
    (home / "forgotten").write_text("")
    for pid in launching.left_of_session(int((home / "1_0.pid").read_text())):
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode == 1


def test_no_slurm_here(place):
    launching.conf(place.folder, "command no-such-sbatch\n")
    result = place.run("x.log", "true")
    assert result.returncode == 1 and ERROR.fullmatch(result.stderr.strip()) and "E622" in result.stderr
