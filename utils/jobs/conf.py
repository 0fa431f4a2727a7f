"""conf/slurm.conf and its like: which words an option of the job line becomes on the scheduler's command line.

    command sbatch --export=ALL          the program that submits, with what every job gets
    option mem=* --mem-per-cpu $0        any value; $0 stands for it
    option gpu=0                         this value exactly; it wins over "*"
    default gpu=0                        when the job line does not say
    # a comment, also at the end of a line

Lines may come in any order. Words are split as a shell does it, and nothing in them is expanded but $0.
"""

import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from jobs.problem import STATUS_OF_USAGE, Problem, say
from jobs.request import Request

OWN = ("config", "pick", "max_jobs_run", "requeue")  # the launchers know these themselves
HOW = "write 'command ...', 'option name=value ...' or 'default name=value'; docs/cluster.md has examples"


@dataclass
class Conf:
    """A parsed file: `options[name][value]` are words, with the value "*" for all others."""

    path: Path
    command: list[str] = field(default_factory=list)
    options: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)

    def words(self, given: dict[str, str]) -> list[str]:
        """Words for the options of a job line and for those that have a default. Raises Problem on unknown ones."""
        chosen = self.defaults | given
        return [word for name, value in chosen.items() for word in self._words_of(name, value)]

    def _words_of(self, name: str, value: str) -> list[str]:
        if name in OWN and not {value, "*"}.intersection(self.options.get(name, {})):
            return []  # the launcher itself knows what to do
        if name not in self.options:
            known = " ".join(f"--{one.replace('_', '-')}" for one in sorted({*self.options, *OWN}))
            what = f"unknown option (its value would be '{value}'); known are {known}"
            fix = f"correct the job line, or add 'option {name}=* ...' to {self.path}"
            raise Problem("E642", what, f"--{name.replace('_', '-')}", fix, STATUS_OF_USAGE)
        by_value = self.options[name]
        if value not in by_value and "*" not in by_value:
            fix = f"use one of them, or add 'option {name}=* ...' to {self.path}"
            raise Problem("E642", f"is one of {', '.join(by_value)}", f"--{name} {value}", fix, STATUS_OF_USAGE)
        return [word.replace("$0", value) for word in by_value.get(value, by_value.get("*", []))]


def find(request: Request, name: str) -> Path:
    """--config FILE, else conf/`name` of the recipe, else of its corpus (../conf). Raises Problem."""
    places = [Path(request.options["config"])] if "config" in request.options else []
    places = places or [Path("conf") / name, Path("../conf") / name]
    for place in places:
        if place.is_file() and os.access(place, os.R_OK):
            return place
    fix = f"write {places[0]} (docs/cluster.md has an example), give --config FILE, or set CODECSEP_CMD_BACKEND=local"
    raise Problem("E641", "no such file", " or ".join(map(str, places)), fix)


def read(path: Path, prog: str) -> Conf:
    """Parse a file. Raises Problem with the number of the first line that is wrong."""
    conf = Conf(path)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            _read_line(conf, line.strip(), prog, f"{path}:{number}")
        except ValueError as error:  # of shlex: a quotation mark that is not closed
            raise Problem("E641", f"{error} in '{line}'", f"{path}:{number}", HOW) from None
    if not conf.command:
        raise Problem("E641", "has no line 'command ...'", str(path), "add one, such as 'command sbatch --export=ALL'")
    for name in conf.defaults:
        if name not in conf.options and name not in OWN:
            raise Problem("E641", f"'default {name}=' without 'option {name}=...'", str(path), HOW)
    return conf


def _read_line(conf: Conf, line: str, prog: str, where: str) -> None:
    kind, *words = shlex.split(line, comments=True) or [""]
    name, equals, value = words[0].partition("=") if words else ("", "", "")
    name = name.replace("-", "_")
    if kind == "command" and words:
        conf.command = words
    elif kind == "default" and equals and len(words) == 1:
        conf.defaults[name] = value
    elif kind == "option" and equals:
        conf.options.setdefault(name, {})[value] = words[1:]
        if value == "*" and words[1:] and not any("$0" in word for word in words):
            say(prog, f"{where}: 'option {name}=*' has no $0: its value goes nowhere")
    elif kind:
        raise Problem("E641", f"cannot be understood: '{line}'", where, HOW)
