"""The errors of the launchers: one line with a code, what was found and what to do, as everywhere in this package."""

import sys
from collections.abc import Callable

STATUS_OF_USAGE = 255  # as scripts that call run.pl expect it


class Problem(Exception):
    """A fault that the user can mend; `codecsep/error_codes.py` explains the codes. `status` is the exit status."""

    def __init__(self, code: str, what: str, where: str = "", fix: str = "", status: int = 1):
        self.code, self.status = code, status
        place = f"{one_line(where)}: " if where else ""
        super().__init__(f"{code} {place}{one_line(what)} (fix: {one_line(fix)})")


def one_line(text: str) -> str:
    """Without line ends and control characters."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def say(prog: str, text: str) -> None:
    print(f"{prog}: {text}", file=sys.stderr, flush=True)


def guarded(prog: str, main: Callable[[], int]) -> int:
    """The exit status of `main`; a Problem, or a file that cannot be written, is one line on stderr."""
    try:
        return main()
    except Problem as problem:
        say(prog, str(problem))
        return problem.status
    except OSError as error:
        where = str(error.filename or "")
        say(prog, str(Problem("E643", error.strerror or str(error), where, "give a log file that can be written")))
        return 1
