"""utils/parse_options.sh: every row of its contract, under `set -euo pipefail` and without."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """{flags}
stage=1
stop_stage=10
tag=
skip_train=false
train_cmd=run.pl
opts=
help_message="usage: x [--stage N]   100% \\"ok\\" \\$HOME"
list=(a b)
readonly fixed=1
. {root}/utils/parse_options.sh
printf '%s|' "stage=$stage" "stop=$stop_stage" "tag=$tag" "skip=$skip_train" "cmd=$train_cmd" "opts=$opts" "$@"
declare -F | grep _po_ || compgen -v _po_ || true
"""
DEFAULTS = {"stage": "1", "stop": "10", "tag": "", "skip": "false", "cmd": "run.pl", "opts": ""}


@pytest.fixture(params=["set -euo pipefail", ""], ids=["strict", "plain"])
def script(request, tmp_path):
    """Runs the text of a script that sources the parser, with these words and this environment."""

    def call(text, *words, **environment):
        path = tmp_path / "script.sh"
        path.write_text(text.format(flags=request.param, root=ROOT))
        environment = {**os.environ, **environment}
        return subprocess.run(
            ["bash", path, *words], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment
        )

    return call


@pytest.fixture
def run(script):
    return lambda *words, **environment: script(SCRIPT, *words, **environment)


def values(result):
    """The options that are not at their default, and the remaining words."""
    assert result.returncode == 0, result.stderr
    *words, end = result.stdout.split("|")
    assert end == ""  # nothing of the parser's own is left behind
    given = dict(word.split("=", 1) for word in words[:6])
    return {k: v for k, v in given.items() if v != DEFAULTS[k]}, words[6:]


def assert_refused(result, message):
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"script\.sh: E144 .+ \(fix: .+\)\n", result.stderr), result.stderr
    assert message in result.stderr


def test_row_01_a_name_that_is_set_takes_its_value(run):
    assert values(run("--stage", "3", "--tag", "x y")) == ({"stage": "3", "tag": "x y"}, [])
    assert values(run()) == ({}, [])


def test_row_02_dashes_in_a_name_are_underscores(run):
    assert values(run("--stop-stage", "7")) == values(run("--stop_stage", "7")) == ({"stop": "7"}, [])


def test_row_03_a_value_may_be_attached(run):
    assert values(run("--stage=3", "--stop-stage=4")) == ({"stage": "3", "stop": "4"}, [])
    assert values(run("--tag=")) == ({}, [])
    assert values(run("--opts=--a=b c")) == ({"opts": "--a=b c"}, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stge", "3"], "invalid option --stge; did you mean --stage? (fix: script.sh --help lists all)"),
        (["--stop", "3"], "invalid option --stop"),
        (["--zzzzzzzz", "3"], "invalid option --zzzzzzzz (fix: script.sh --help lists all)"),
        (["--stagee"], "invalid option --stagee; did you mean --stage?"),
        (["--stagee=3"], "invalid option --stagee; did you mean --stage?"),
    ],
)
def test_row_04_an_unknown_option_is_refused_with_the_nearest_name(run, words, message):
    assert_refused(run(*words), message)


@pytest.mark.parametrize("name", ["PATH", "HOME", "BASH_VERSION", "IFS", "list", "fixed", "help_message", "http_proxy"])
def test_row_05_only_what_the_script_sets_is_an_option(run, name):
    assert_refused(run(f"--{name}", "x", http_proxy="y"), f"invalid option --{name}")


def test_row_05_a_name_that_is_in_the_environment_too(run):
    assert values(run("--tag", "x", tag="from outside")) == ({"tag": "x"}, [])


@pytest.mark.parametrize("value", ["yes", "True", "1", "0", "", "TRUE", "false "])
def test_row_06_a_boolean_takes_true_or_false(run, value):
    assert_refused(run("--skip-train", value), f"option --skip-train takes true or false, got '{value}'")
    assert values(run("--skip-train", "true")) == ({"skip": "true"}, [])


@pytest.mark.parametrize("value", ["-5", "--a b", "--stage", "-", "--help"])
def test_row_07_a_value_may_begin_with_a_dash(run, value):
    assert values(run("--opts", value)) == ({"opts": value}, [])


@pytest.mark.parametrize("option", ["--stage", "--skip-train", "--config"])
def test_row_08_a_missing_value_is_an_error(run, option):
    assert_refused(run(option), f"option {option} requires a value")
    assert_refused(run("--tag", "x", option), f"option {option} requires a value")


def test_row_09_the_last_one_counts(run):
    assert values(run("--stage", "3", "--tag", "a", "--stage", "4")) == ({"stage": "4", "tag": "a"}, [])


@pytest.mark.parametrize("rest", [["word", "--stage", "4"], ["-x", "--stage", "4"], ["", "a"], ["-5"]])
def test_row_10_the_first_other_word_ends_the_options(run, rest):
    assert values(run("--stage", "3", *rest)) == ({"stage": "3"}, rest)


def test_row_11_two_dashes_end_the_options(run):
    assert values(run("--stage", "2", "--", "--stage", "4")) == ({"stage": "2"}, ["--stage", "4"])
    assert values(run("--")) == ({}, [])


@pytest.mark.parametrize("name", ["--a.b", "--a b", "--1a", "--a[0]", "--$(touch canary)", "--é", "--=x"])
def test_row_12_a_name_that_is_none(run, tmp_path, name):
    assert_refused(run(name, "v"), "invalid option name '")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--stage", "2", "--help"], ["--help", "--nonsense"]])
def test_row_13_help_is_printed_as_it_is(run, words):
    result = run(*words)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == 'usage: x [--stage N]   100% "ok" $HOME\n'


def test_row_13_without_a_help_message(script):
    result = script("{flags}\nstage=1\n. {root}/utils/parse_options.sh\n", "--help")
    assert (result.returncode, result.stdout, result.stderr) == (0, "No help found.\n", "")


def test_row_14_config_files_come_before_the_command_line(run, tmp_path):
    (tmp_path / "a.conf").write_text("# a comment\n\nstage=4\ntag=\"a $HOME b\"\nopts='--x 1'\nstop_stage=6")
    (tmp_path / "b.conf").write_text("stop_stage=8\n")
    changed, rest = values(run("--stage", "5", "--config", "a.conf", "word"))
    assert (changed, rest) == ({"stage": "5", "stop": "6", "tag": "a $HOME b", "opts": "--x 1"}, ["word"])
    assert values(run("--config=a.conf"))[0]["stage"] == "4"
    assert values(run("--config", "a.conf", "--config", "b.conf"))[0]["stop"] == "8"
    assert values(run("--config=b.conf", "--config", "a.conf"))[0]["stop"] == "6"


@pytest.mark.parametrize("line", ["stge=4", "touch canary", "skip_train=maybe", "tag=$(touch canary) `touch canary`"])
def test_row_14_a_config_file_is_read_not_run(run, tmp_path, line):
    (tmp_path / "a.conf").write_text(f"stage=2\n{line}\n")
    result = run("--config", "a.conf")
    if line.startswith("tag="):
        assert values(result)[0]["tag"] == line[4:]
    else:
        assert_refused(result, "a.conf, line 2")
    assert not (tmp_path / "canary").exists()


def test_row_14_a_config_file_that_is_missing(run):
    assert_refused(run("--config", "absent.conf"), "the file of --config cannot be read: 'absent.conf'")


@pytest.mark.parametrize(
    "value", ["$HOME `id` $(touch canary)", '"; touch canary; : "', "'", "*", "a\\b", 'x"y', "a\nb", "%s %d", "${x}"]
)
def test_row_15_a_value_is_literal(run, tmp_path, value):
    assert values(run("--tag", value)) == ({"tag": value}, [])
    assert values(run(f"--tag={value}")) == ({"tag": value}, [])
    assert not (tmp_path / "canary").exists()


def test_row_16_an_empty_value(run):
    assert values(run("--opts", "", "--stage", "")) == ({"stage": ""}, [])
    assert_refused(run("--train-cmd", ""), "empty argument to --train-cmd option")


def test_row_17_names_of_the_caller_are_left_alone(script):
    text = """{flags}
name=a oldval=b was_bool=c argpos=d argpos_plus1=e line=f key=g value=h i=j config=k
. {root}/utils/parse_options.sh
echo "$name $oldval $was_bool $argpos $argpos_plus1 $line $key $value $i $config $#"
"""
    assert script(text, "--value", "new", "rest").stdout == "a b c d e f g new j k 1\n"


def test_row_18_runs_under_the_settings_of_the_caller(script):
    text = """{flags}
stage=1
before=$-$(shopt -o pipefail)
. {root}/utils/parse_options.sh
[[ $before == $-$(shopt -o pipefail) ]] && echo same "$stage" "$@"
"""
    assert script(text, "--stage", "2", "a b", "", "c").stdout == "same 2 a b  c\n"
    assert script(text).stdout == "same 1\n"


def test_a_message_is_one_line_whatever_was_given(run):
    assert_refused(run("--skip-train", "a\nb\033[2J"), "got 'a b [2J'")
