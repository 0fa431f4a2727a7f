"""What the Kaldi-style verbs in utils/ share: words of the command line, `--help`, one line and status 1 on a mistake.

Options come before the other words, as in Kaldi: `--name value`, `--name=value`, `-f value`; `-` and `_` in a name are
the same; a value is always the next word, so it may begin with "-". `--` ends the options.
"""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from codecsep.errors import CodecsepError


class UsageError(CodecsepError):
    """A verb that was called with words it does not understand."""


@dataclass
class Given:
    """What was given: option -> its words; and the other words."""

    options: dict[str, list[str]]
    words: list[str]

    def has(self, name: str) -> bool:
        return name in self.options

    def value(self, name: str, default: str = "") -> str:
        """The (last) value of an option of one word."""
        return self.options[name][0] if name in self.options else default

    def whole(self, name: str, default: int, floor: int = 0) -> int:
        """The value of an option as a whole number. Raises UsageError."""
        return whole(self.value(name, str(default)), name, floor)

    def truth(self, name: str, default: bool) -> bool:
        """The value of an option that takes true or false. Raises UsageError."""
        value = self.value(name, str(default).lower())
        if value not in ("true", "false"):
            raise UsageError("E131", f"option {name} takes true or false, got '{value}'", fix="give one of the two")
        return value == "true"


@dataclass(frozen=True)
class Verb:
    """A verb: its name, the text of --help, how many words each option takes, how many others it takes, what it does.

    Called with the words of a command line it returns the exit status: 0, or 1 with one line on stderr.
    """

    prog: str
    text: str
    options: Mapping[str, int]
    words: range
    body: Callable[[Given], None]

    def __call__(self, argv: Sequence[str]) -> int:
        return run(self.prog, lambda: self.body(parse(self, argv)))


def whole(value: str, what: str, floor: int = 0) -> int:
    """A whole number of at least `floor`. Raises UsageError."""
    if not re.fullmatch("[0-9]{1,9}", value) or int(value) < floor:
        raise UsageError("E131", f"{what} is a whole number of at least {floor}, got '{value}'", fix="see --help")
    return int(value)


def parse(verb: Verb, argv: Sequence[str]) -> Given:
    """Divide the words of a command line. Raises UsageError; `--help` ends the process with status 0."""
    options: dict[str, list[str]] = {}
    rest = list(argv)
    if verb.words.start > 0 and not rest:
        raise UsageError("E131", "nothing was given", fix=f"{_first_line(verb.text)}; {verb.prog} --help says more")
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word in ("--help", "-h", "-?"):
            print(verb.text)
            raise SystemExit(0)
        name, equals, value = word.partition("=")
        name = "--" + name[2:].replace("_", "-") if name.startswith("--") else name
        options[name] = _values(verb, name, [value] if equals else None, rest)
    if len(rest) not in verb.words:
        what = f"{len(rest)} words besides the options: {' '.join(rest)}" if rest else "a word is missing"
        raise UsageError("E131", what, fix=f"{_first_line(verb.text)}; options come first")
    return Given(options, rest)


def _values(verb: Verb, name: str, attached: list[str] | None, rest: list[str]) -> list[str]:
    """The words of one option; those that are not attached by `=` are taken from `rest`."""
    if name not in verb.options:
        raise UsageError("E131", f"invalid option {name}{_nearest(name, verb.options)}", fix=f"{verb.prog} --help")
    count = verb.options[name]
    values = attached if attached is not None else rest[:count]
    if len(values) != count:
        wanted = {0: "takes no value", 1: "requires a value"}.get(count, f"requires {count} values")
        raise UsageError("E131", f"option {name} {wanted}", fix=f"{verb.prog} --help")
    if attached is None:
        del rest[:count]
    return values


def _nearest(name: str, known: Mapping[str, int]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0]


def say(prog: str, text: str) -> None:
    """A remark on stderr: stdout is for what the verb makes."""
    print(f"{prog}: {text}", file=sys.stderr)


def run(prog: str, main: Callable[[], None]) -> int:
    """0, or 1 with one line on stderr. Text is UTF-8 whatever the locale; a reader that stops is no mistake."""
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        main()
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes nowhere, quietly
        return 0
    except KeyboardInterrupt:
        return 130
    except CodecsepError as error:
        say(prog, str(error))
    except ModuleNotFoundError as error:
        if (error.name or "codecsep").startswith("codecsep"):
            raise
        fix = "source the path.sh of a recipe first, or set python=/path/to/.venv/bin/python"
        say(prog, str(UsageError("E131", f"{sys.executable} has no package {error.name}", fix=fix)))
    except OSError as error:
        fix = "see that it exists and may be read and written"
        say(prog, str(UsageError("E133", error.strerror or str(error), error.filename or "", fix)))
    return 1
