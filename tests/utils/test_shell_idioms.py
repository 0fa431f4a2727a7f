"""A command that fails inside a stage: where bash stops by itself, and what recipes may not use because it does not."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """set -euo pipefail
. "{root}/utils/stage.sh"
stage=1 stop_stage=2
if at 1 "one"; then
{body}
fi
if at 2 "two"; then echo later; fi
"""
STOPS = {
    "first of a pipe": "false | cat",
    "last of a pipe": "true | false",
    "middle of a pipe": "echo a | grep b | cat",
    "group in a pipe": "{ false; true; } | cat",
    "into tee": "false | tee log > /dev/null",
    "assigned substitution": "x=$(false)",
    "substitution that goes on": 'x=$(false; echo a); echo "$x"',
    "array of a substitution": "x=($(false))",
    "sum with a substitution": "x=$(( $(false; echo 1) + 1 )); echo $x",
    "sub-shell": "(false; true)",
    "waited for by number": "false & wait $!",
    "two waited for by number": "false & p=$!; true & q=$!; wait $p; wait $q",
    "job of run.pl": '"{root}/utils/run.pl" x.log false',
    "one of an array of run.pl": "\"{root}/utils/run.pl\" JOB=1:3 x.JOB.log bash -c '(( JOB != 2 ))'",
    "pipe inside run.pl": '"{root}/utils/run.pl" x.log false "|" cat',
    "xargs": "echo a | xargs false",
    "missing input": "cat < no-such-file",
    "list verb in a pipe": '"{root}/utils/filter_scp.pl" no-such-list x | cat',
}
# What hides a failure in spite of set -euo pipefail: its pattern is not to be found in any recipe.
HIDES = {
    "declared with a substitution": (
        "f() { local x=$(false); }; f",
        r"\b(local|export|readonly|declare)\b[^#]*=[\"']?\$\(",
    ),
    "exported substitution": ("export x=$(false)", r"\bexport\b[^#]*=[\"']?\$\("),
    "substitution as a word": ("echo $(false)", r"^ *(echo|cat|printf) [^#]*\$\("),
    "process substitution": ("cat <(false)", r"<\("),
    "two process substitutions": ("cmp <(false) <(false)", r"<\("),
    "loop over a process substitution": ("while read -r x; do echo $x; done < <(false)", r"<\("),
    "loop over a substitution": ("for x in $(false); do echo $x; done", r"\bfor \w+ in [^;]*\$\("),
    "here-string of a substitution": ('cat <<< "$(false)"', r"<<< *\"?\$\("),
    "case of a substitution": ("case $(false) in *) ;; esac", r"\bcase [\"']?\$\("),
    "not waited for": ("false &", r"[^&>|]&\s*$"),
    "plain wait": ("false & wait", r"\bwait *(;|$)"),
    "function with || exit": ("f() { false; echo a; }; f || exit 1", r"\|\| *exit"),
    "negated": ("! true", r"^ *! "),
    "find -exec": (r"find . -maxdepth 0 -exec false {} \;", r"-exec .*\\;"),
}


def recipe(tmp_path, body):
    (tmp_path / "run.sh").write_text(RECIPE.replace("{body}", body).replace("{root}", str(ROOT)))
    return subprocess.run(["bash", "run.sh"], capture_output=True, text=True, timeout=120, cwd=tmp_path)


@pytest.mark.parametrize("body", STOPS.values(), ids=STOPS)
def test_a_failure_stops_the_recipe(tmp_path, body):
    result = recipe(tmp_path, body)
    assert result.returncode != 0 and "stage 1: one" in result.stderr
    assert "later" not in result.stdout and "stage 2" not in result.stderr


@pytest.mark.parametrize(("body", "pattern"), HIDES.values(), ids=HIDES)
def test_what_hides_a_failure_is_known_and_found(tmp_path, body, pattern):
    result = recipe(tmp_path, body)
    assert result.returncode == 0 and "later" in result.stdout  # if bash learns to stop here, the rule can go
    assert re.search(pattern, body)


def recipes():
    found = [*ROOT.glob("egs/*/*/run.sh"), *ROOT.glob("egs/*/local/*.sh"), *ROOT.glob("egs/*/*/local/*.sh")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


@pytest.mark.parametrize("name", recipes())
def test_recipes_use_nothing_that_hides_a_failure(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert "set -euo pipefail" in lines
    for number, line in enumerate(lines, start=1):
        code = re.sub(r"(^|\s)#.*", "", line)
        for what, (_, pattern) in HIDES.items():
            assert not re.search(pattern, code), f"{name}:{number}: {what}: {line}"


def test_shellcheck_finds_nothing():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed (apt-get install shellcheck)")
    names = subprocess.run(["git", "ls-files", "*.sh"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    command = ["shellcheck", "-x", "-P", "SCRIPTDIR", *names.splitlines()]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout
