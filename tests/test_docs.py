"""What the pages say exists: commands, files, links; examples in docstrings run; nothing unfinished is left over."""

import doctest
import importlib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
PAGES = [*TOP, *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))]


def text(page):
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)\b(?= *(?:#|`|ARGS|\n))", text(page))) <= targets


def test_make_knows_what_to_do():
    for target in ("install", "mini", "test", "test-faults", "lint", "clean", "help"):
        assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", text(page)):
        assert (ROOT / page).parent.joinpath(link).exists(), link


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page):
    named = re.findall(r"`((?:codecsep|egs|utils|tools|tests|docs|\.ci)/[\w./-]+)`", text(page))
    named += re.findall(r"(?:^|\s)((?:tools|utils)/\w+\.(?:sh|py|pl))", text(page))
    assert named
    for name in named:
        assert (ROOT / name).exists(), name


def test_annotated_tree_exists():
    tree = re.search(r"## Where things are\n\n```\n(.*?)```", text("README.md"), re.DOTALL)[1]
    folder = ROOT
    for line in tree.splitlines():
        words = line.split("  ")[0] if not line.startswith("  ") else line[2:].split("  ")[0]
        if not line.startswith("  "):
            folder = ROOT / words.strip()
        for name in re.findall(r"[\w.]+(?:/[\w.]+)*/?", words):
            assert (ROOT / name).exists() if not line.startswith("  ") else (folder / name).exists(), name


def test_programs_of_the_stage_table_exist():
    for name in re.findall(r"`codecsep\.bin\.(\w+)`", text("README.md")):
        assert (ROOT / "codecsep/bin" / f"{name}.py").is_file(), name


def test_examples_in_docstrings():
    for path in sorted(ROOT.glob("codecsep/**/*.py")):
        if re.search(r"^ *>>> ", path.read_text(encoding="utf-8"), re.MULTILINE):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            assert not doctest.testmod(importlib.import_module(module)).failed, module


def test_nothing_unfinished():
    words = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"))
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    for name in files:
        if name.endswith((".py", ".sh", ".pl", ".md", ".yaml", ".txt")):
            assert not re.search(rf"\b({words})\b", text(name)), name
