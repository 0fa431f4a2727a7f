"""Codes of errors: the catalogue, the source and docs/errors.md agree, and every error has the one form."""

import ast
import importlib.util
import pickle
import re
import sys
from pathlib import Path

import pytest

from codecsep.error_codes import CODES
from codecsep.errors import CodecsepError

ROOT = Path(__file__).resolve().parents[1]
PATTERN = re.compile(r"^[EW]\d{3} .+ \(fix: .+\)$")


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("make_error_docs", ROOT / "tools" / "make_error_docs.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_code_of_the_source_is_in_the_catalogue_and_the_other_way_round(tool):
    assert tool.problems(tool.sites()) == []


def test_the_page_is_up_to_date(tool):
    wanted = tool.page(tool.sites())
    assert tool.PAGE.read_text(encoding="utf-8") == wanted, "run tools/make_error_docs.py and commit docs/errors.md"


def test_the_catalogue_is_sorted_and_told_in_sentences():
    codes = [code for code in CODES if code[0] == "E"]
    assert codes == sorted(codes)
    for code, entry in CODES.items():
        assert re.fullmatch(r"[EW][1-9]\d\d", code) and entry.title and entry.meaning.endswith("."), code


def test_the_form_of_an_error():
    error = CodecsepError("E105", "two\nlines \x1b[2J", "a\tb", "do\r\nthis")
    assert str(error) == "E105 a b: two lines ?[2J (fix: do this)" and PATTERN.match(str(error))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.code) == (CodecsepError, str(error), "E105")
    with pytest.raises(KeyError, match="E999"):
        CodecsepError("E999", "what")


def test_every_call_gives_what_is_wrong_and_what_to_do(tool):
    """A CodecsepError without a `fix` would end in "(fix: )"."""
    wrong = []
    for path in tool.sources():
        text = path.read_text(encoding="utf-8")
        if tool.is_python(path, text):
            wrong += [f"{path.relative_to(ROOT)}: {line}" for line in calls_without_fix(tool, text)]
    assert not wrong, "\n".join(wrong)


def calls_without_fix(tool, text: str) -> list[str]:
    """Lines where an ...Error is made with a code and fewer than the four arguments code, what, where, fix."""
    found = []
    for node in ast.walk(ast.parse(text)):
        is_error = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error")
        if is_error and node.args and tool.code_of(node.args[0]):
            if len(node.args) < 4 and "fix" not in {keyword.arg for keyword in node.keywords}:
                found.append(f"line {node.lineno}: {ast.unparse(node)[:80]}")
    return found


def test_the_rules_of_this_test_catch(tool):
    assert calls_without_fix(tool, "raise ArkError('E302', 'x', 'y')") and not calls_without_fix(tool, "KeyError('x')")
    text = "def f():\n    what = f'is {x} long'\n    raise AudioError('E230', what, path, 'cut it')\n"
    assert list(tool.sites_of(ast.parse(text), "a.py")) == [tool.Site("E230", "a.py", "is ... long", "cut it")]
    others = tool.sites_of(ast.parse("print('W210 is odd', 'E302')\nx = 'E301'"), "b.py")
    assert sorted(site.code for site in others) == ["E301", "E302", "W210"]
    found = [tool.Site(code, "a.py", "", "") for code in CODES]
    assert tool.problems(found) == []
    assert tool.problems(found[1:]) == [f"{found[0].code} of codecsep/error_codes.py is used nowhere"]
    unknown = [*found, tool.Site("E998", "c.py", "", "")]
    assert tool.problems(unknown) == ["E998 of c.py is not in codecsep/error_codes.py"]
    assert CODES["E302"].title in tool.page(tool.sites())
