"""Jobs on this machine: run.pl and stdout.pl."""

import os
import subprocess
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from jobs import logs, processes
from jobs.logs import Failure
from jobs.problem import guarded, say
from jobs.request import Request, parse, usage
from jobs.script import arguments

COPY_OUTPUT = 'set -o pipefail; log=$1; shift; "$@" 2>&1 | tee -a -- "${log}"'
SECONDS_BETWEEN_LOOKS = 0.02


@dataclass
class Job:
    """One running command. `has_log`: a header stands in its log and a footer is due."""

    number: int
    log: Path
    process: subprocess.Popen
    started: float = field(default_factory=time.time)
    gpus: list[str] = field(default_factory=list)


Starter = Callable[[Request, int, list[str]], Job]
Closer = Callable[[Request, Job], None]


def into_log(log: Path, words: list[str], file: int, environment: dict[str, str]) -> subprocess.Popen:
    """Start a command whose output goes into its log only."""
    return _popen(words, environment, stdout=file, stderr=subprocess.STDOUT)


def to_terminal_too(log: Path, words: list[str], file: int, environment: dict[str, str]) -> subprocess.Popen:
    """Start a command whose output goes to the terminal and into its log."""
    return _popen(["bash", "-c", COPY_OUTPUT, "bash", str(log), *words], environment)


def _popen(words: list[str], environment: dict[str, str], stdout: int | None = None, stderr: int | None = None):
    return subprocess.Popen(
        words, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
    )


def starter(launch: Callable[[Path, list[str], int, dict[str, str]], subprocess.Popen]) -> Starter:
    """A function that starts job `number` through `launch`: header into its log, the process in a group of its own."""

    def start(request: Request, number: int, gpus: list[str]) -> Job:
        words, log = request.command_of(number), request.log_of(number)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(logs.header(words))
            file.flush()
            try:
                process = launch(log, arguments(words), file.fileno(), environment_of(request, gpus))
            except OSError as error:  # not found or not executable: a failed job like any other, as a shell says it
                file.write(f"{request.prog}: {words[0]}: {error.strerror}\n")
                process = _popen(["bash", "-c", "exit 127"], dict(os.environ))
        return Job(number, log, process, gpus=gpus)

    return start


def environment_of(request: Request, gpus: list[str]) -> dict[str, str]:
    """This environment with the job's GPUs; --num-threads, else what is set already, else one thread."""
    environment = dict(os.environ)
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if "num_threads" in request.options or not environment.get("OMP_NUM_THREADS"):
        environment["OMP_NUM_THREADS"] = request.options.get("num_threads", "1")
    return environment


def close(request: Request, job: Job) -> None:
    """Write the footer."""
    threads = int(request.options.get("num_threads", "1"))
    with open(job.log, "a", encoding="utf-8") as file:
        status = -9 if job.process.returncode is None else job.process.returncode
        file.write(logs.footer(status, time.time() - job.started, threads))


def visible_gpus() -> list[str]:
    """The GPUs of this machine: those of CUDA_VISIBLE_DEVICES, else all that nvidia-smi lists."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name and name != "-1"]
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(i) for i in range(listing.stdout.count("UUID:"))]


def supervise(
    request: Request, todo: list[int], limit: int, start: Starter, close: Closer, gpus: list[str], per_job: int = 0
) -> list[Failure]:
    """Run the jobs `todo`, at most `limit` at a time. Raises Stopped after a signal, when nothing is left running."""
    processes.adopt_orphans()
    stop, waiting = processes.Stop(), deque(todo)
    running: list[Job] = []
    failures: list[Failure] = []
    while waiting or running:
        while waiting and len(running) < limit and not stop.asked():
            running.append(start(request, waiting.popleft(), [gpus.pop(0) for _ in range(per_job)]))
        for job in [job for job in running if job.process.poll() is not None]:
            running.remove(job)
            gpus.extend(job.gpus)
            close(request, job)
            if job.process.returncode != 0:
                failures.append(Failure(job.number, job.log, job.process.returncode))
        if signum := stop.asked():
            processes.stop_all([job.process for job in running])
            for job in running:
                close(request, job)
            raise Stopped(signum)
        time.sleep(SECONDS_BETWEEN_LOOKS if running else 0)
    return failures


class Stopped(Exception):
    """The launcher was asked to stop by a signal, and has ended its jobs."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by signal {signum}; its jobs were ended")
        self.status = 128 + signum


def limit_of(request: Request, num_jobs: int) -> int:
    """How many jobs run at a time: --max-jobs-run, else one for each CPU, or all of them when they are few more."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return request.whole_number("max_jobs_run", max(cpus, num_jobs if num_jobs < 1.4 * cpus else 1), 1)


def run(request: Request, start: Starter, shows_end: bool) -> int:
    """Run a request on this machine; the exit status."""
    todo, failed = request.picked()
    limit = limit_of(request, len(todo))
    wanted = request.whole_number("gpu", 0, 0)
    gpus = visible_gpus() if wanted else []
    per_job = wanted if gpus else 0
    if per_job > len(gpus):
        raise usage(f"this machine has {len(gpus)}", f"--gpu {per_job}", "ask for fewer GPUs (--ngpu)", 1)
    if per_job:
        limit = min(limit, len(gpus) // per_job)
    try:
        failures = supervise(request, todo, limit, start, close, gpus, per_job)
    except Stopped as stopped:
        say(request.prog, str(stopped))
        return stopped.status
    earlier = [Failure(number, request.log_of(number), logs.ended(request.log_of(number))) for number in failed]
    return logs.report(request, failures + earlier, shows_end)


def main(prog: str, help_text: str, words: list[str]) -> int:
    """run.pl: output into the logs; the end of the first failed log on the terminal."""
    return guarded(prog, lambda: run(parse(prog, help_text, words), starter(into_log), True))


def main_to_terminal(prog: str, help_text: str, words: list[str]) -> int:
    """stdout.pl: the output goes to the terminal as well, so that a failed log need not be shown again."""
    return guarded(prog, lambda: run(parse(prog, help_text, words), starter(to_terminal_too), False))
