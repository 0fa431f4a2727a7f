"""Jobs on a list of machines that share this file system: ssh.pl."""

import shlex
import subprocess
from pathlib import Path

from jobs import logs
from jobs.local import Job, Stopped, supervise
from jobs.logs import Failure
from jobs.problem import STATUS_OF_USAGE, Problem, guarded, say
from jobs.request import Request, parse
from jobs.script import Script, make_script

MACHINES = Path(".queue/machines")
NUMBER = "CODECSEP_TASK"
OWN = ("max_jobs_run", "pick", "num_threads")


def machines() -> list[str]:
    """The names in .queue/machines, one in a line; "#" starts a comment. Raises Problem."""
    fix = "write one machine in a line that 'ssh MACHINE' reaches without a password"
    try:
        lines = MACHINES.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise Problem("E641", error.strerror or "cannot be read", str(MACHINES), fix) from None
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    if not names:
        raise Problem("E641", "names no machine", str(MACHINES), fix, STATUS_OF_USAGE)
    if bad := next((name for name in names if name.startswith("-") or len(name.split()) > 1), ""):
        raise Problem("E641", f"'{bad}' is no name of a machine", str(MACHINES), fix)
    return names


def run(request: Request) -> int:
    """Run a request on the machines in turn; the exit status."""
    hosts = machines()
    ignored = [f"--{n.replace('_', '-')}" for n, value in request.options.items() if n not in OWN and value != "0"]
    if ignored:
        say(request.prog, f"ignored here: {' '.join(ignored)}")
    todo, failed = request.picked()
    script = make_script(request, NUMBER)
    script.write(todo, ("--end-with-stdin",))

    def host_of(number: int) -> str:
        return hosts[(number - 1) % len(hosts)]

    def start(request: Request, number: int, gpus: list[str]) -> Job:
        return Job(number, request.log_of(number), connect(script, host_of(number), number))

    limit = request.whole_number("max_jobs_run", max(1, len(todo)), 1)
    try:
        failures = supervise(request, todo, limit, start, lambda request, job: None, [])
    except Stopped as stopped:
        say(request.prog, str(stopped))
        return stopped.status
    finally:
        script.clean()
    lost = [Failure(f.number, f.log, f.status, f"on {host_of(f.number)}", script.output) for f in failures]
    earlier = [Failure(number, request.log_of(number), logs.ended(request.log_of(number))) for number in failed]
    return logs.report(request, lost + earlier)


def connect(script: Script, host: str, number: int) -> subprocess.Popen:
    """Start job `number` on a machine. Its standard input stays open as long as we live: then it ends the job."""
    command = f"{NUMBER}={number} exec bash {shlex.quote(str(script.path.resolve()))}"
    with open(script.output, "ab") as output:
        return subprocess.Popen(
            ["ssh", "-T", "-o", "BatchMode=yes", host, command],
            stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip


def main(prog: str, help_text: str, words: list[str]) -> int:
    return guarded(prog, lambda: run(parse(prog, help_text, words)))
