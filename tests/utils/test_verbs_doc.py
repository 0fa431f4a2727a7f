"""docs/verbs.md names every verb in utils/ with its options, and every verb answers --help."""

import os
import re
import subprocess

import pytest
from places import ROOT

PAGE = (ROOT / "docs/verbs.md").read_text(encoding="utf-8")
FILES = sorted(path for path in (ROOT / "utils").iterdir() if path.is_file())
VERBS = [path.name for path in FILES if os.access(path, os.X_OK)]
ROWS = {match[1]: match[0] for match in re.finditer(r"^\| `([\w.]+)` \|.*$", PAGE, re.MULTILINE)}


def test_every_file_stands_in_the_page():
    assert {path.name for path in FILES} == set(re.findall(r"`([\w]+\.(?:pl|sh))`", PAGE.split("## Lists")[1]))


def test_what_is_sourced_is_not_executable():
    assert sorted(path.name for path in FILES if path.name not in VERBS) == ["parse_options.sh", "stage.sh"]


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(verb, name, option):
    result = verb(name, option)
    assert (result.returncode, result.stderr) == (0, "")
    assert "usage" in result.stdout.lower() and name.removesuffix(".pl") in result.stdout
    assert all(len(line) <= 120 for line in result.stdout.splitlines())


@pytest.mark.parametrize("name", sorted(set(VERBS) & set(ROWS)))
def test_options_of_the_page_are_those_of_help(verb, name):
    row = ROWS[name].replace("\\|", " ")
    usage = row.split("|")[2]
    if not usage.strip().startswith("`"):
        pytest.skip("a row of the second table, without options")
    in_page = set(re.findall(r"--?[a-z][\w-]*", usage))
    in_help = set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", verb(name, "--help").stdout.split('such as "--')[0]))
    assert in_page <= in_help and in_help - in_page <= {"--help"}


def test_the_verbs_are_thin():
    for path in FILES:
        if path.name in VERBS:
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 40, path.name


def test_kaldi_is_fetched_by_name_and_hash():
    script = (ROOT / "tools/fetch_kaldi_utils.sh").read_text(encoding="utf-8")
    assert re.search(r"^sha256=[0-9a-f]{64}$", script, re.MULTILINE) and "--require-hashes" in script
    result = subprocess.run([ROOT / "tools/fetch_kaldi_utils.sh"], capture_output=True, text=True)
    assert result.returncode == 1 and re.fullmatch(r"fetch_kaldi_utils\.sh: E131 .+ \(fix: .+\)\n", result.stderr)
