"""The grammar of conf/slurm.conf and its like, and the codes of the launchers' errors."""

import re
import sys
from pathlib import Path

import pytest

from codecsep.error_codes import CODES

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "utils"))

from jobs import conf  # noqa: E402
from jobs.local import limit_of  # noqa: E402
from jobs.problem import Problem  # noqa: E402
from jobs.request import parse  # noqa: E402
from jobs.slurm import Slurm, ranges  # noqa: E402

ESPNET = """\
# Default configuration
command sbatch --export=PATH
option name=* --job-name $0
option time=* --time $0
option mem=* --mem-per-cpu $0
option mem=0
option num_threads=* --cpus-per-task $0
option num_threads=1 --cpus-per-task 1
option num_nodes=* --nodes $0
default gpu=0
option gpu=0 -p cpu
option gpu=* -p gpu --gres=gpu:$0 -c $0  # Recommend allocating more CPU than, or equal to the number of GPU
"""
QUEUE = """\
command qsub -v PATH -cwd -S /bin/bash -j y -l arch=*64*
option mem=* -l mem_free=$0,ram_free=$0
option num_threads=* -pe smp $0
option num_threads=1 # nothing
option max_jobs_run=* -tc $0
default gpu=0
option gpu=0 -q all.q
option gpu=* -l gpu=$0 -q g.q
"""


@pytest.fixture
def words(tmp_path):
    def words(text, **options):
        (tmp_path / "c.conf").write_text(text)
        return conf.read(tmp_path / "c.conf", "slurm.pl").words(options)

    return words


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "-p cpu"),
        ({"gpu": "0"}, "-p cpu"),
        ({"gpu": "2"}, "-p gpu --gres=gpu:2 -c 2"),
        ({"mem": "0"}, "-p cpu"),
        ({"mem": "4G", "num_threads": "1", "time": "1:0:0"}, "-p cpu --mem-per-cpu 4G --cpus-per-task 1 --time 1:0:0"),
        ({"num_threads": "8", "num_nodes": "2", "name": "x"}, "-p cpu --cpus-per-task 8 --nodes 2 --job-name x"),
        ({"max_jobs_run": "3", "pick": "all", "config": "f", "requeue": "true"}, "-p cpu"),
    ],
)
def test_espnets_file_unchanged(words, options, expected):
    assert words(ESPNET, **options) == expected.split()


def test_grid_engines_file(words, tmp_path):
    expected = "-q all.q -l mem_free=4G,ram_free=4G -tc 3"
    assert words(QUEUE, mem="4G", num_threads="1", max_jobs_run="3") == expected.split()
    assert conf.read(tmp_path / "c.conf", "x").command == "qsub -v PATH -cwd -S /bin/bash -j y -l arch=*64*".split()


def test_lines_in_any_order(words):
    text = "option gpu=* --gres=gpu:$0\noption gpu=0\ndefault gpu=0\ncommand sbatch\n"
    assert words(text) == [] and words(text, gpu="1") == ["--gres=gpu:1"]


def test_values_stay_one_word_and_are_not_expanded(words):
    value = "a b; $(touch x) '\" $0"
    assert words("command sbatch\noption name=* --job-name=$0 --comment $0\n", name=value) == [
        f"--job-name={value}", "--comment", value
    ]  # fmt: skip


def test_dashes_are_underscores(words):
    assert words("command sbatch\noption num-threads=* -c $0\n", num_threads="3") == ["-c", "3"]


def test_quotes_in_the_file(words, tmp_path):
    text = "command sbatch --comment 'two words' # it's a comment\noption x=* --y \"a  b\" $0\n"
    assert words(text, x="1") == ["--y", "a  b", "1"]
    assert conf.read(tmp_path / "c.conf", "x").command == ["sbatch", "--comment", "two words"]


def test_unknown_option_lists_the_known_ones(words):
    with pytest.raises(Problem) as caught:
        words(ESPNET, foo="log/x.log")
    text = str(caught.value)
    assert caught.value.status == 255 and text.startswith("E642 --foo: unknown option (its value would be 'log/x.log')")
    assert "--num-threads" in text and "add 'option foo=* ...' to " in text


