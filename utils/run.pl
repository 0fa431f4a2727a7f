#!/usr/bin/env python3
"""Run a command, or an array of jobs, on this machine; the output of each goes to its log.

usage: run.pl [options] [JOB=1:4] [options] log-file command [arguments ...]
  run.pl exp/log/train.log python3 -m codecsep.bin.train --config conf/ar.yaml
  run.pl --max-jobs-run 2 JOB=1:8 dump/log/tokenise.JOB.log python3 -m codecsep.bin.tokenise --job JOB/8

  JOB=a:b             run the command once for each number; JOB (any name) is replaced wherever it stands
  --max-jobs-run N    at most N jobs at a time (default: the number of CPUs)
  --gpu N             N GPUs for each job, handed out through CUDA_VISIBLE_DEVICES; ignored where there is no GPU
  --num-threads N     sets OMP_NUM_THREADS for the jobs
  --to-terminal true  copies the output to the terminal as well (stdout.pl)
  any other --name value (--mem 4G, --time 1:0:0 ...) is for clusters and is ignored here

Arguments are passed on exactly as they are. Only the bare words | || && ; > >> < 2>&1 mean what they mean in a shell;
a pipeline fails when any part of it fails. Exit status: 0 when every job ended with 0, else 1; after a signal 128 + it.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

SHELL_WORDS = {"|", "||", "&&", ";", ">", ">>", "<", "2>&1"}
COPY_OUTPUT = 'set -o pipefail; log=$1; shift; "$@" 2>&1 | tee -a -- "${log}"'
SHOWN_LINES = 20
SECONDS_TO_STOP = 5.0
CAUGHT: list[int] = []


@dataclass
class Request:
    """What the command line asks for."""

    log: str = ""
    command: list[str] = field(default_factory=list)
    array: str = ""
    first: int = 1
    last: int = 1
    options: dict[str, str] = field(default_factory=dict)


@dataclass
class Job:
    """One running command."""

    log: Path
    process: subprocess.Popen
    started: float
    gpus: list[str]


def fail(message: str) -> None:
    sys.exit(f"run.pl: {message}")


def parse(words: list[str]) -> Request:
    """The options, the array and the command out of the words of the command line."""
    request = Request()
    while words:
        array = re.fullmatch(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?", words[0])
        if array:
            request.array, request.first = array[1], int(array[2])
            request.last = int(array[3] or array[2])
        elif words[0].startswith("-"):
            take_option(request, words)
        else:
            break
        words = words[1:] if array or words[0] in ("-V",) else words[2:]
    if len(words) < 2:
        fail("needs a log file and a command; run.pl --help shows how")
    request.log, request.command = words[0], words[1:]
    if request.array and not 1 <= request.first <= request.last:
        fail(f"{request.array}={request.first}:{request.last}: a range starts at 1 or later and does not run backwards")
    if request.last > request.first and request.array not in request.log:
        fail(f"the log file of an array must hold {request.array}, got {request.log}")
    return request


def take_option(request: Request, words: list[str]) -> None:
    """Store the option that ``words`` starts with."""
    if words[0] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0)
    if words[0] == "-V":
        return
    if len(words) < 2:
        fail(f"option {words[0]} requires a value")
    name = words[0].lstrip("-").replace("_", "-")
    request.options["max-jobs-run" if name == "tc" else name] = words[1]
    if name == "pick" and words[1] != "all":
        fail("--pick is not known here; delete the logs of the jobs that are to run again and give their range")


def whole_number(request: Request, name: str, default: int, least: int) -> int:
    value = request.options.get(name, str(default))
    if not value.isdecimal() or int(value) < least:
        fail(f"--{name} takes a whole number >= {least}, got '{value}'")
    return int(value)


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


def arguments(words: list[str]) -> list[str]:
    """The words as an argument list; through bash only where a bare shell word stands among them."""
    if not SHELL_WORDS.intersection(words):
        return words
    line = " ".join(word if word in SHELL_WORDS else shlex.quote(word) for word in words)
    return ["bash", "-c", f"set -o pipefail; {line}"]


def start(request: Request, number: int, gpus: list[str]) -> Job:
    """Start job ``number``: header into its log, the process in a group of its own."""
    words = [word.replace(request.array, str(number)) if request.array else word for word in request.command]
    log = Path(request.log.replace(request.array, str(number)) if request.array else request.log)
    environment = dict(os.environ)
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if "num-threads" in request.options:
        environment["OMP_NUM_THREADS"] = str(whole_number(request, "num-threads", 1, 1))
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as file:
        file.write(f"# {shlex.join(words)}\n# Started at {time.ctime()}\n#\n")
        file.flush()
        line = arguments(words)
        if request.options.get("to-terminal") == "true":
            line = ["bash", "-c", COPY_OUTPUT, "bash", str(log), *line]
        out = None if request.options.get("to-terminal") == "true" else file
        try:
            process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT if out else None,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:  # not found or not executable: a failed job like any other, as a shell says it
            file.write(f"run.pl: {words[0]}: {error.strerror}\n")
            file.flush()
            process = subprocess.Popen(["bash", "-c", "exit 127"], start_new_session=True)
    return Job(log, process, time.time(), gpus)


def close(job: Job) -> bool:
    """Write the footer; True when the job ended with 0."""
    code = job.process.returncode
    seconds = int(time.time() - job.started)
    result = f"code {code}" if code >= 0 else f"code 0; signal {-code}"
    hint = "# Killed by signal 9: out of memory?\n" if code in (-9, 137) else ""
    with open(job.log, "a", encoding="utf-8") as file:
        file.write(f"# Accounting: time={seconds} threads=1\n{hint}")
        file.write(f"# Ended ({result}) at {time.ctime()}, elapsed time {seconds} seconds\n")
    return code == 0


def kill_group(process: subprocess.Popen, signum: int) -> None:
    try:
        os.killpg(process.pid, signum)
    except ProcessLookupError:
        return


def stop(running: list[Job]) -> None:
    """End every job and what it started: TERM first, KILL after a few seconds."""
    for job in running:
        kill_group(job.process, signal.SIGTERM)
    patience = time.time() + SECONDS_TO_STOP
    while time.time() < patience and any(job.process.poll() is None for job in running):
        time.sleep(0.05)
    for job in running:
        kill_group(job.process, signal.SIGKILL)
        job.process.wait()
        close(job)


def recipe_is_gone() -> bool:
    """True when the recipe that called us (its process id is in RECIPE_PID) does not exist any more."""
    pid = os.environ.get("RECIPE_PID", "")
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def supervise(request: Request, limit: int, per_job: int, gpus: list[str]) -> list[Path]:
    """Run all jobs, at most ``limit`` at a time; the logs of those that failed, in the order of their numbers."""
    waiting = deque(range(request.first, request.last + 1))
    running: list[Job] = []
    failed: list[Path] = []
    while waiting or running:
        while waiting and len(running) < limit:
            running.append(start(request, waiting.popleft(), [gpus.pop(0) for _ in range(per_job)]))
        for job in [job for job in running if job.process.poll() is not None]:
            running.remove(job)
            gpus.extend(job.gpus)
            if not close(job):
                failed.append(job.log)
        if CAUGHT or recipe_is_gone():
            stop(running)
            fail_after_signal(CAUGHT[0] if CAUGHT else int(signal.SIGTERM))
        if running:
            time.sleep(0.02)
    return sorted(failed, key=lambda log: [int(number) for number in re.findall(r"\d+", str(log))])


def fail_after_signal(signum: int) -> None:
    print(f"run.pl: stopped by signal {signum}; its jobs were ended", file=sys.stderr)
    sys.exit(128 + signum)


def report(request: Request, failed: list[Path]) -> int:
    """Say what failed and show the end of the first failed log."""
    if not failed:
        return 0
    if request.last > request.first:
        logs = request.log.replace(request.array, "*")
        print(f"run.pl: {len(failed)} / {request.last - request.first + 1} failed, log is in {logs}", file=sys.stderr)
    else:
        print(f"run.pl: job failed, log is in {failed[0]}", file=sys.stderr)
    lines = failed[0].read_text(encoding="utf-8", errors="replace").splitlines()
    if request.options.get("to-terminal") != "true":
        print("\n".join([f"run.pl: the end of {failed[0]}:", *lines[-SHOWN_LINES:]]), file=sys.stderr)
    return 1


def main(words: list[str]) -> int:
    request = parse(words)
    num_jobs = request.last - request.first + 1
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = whole_number(request, "max-jobs-run", max(cpus, num_jobs if num_jobs < 1.4 * cpus else 1), 1)
    gpus = visible_gpus() if whole_number(request, "gpu", 0, 0) else []
    per_job = whole_number(request, "gpu", 0, 0) if gpus else 0
    if per_job > len(gpus):
        fail(f"--gpu {per_job}: this machine has {len(gpus)}")
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:  # nohup stays in force
            signal.signal(signum, lambda number, frame: CAUGHT.append(number))
    try:
        failed = supervise(request, min(limit, len(gpus) // per_job) if per_job else limit, per_job, gpus)
    except OSError as error:
        fail(f"{error.filename or request.log}: {error.strerror}")
    return report(request, failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
