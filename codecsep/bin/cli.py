"""The command `codecsep <subcommand> ...`: each program of codecsep/bin under its name."""

from __future__ import annotations

import ast
import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from codecsep.errors import CodecsepError

FOLDER = Path(__file__).parent


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns its exit status, 2 for a mistake on the command line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    names = subcommands()
    if name in ("-h", "--help"):
        print(help_text(names))
        return 0
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" (nearest: '{close[0]}')" if close else ""
        error = CodecsepError("E863", f"no subcommand '{name}'{hint}", "", f"give one of {', '.join(names)}")
        print(f"codecsep: {error}", file=sys.stderr)
        return 2
    sys.argv[0] = f"codecsep {name}"
    module = importlib.import_module(f"codecsep.bin.{name}")
    return module.main(arguments[1:]) or 0


def subcommands() -> dict[str, str]:
    """Name -> first line of the docstring, of every file in bin/ with a `main`; read as text, nothing is imported."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if path.stem != Path(__file__).stem and "\ndef main(" in text:
            found[path.stem] = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
    return found


def help_text(names: dict[str, str]) -> str:
    """The list of subcommands."""
    width = max(map(len, names), default=0)
    lines = [f"  {name:<{width}}  {title}" for name, title in names.items()]
    return "usage: codecsep <subcommand> ...   (codecsep <subcommand> --help says more)\n\n" + "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
