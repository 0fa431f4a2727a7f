"""utils/parse_options.sh: every row of its contract, under `set -euo pipefail` and without."""

import os
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


@pytest.fixture(params=["set -euo pipefail", ""], ids=["strict", "plain"])
def run(request, tmp_path):
    script = tmp_path / "script.sh"
    script.write_text(SCRIPT.format(flags=request.param, root=ROOT))

    def call(*words, **environment):
        environment = {**os.environ, **environment}
        return subprocess.run(
            ["bash", script, *words], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment
        )

    return call


DEFAULTS = {"stage": "1", "stop": "10", "tag": "", "skip": "false", "cmd": "run.pl", "opts": ""}


def values(result):
    """The options that are not at their default, and the remaining words."""
    assert result.returncode == 0, result.stderr
    *words, end = result.stdout.split("|")
    assert end == ""  # nothing of the parser's own is left behind
    given = dict(word.split("=", 1) for word in words[:6])
    return {k: v for k, v in given.items() if v != DEFAULTS[k]}, words[6:]


@pytest.mark.parametrize(
    ("words", "changed", "rest"),
    [
        ([], {}, []),
        (["--stage", "3"], {"stage": "3"}, []),
        (["--stop-stage", "7"], {"stop": "7"}, []),
        (["--stop_stage", "7"], {"stop": "7"}, []),
        (["--stage=3"], {"stage": "3"}, []),
        (["--tag="], {}, []),
        (["--stage", "3", "--stage", "4"], {"stage": "4"}, []),
        (["--opts", "--a b"], {"opts": "--a b"}, []),
        (["--tag", "-5"], {"tag": "-5"}, []),
        (["--tag", ""], {}, []),
        (["--skip-train", "true"], {"skip": "true"}, []),
        (["--stage", "3", "word", "--stage", "4"], {"stage": "3"}, ["word", "--stage", "4"]),
        (["-x", "--stage", "4"], {}, ["-x", "--stage", "4"]),
        (["", "a"], {}, ["", "a"]),
        (["--stage", "2", "--", "--stage", "4"], {"stage": "2"}, ["--stage", "4"]),
    ],
)
def test_accepted(run, words, changed, rest):
    assert values(run(*words)) == (changed, rest)


@pytest.mark.parametrize("value", ["$HOME `id` $(touch canary)", '"; touch canary; : "', "'", "*", "a\\b", 'x"y'])
def test_value_is_literal(run, tmp_path, value):
    assert values(run("--tag", value)) == ({"tag": value}, [])
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stge", "3"], "invalid option --stge; did you mean --stage?"),
        (["--stop", "3"], "invalid option --stop"),
        (["--zzzzzzzz", "3"], "invalid option --zzzzzzzz (--help lists all)"),
        (["--stagee"], "invalid option --stagee; did you mean --stage?"),
        (["--stage"], "option --stage requires a value"),
        (["--a.b", "v"], "invalid option name '--a.b'"),
        (["--skip-train", "yes"], "option --skip-train takes true or false, got 'yes'"),
        (["--skip-train", ""], "option --skip-train takes true or false, got ''"),
        (["--train-cmd", ""], "empty argument to --train-cmd option"),
        (["--PATH", "/"], "invalid option --PATH"),
        (["--list", "c"], "invalid option --list"),
        (["--fixed", "2"], "invalid option --fixed"),
        (["--help-message", "c"], "invalid option --help-message"),
        (["--config", "absent.conf"], "the file of --config cannot be read: 'absent.conf'"),
        (["--config"], "option --config requires a value"),
    ],
)
def test_refused_in_one_line(run, words, message):
    result = run(*words)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("script.sh: ") and message in result.stderr


def test_environment_is_no_option_but_declared_names_are(run):
    assert run("--http_proxy", "x", http_proxy="y").returncode == 1
    assert values(run("--tag", "x", tag="from outside")) == ({"tag": "x"}, [])


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--stage", "2", "--help"], ["--help", "--nonsense"]])
def test_help(run, words):
    result = run(*words)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == 'usage: x [--stage N]   100% "ok" $HOME\n'


def test_config_file_comes_before_the_command_line(run, tmp_path):
    (tmp_path / "a.conf").write_text("# a comment\n\nstage=4\ntag=\"a $HOME b\"\nopts='--x 1'\nstop_stage=6")
    changed, rest = values(run("--stage", "5", "--config", "a.conf", "word"))
    assert (changed, rest) == ({"stage": "5", "stop": "6", "tag": "a $HOME b", "opts": "--x 1"}, ["word"])
    assert values(run("--config=a.conf"))[0]["stage"] == "4"


@pytest.mark.parametrize("line", ["stge=4", "touch canary", "skip_train=maybe"])
def test_config_file_is_checked(run, tmp_path, line):
    (tmp_path / "a.conf").write_text(f"tag=x\n{line}\n")
    result = run("--config", "a.conf")
    assert result.returncode == 1 and "a.conf, line 2" in result.stderr
    assert not (tmp_path / "canary").exists()
