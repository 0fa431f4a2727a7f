"""The command line that all launchers share: [options] [JOB=a:b] [options] log-file command [arguments ...]."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from jobs import logs
from jobs.problem import STATUS_OF_USAGE, Problem

PICKS = ("all", "failed", "incomplete")
ARRAY = re.compile(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?")
SEE_HELP = "--help shows how"


@dataclass
class Request:
    """What is to be run. `options` are those of the command line, with "_" in their names."""

    prog: str
    log: str = ""
    command: list[str] = field(default_factory=list)
    array: str = ""
    first: int = 1
    last: int = 1
    options: dict[str, str] = field(default_factory=dict)

    @property
    def numbers(self) -> range:
        return range(self.first, self.last + 1)

    def fill(self, text: str, number: int) -> str:
        """`text` with the name of the array replaced wherever it stands."""
        return text.replace(self.array, str(number)) if self.array else text

    def log_of(self, number: int) -> Path:
        return Path(self.fill(self.log, number))

    def command_of(self, number: int) -> list[str]:
        return [self.fill(word, number) for word in self.command]

    def whole_number(self, name: str, default: int, least: int) -> int:
        """The value of a numeric option. Raises Problem unless it is a whole number >= `least`."""
        value = self.options.get(name, str(default))
        if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < least:
            raise usage(f"takes a whole number >= {least}, got '{value}'", f"--{name.replace('_', '-')}")
        return int(value)

    def picked(self) -> tuple[list[int], list[int]]:
        """--pick: (numbers to run, numbers that count as failed without being run), by what the logs say."""
        pick = self.options.get("pick", "all")
        if pick == "all":
            return list(self.numbers), []
        codes = {number: logs.ended(self.log_of(number)) for number in self.numbers}
        if pick == "failed":
            return [number for number, code in codes.items() if code != 0], []
        return [n for n, code in codes.items() if code is None], [n for n, code in codes.items() if code]


def usage(what: str, where: str = "", fix: str = SEE_HELP, status: int = STATUS_OF_USAGE) -> Problem:
    return Problem("E640", what, where, fix, status)


def parse(prog: str, help_text: str, words: list[str]) -> Request:
    """The words of the command line. Prints the help and exits when it is asked for; raises Problem."""
    request = Request(prog)
    words = list(words)
    while words:
        array = ARRAY.fullmatch(words[0])
        if array:
            words.pop(0)
            request.array, request.first, request.last = array[1], int(array[2]), int(array[3] or array[2])
        elif words[0] in ("-h", "--help"):
            print(help_text.strip())
            sys.exit(0)
        elif words[0].startswith("-"):
            _take_option(request, words)
        else:
            break
    if len(words) < 2:
        raise usage("needs a log file and a command")
    request.log, request.command = words[0], words[1:]
    _check(request)
    return request


def _take_option(request: Request, words: list[str]) -> None:
    """Move the option that `words` starts with, and its value, into the request."""
    option = words.pop(0)
    if option == "-V":
        return
    if option == "-pe" and len(words) >= 2:  # -pe smp 4
        del words[0]
        option = "--num-threads"
    if not words:
        raise usage("requires a value", option)
    name, value = option.lstrip("-").replace("-", "_"), words.pop(0)
    name = "max_jobs_run" if name == "tc" else name
    if option == "-sync":
        return
    if name == "max_jobs_run":
        value = _smaller(request, value)
    request.options[name] = value


def _smaller(request: Request, value: str) -> str:
    """The smaller of this and an earlier --max-jobs-run; anything that is no number stays, to be refused."""
    earlier = request.options.get("max_jobs_run", value)
    return min(earlier, value, key=int) if earlier.isdecimal() and value.isdecimal() else value


def _check(request: Request) -> None:
    where = f"{request.array}={request.first}:{request.last}"
    if request.array and not 1 <= request.first <= request.last:
        raise usage("a range starts at 1 or later and does not run backwards", where, "give JOB=1:N")
    if request.last > request.first and request.array not in request.log:
        fix = f"put {request.array} into the name of the log file"
        raise usage(f"every job of an array needs a log of its own, got {request.log}", where, fix, 1)
    if request.options.get("pick", "all") not in PICKS:
        raise usage(f"is one of {', '.join(PICKS)}, got '{request.options['pick']}'", "--pick")
    request.whole_number("max_jobs_run", 1, 1)
    request.whole_number("num_threads", 1, 1)
