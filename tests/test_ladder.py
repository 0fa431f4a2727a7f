"""The package is a ladder: imports go down, stay inside one folder, and form no circle. Read with ast, not imported."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "codecsep"
RUNGS = {"data": 0, "tokens": 1, "signal": 1, "nn": 2, "metrics": 2, "codecs": 3, "decode": 3, "models": 4, "train": 5}
RUNGS |= {"bin": 6}
FOR_ALL = {"codecsep", *(f"codecsep.{path.stem}" for path in PACKAGE.glob("*.py") if path.stem != "__init__")}
# What a plain training node needs (setup.py: CORE). All else is imported inside the function that wants it.
LIGHT = {"numpy", "scipy", "soundfile", "torch", "yaml", "safetensors", "tqdm", "codecsep"}
FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = ["codecsep", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, own: str) -> Iterator[str]:
    """Full names of all modules that are imported below `tree`; `from a import b` gives a.b when that is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{own}: relative import in line {node.lineno}; write codecsep.<...>"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


def at_top(tree: ast.Module) -> ast.Module:
    """The module without the bodies of its functions (and of `if TYPE_CHECKING`): what runs when it is imported."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node):
            return None

        visit_AsyncFunctionDef = visit_FunctionDef

        def visit_If(self, node):
            return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)

    return Strip().visit(tree)


MODULES = {name_of(path): path for path in FILES}


def ours(name: str) -> list[str]:
    """Modules of the package that module `name` imports, functions included."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    return sorted({found for found in imports(tree, name) if found.split(".")[0] == "codecsep"})


def folder(name: str) -> str:
    return name.split(".")[1] if name.count(".") >= 1 else ""


def mistakes(name: str, found: str) -> str | None:
    """Why module `name` must not import `found`; None when it may."""
    if found in FOR_ALL or folder(found) == folder(name):
        return None
    if name in FOR_ALL and found not in FOR_ALL:
        return f"{name} is below everything and imports {found}"
    if RUNGS[folder(found)] >= RUNGS[folder(name)]:
        return f"{name} (rung {RUNGS[folder(name)]}) imports {found} (rung {RUNGS[folder(found)]})"
    return None


def test_every_file_stands_on_a_rung():
    strange = [name for name in MODULES if name not in FOR_ALL and folder(name) not in RUNGS]
    assert not strange, f"{strange} are in no folder of the ladder: {sorted(RUNGS)}"


def test_imports_go_down_or_stay_inside_one_folder():
    wrong = [text for name in MODULES for found in ours(name) if (text := mistakes(name, found))]
    assert not wrong, "\n".join(wrong)


def test_imports_form_no_circle():
    graph = {name: [found for found in ours(name) if found in MODULES and found != name] for name in MODULES}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for found in graph[name]:
                visit(found, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nothing_optional_is_imported_with_the_module(name):
    tree = at_top(ast.parse(MODULES[name].read_text(encoding="utf-8")))
    outside = {found.split(".")[0] for found in imports(tree, name)}
    heavy = sorted(outside - LIGHT - set(sys.stdlib_module_names))
    assert not heavy, f"{name} imports {heavy} at the top; import inside the function that needs it"


def test_data_knows_no_torch():
    """A data job starts in 0.3 s; torch would take ten times that."""
    wrong = [
        name
        for name in MODULES
        if folder(name) == "data"
        and "torch" in {f.split(".")[0] for f in imports(at_top(ast.parse(MODULES[name].read_text())), name)}
    ]
    assert not wrong, f"{wrong} import torch at the top"


def test_the_rules_of_this_test_catch():
    assert mistakes("codecsep.nn.attention", "codecsep.models.slm_ss")
    assert mistakes("codecsep.nn.attention", "codecsep.metrics.words")
    assert mistakes("codecsep.config", "codecsep.data.audio")
    assert mistakes("codecsep.data.audio", "codecsep.data.atomic") is None
    assert mistakes("codecsep.models.slm_ss", "codecsep.nn.attention") is None
    text = "import a\nclass C:\n    import b\n    def f(self):\n        import c\n"
    assert set(imports(at_top(ast.parse(text)), "x")) == {"a", "b"}
