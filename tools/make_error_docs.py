#!/usr/bin/env python3
"""Write docs/errors.md: every code that codecsep prints, what it means, where it comes from and what to do.

usage: make_error_docs.py           writes docs/errors.md
       make_error_docs.py --check   says whether docs/errors.md is up to date (status 1 when it is not)

Titles and meanings stand in codecsep/error_codes.py; files, messages and cures are read out of the source, which is
parsed and not run.
"""

import ast
import difflib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from codecsep.error_codes import CODES  # noqa: E402

PAGE = ROOT / "docs" / "errors.md"
CATALOGUE = ROOT / "codecsep" / "error_codes.py"
PLACES = ("codecsep", "tools", "egs", "utils")
CODE = re.compile(r"[EW]\d{3}")
MENTION = re.compile(r"\b[EW]\d{3}\b")
GROUPS = {
    "1": "Data directories, lists and stages",
    "2": "Audio",
    "3": "Tokens, codecs and disks",
    "4": "Checkpoints, resuming, weights",
    "5": "Numbers, decoding, scoring",
    "6": "Processes, locks, clusters",
    "7": "Hostile input",
    "8": "Settings and command lines",
    "9": "Tools and installation",
}
INTRODUCTION = """# Errors

Every error that is meant for you is one line: a code, where it happened, what is wrong, and what to do.

    E302 dump/train/codes.ark:1812 (utterance a-1 of dump/train/codes.scp): holds a record ... (fix: make it again ...)

A Python traceback instead of such a line is a mistake in codecsep: please report it. Codes with W are warnings; nothing
stops because of them. This page is made by `tools/make_error_docs.py` out of the source; `...` stands for what is known
only when it happens.
"""


@dataclass(frozen=True)
class Site:
    """One place that raises or prints a code: its file, and what it says there as far as the source shows it."""

    code: str
    file: str
    what: str
    fix: str


def sources() -> Iterator[Path]:
    """All files of the repository that may hold a code: Python by its text (utils/*.pl too), and shell."""
    for place in PLACES:
        for path in sorted((ROOT / place).rglob("*")):
            hidden = any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(ROOT).parts)
            if (
                path.is_file()
                and not hidden
                and path.suffix in (".py", ".pl", ".sh")
                and path != ROOT / "codecsep/error_codes.py"
            ):
                yield path


def sites() -> list[Site]:
    """Every place in the source that uses a code."""
    found: list[Site] = []
    for path in sources():
        name, text = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        if is_python(path, text):
            found += sites_of(ast.parse(text), name)
        else:
            found += [Site(code, name, "", "") for code in sorted(set(MENTION.findall(text)))]
    return found


def is_python(path: Path, text: str) -> bool:
    return path.suffix == ".py" or "python" in text.partition("\n")[0]


def sites_of(tree: ast.AST, name: str) -> Iterator[Site]:
    """Calls with a code as an argument and the message that follows it; codes that stand alone or begin a text."""
    seen: set[ast.AST] = set()
    values = assignments(tree)
    for node in ast.walk(tree):
        for place, argument in enumerate(node.args if isinstance(node, ast.Call) else ()):
            if code := code_of(argument):
                seen.add(argument)
                others = [*node.args[place + 1 :], *(keyword.value for keyword in node.keywords)]
                texts = [shown(other, values) for other in others]
                yield Site(code, name, texts[0] if texts else "", texts[-1] if len(texts) > 1 else "")
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in seen:
            if match := re.match(r"([EW]\d{3})(?: |$)", node.value):
                yield Site(match[1], name, "", "")


def code_of(node: ast.AST) -> str | None:
    is_code = isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value)
    return node.value if is_code else None


def assignments(tree: ast.AST) -> list[tuple[str, int, ast.AST]]:
    """(name, line, value) of simple assignments: a message is often made in the line before it is raised."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
            pairs = [(target, value)]
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs = list(zip(target.elts, value.elts, strict=False))
            found += [(name.id, node.lineno, made) for name, made in pairs if isinstance(name, ast.Name)]
    return found


def shown(node: ast.AST, values: list[tuple[str, int, ast.AST]]) -> str:
    """The text of a literal, or of the name that was last assigned one; `...` for what only a run knows."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "..."
    if isinstance(node, ast.JoinedStr):
        return "".join(shown(part, []) if isinstance(part, ast.Constant) else "..." for part in node.values)
    name = node.id if isinstance(node, ast.Name) else None
    before = [(line, value) for other, line, value in values if other == name and line < node.lineno]
    return shown(max(before, key=lambda entry: entry[0])[1], []) if before else "..."


def page(found: list[Site]) -> str:
    """The text of docs/errors.md."""
    lines = [INTRODUCTION]
    for group, title in GROUPS.items():
        codes = [code for code in sorted(CODES, key=lambda code: (code[1:], code)) if code[1] == group]
        if codes:
            lines.append(f"## {title}\n")
        for code in codes:
            lines += section(code, [site for site in found if site.code == code])
    return "\n".join(lines)


def section(code: str, found: list[Site]) -> list[str]:
    lines = [f"### {code} {CODES[code].title}\n", f"{CODES[code].meaning}\n"]
    messages = sorted({site.what for site in found if site.what.strip(". ")})
    fixes = sorted({site.fix for site in found if site.fix.strip(". ")})
    if messages:
        lines.append("Says: " + "; ".join(f"`{plain(text)}`" for text in messages[:6]) + "\n")
    if fixes:
        lines.append("What to do: " + "; ".join(f"`{plain(text)}`" for text in fixes[:4]) + "\n")
    files = sorted({site.file for site in found})
    return [*lines, "From: " + ", ".join(files) + "\n"]


def plain(text: str) -> str:
    """One line that can stand between backticks."""
    return re.sub(r"(\.\.\.)+", "...", " ".join(text.replace("`", "'").split()))


def problems(found: list[Site]) -> list[str]:
    """Codes that are used and not in the catalogue, or the other way round."""
    used = {site.code: site.file for site in found}
    strange = {code: file for code, file in used.items() if code not in CODES}
    unknown = [f"{code} of {file} is not in codecsep/error_codes.py" for code, file in strange.items()]
    return unknown + [f"{code} of codecsep/error_codes.py is used nowhere" for code in CODES if code not in used]


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    found = sites()
    text, wrong = page(found), problems(found)
    for line in wrong:
        print(f"make_error_docs.py: {line}", file=sys.stderr)
    if not arguments:
        PAGE.write_text(text, encoding="utf-8")
    old = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    if changes := list(difflib.unified_diff(old.splitlines(), text.splitlines(), "docs/errors.md", "source", n=0)):
        print("\n".join(changes[:40]), file=sys.stderr)
        print("make_error_docs.py: docs/errors.md is not up to date: run tools/make_error_docs.py", file=sys.stderr)
    return int(bool(wrong or changes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