def test_value_that_no_line_describes(words):
    with pytest.raises(Problem, match="E642 --queue c: is one of a, b"):
        words("command sbatch\noption queue=a -p a\noption queue=b -p b\n", queue="c")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("option a=* -a $0\n", "has no line 'command ...'"),
        ("command sbatch\nopton a=* -a $0\n", ":2: cannot be understood: 'opton a=* -a $0'"),
        ("command sbatch\noption a\n", ":2: cannot be understood"),
        ("command sbatch\ndefault a=1 2\n", ":2: cannot be understood"),
        ("command\n", ":1: cannot be understood"),
        ("command sbatch 'x\n", ":1: No closing quotation"),
        ("command sbatch\ndefault a=1\n", "'default a=' without 'option a=...'"),
    ],
)
def test_wrong_lines(words, text, said):
    with pytest.raises(Problem, match="E641") as caught:
        words(text)
    assert said in str(caught.value) and caught.value.status == 1


def test_star_without_value_is_only_a_warning(words, capsys):
    assert words("command sbatch\noption big=* --mem 9G\n", big="yes") == ["--mem", "9G"]
    assert "'option big=*' has no $0" in capsys.readouterr().err


def test_where_the_file_is_looked_for(tmp_path, monkeypatch):
    recipe = tmp_path / "corpus" / "recipe"
    (tmp_path / "corpus/conf").mkdir(parents=True)
    (recipe / "conf").mkdir(parents=True)
    monkeypatch.chdir(recipe)
    request = parse("slurm.pl", "", ["x.log", "true"])
    with pytest.raises(Problem, match="E641 conf/slurm.conf or ../conf/slurm.conf: no such file"):
        conf.find(request, "slurm.conf")
    (tmp_path / "corpus/conf/slurm.conf").write_text("")
    assert str(conf.find(request, "slurm.conf")) == "../conf/slurm.conf"
    (recipe / "conf/slurm.conf").write_text("")
    assert str(conf.find(request, "slurm.conf")) == "conf/slurm.conf"
    with pytest.raises(Problem, match="E641 mine.conf: no such file"):
        conf.find(parse("slurm.pl", "", ["--config", "mine.conf", "x.log", "true"]), "slurm.conf")


@pytest.mark.parametrize("path", sorted(ROOT.glob("egs/*/conf/*.conf")), ids=lambda path: path.name)
def test_shipped_files(path):
    """They hold no name of a site, ask for nothing by default, and know the options that recipes use."""
    file = conf.read(path, "x")
    assert file.words({}) == []
    assert not re.search(r"(^|\s)(-p|-q|--partition|-A|--account)\b", path.read_text(), re.MULTILINE)
    assert file.words({"gpu": "2", "num_threads": "4", "mem": "4G", "time": "60", "name": "x"})


@pytest.mark.parametrize(
    ("cpus", "jobs", "limit", "given"), [(10, 13, 13, None), (10, 14, 10, None), (2, 1, 2, None), (10, 50, 3, "3")]
)
def test_jobs_at_a_time(monkeypatch, cpus, jobs, limit, given):
    """As many as CPUs; a few more than that are all started at once rather than left for a second round."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(cpus)))
    options = ["--max-jobs-run", given] if given else []
    request = parse("run.pl", "", [*options, f"JOB=1:{jobs}", "x.JOB.log", "true"])
    assert limit_of(request, jobs) == limit


@pytest.mark.parametrize(
    ("numbers", "text"), [([1], "1"), ([1, 2, 3], "1-3"), ([1, 3, 4, 7], "1,3-4,7"), ([2, 4], "2,4")]
)
def test_ranges(numbers, text):
    assert ranges(numbers) == text


@pytest.mark.parametrize(
    ("answer", "job"),
    [
        ("12\n", "12"),
        ("12;north\n", "12"),
        ("Submitted batch job 12\n", "12"),
        ("Submitted batch job 12 on cluster north\n", "12"),
        ("welcome to 2026\nSubmitted batch job 12\n", "12"),
        ("quota: 3 of 4\n", ""),
        ("", ""),
    ],
)
def test_ids_that_sbatch_prints(answer, job):
    assert Slurm().job_of(answer) == job


def test_codes_are_in_the_catalogue():
    text = "".join(path.read_text() for path in (ROOT / "utils/jobs").glob("*.py"))
    codes = set(re.findall(r'"(E\d{3})"', text))
    assert codes >= {"E521", "E620", "E621", "E640", "E641"} and codes <= set(CODES)
