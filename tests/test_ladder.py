"""Imports inside codecsep only go down the rungs, stay inside one folder on a rung, and never run in a circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUNGS = {
    "config": 0, "torch_audio": 0, "data": 0,
    "tokens": 1, "signal": 1,
    "nn": 2, "metrics": 2,
    "codecs": 3, "decode": 3,
    "models": 4,
    "train": 5,
    "bin": 6,
}  # fmt: skip
FOR_ALL = {"config", "torch_audio"}
OPTIONAL = {
    "torchaudio", "espnet", "espnet2", "encodec", "dac", "audiotools", "whisper", "onnxruntime", "pesq", "pystoi",
    "jiwer", "matplotlib", "transformers", "peft", "g2p_en", "speechbrain", "kaldiio",
}  # fmt: skip
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted((ROOT / "codecsep").rglob("*.py"))
    if path.name != "__init__.py"
}


def imports(path, top_level_only=False):
    """Dotted names that a file imports; "from a.b import c" gives a.b and a.b.c."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {child for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for child in ast.walk(node)}
    for node in ast.walk(tree):
        if top_level_only and node in inside:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def folder(module):
    return module.split(".")[1]


@pytest.mark.parametrize("module", FILES)
def test_imports_go_down(module):
    for name in imports(FILES[module]):
        if name in FILES and folder(name) not in FOR_ALL and folder(name) != folder(module):
            assert RUNGS[folder(name)] < RUNGS[folder(module)], f"{module} imports {name}"


@pytest.mark.parametrize("module", FILES)
def test_optional_packages_are_imported_when_needed(module):
    top = {name.split(".")[0] for name in imports(FILES[module], top_level_only=True)}
    assert not top & OPTIONAL


def test_no_circles():
    graph = {module: {name for name in imports(path) if name in FILES} for module, path in FILES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(FILES)
