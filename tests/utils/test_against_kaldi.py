"""Our verbs beside Kaldi's own, on the same files: each case says what both do, and why where they differ.

The originals are not in this repository. `tools/fetch_kaldi_utils.sh DIR` gets them; CODECSEP_KALDI_UTILS=DIR/utils
runs them. Without it, what is recorded of them stays unchecked and ours is checked all the same.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kaldi_cases import ANYTHING, FAILS, LISTS, Result
from kaldi_data_cases import DATA, ENOUGH

ROOT = Path(__file__).resolve().parents[2]
ORIGINALS = os.environ.get("CODECSEP_KALDI_UTILS", "")
CASES = [
    pytest.param(case, id=f"{group}-{case.name.replace(' ', '_')}")
    for group, cases in {**LISTS, **DATA}.items()
    for case in cases
]
LINE = re.compile(r"([\w.]+: )?E\d{3} .+ \(fix: .+\)")


def snapshot(folder):
    """{relative path: content} of all files but hidden ones and utils; without blanks at the ends of lines."""
    result = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] != "utils" and not any(part.startswith(".") for part in relative.parts):
            result[str(relative)] = re.sub(" +$", "", path.read_text(), flags=re.MULTILINE)
    return result


def carry_out(folder, utils, case, words):
    """(status, standard output, files that are new or changed, standard error) of a verb in a folder with its files."""
    for name, text in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "utils").symlink_to(utils)
    path = f"{folder / 'utils'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "LC_ALL": "C", "PATH": path}
    result = subprocess.run(
        [f"utils/{words[0]}", *words[1:]],
        input=case.stdin,
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=120,
    )
    return result, snapshot(folder)


def compare(case, expected: Result, result, after):
    status = FAILS if result.returncode else 0
    assert status == expected.status, result.stderr
    if expected.stdout != ANYTHING:
        assert result.stdout == expected.stdout
    assert after == {**case.files, **expected.files} or after == without_replaced(case, expected)


def without_replaced(case, expected):
    """The files afterwards when a directory was replaced by the expected one."""
    replaced = {name.split("/")[0] for name in expected.files}
    return {**{n: t for n, t in case.files.items() if n.split("/")[0] not in replaced}, **expected.files}


@pytest.mark.parametrize("case", CASES)
def test_ours(tmp_path, case):
    verb, *rest = case.words
    words = [verb, *(ENOUGH if verb == "validate_data_dir.sh" else []), *case.words_of_ours, *rest]
    result, after = carry_out(tmp_path, ROOT / "utils", case, words)
    compare(case, case.ours, result, after)
    if case.ours.status == FAILS:
        assert result.returncode == 1
        assert all(LINE.fullmatch(line) for line in result.stderr.splitlines()) and result.stderr, result.stderr


@pytest.mark.skipif(not ORIGINALS, reason="CODECSEP_KALDI_UTILS is not set: tools/fetch_kaldi_utils.sh gets them")
@pytest.mark.parametrize("case", CASES)
def test_kaldi(tmp_path, case):
    result, after = carry_out(tmp_path, Path(ORIGINALS).resolve(), case, case.words)
    compare(case, case.kaldi or case.ours, result, after)


def test_every_difference_has_a_reason():
    for parameters in CASES:
        case = parameters.values[0]
        assert (case.kaldi is None) == (case.why == ""), case.name
        assert case.kaldi is None or case.kaldi != case.ours, case.name
