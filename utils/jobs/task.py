#!/usr/bin/env python3
"""Runs one job on a node; slurm.pl, queue.pl, pbs.pl and ssh.pl write the script that starts this.

Header, output and footer go into the log. Signals that the scheduler sends to this process alone (a time limit that
comes near, say) are passed on to the command. When a job may be requeued and its command ends with 85, Slurm is asked
to start it again. The log of an earlier attempt is kept as LOG.attempt1, LOG.attempt2 ...
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from jobs import logs, problem, processes, script  # noqa: E402 -- this file is a program of its own

STATUS_REQUEUE = 85  # of a training that has saved its state and wants to go on
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
TOLD = ("SLURM_", "JOB_ID", "PBS_JOBID", "CUDA_VISIBLE_DEVICES")


class Forwarder:
    """Passes signals on to the command, also those that came before it was started."""

    def __init__(self):
        self.early: list[int] = []
        self.targets: Callable[[], list[int]] | None = None
        for number in FORWARDED:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: object) -> None:
        if self.targets is None:
            self.early.append(number)
            return
        for pid in self.targets():
            processes.kill(pid, number)

    def attach(self, child: subprocess.Popen, is_shell: bool) -> None:
        """`child` gets the signals; of a pipeline its parts, not the shell around them."""
        self.targets = lambda: (processes.children(child.pid) if is_shell else []) or [child.pid]
        for number in self.early:
            self._receive(number, None)


def main(argv: list[str]) -> int:
    end = argv.index("--")
    args, words = make_parser().parse_args(argv[:end]), argv[end + 1 :]
    number = os.environ[args.number_from] if args.array else "1"
    if args.array and args.only and number not in args.only.split(","):
        return 0
    if args.array:
        words, args.log = [word.replace(args.array, number) for word in words], args.log.replace(args.array, number)
    status = Path(f"{args.status}.{number}")
    status.unlink(missing_ok=True)
    keep_attempts(Path(args.log))
    code = run(args, words)
    if code == STATUS_REQUEUE and args.requeue and requeue():
        return code
    write_status(status, code)
    return code


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="run one job on a node", allow_abbrev=False)
    parser.add_argument("--prog", required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--status", required=True, help="file that tells the status, without its number")
    parser.add_argument("--array", default="", help="name that stands for the number of the job")
    parser.add_argument("--number-from", default="", help="environment variable that holds the number")
    parser.add_argument("--only", default="", help="numbers that are wanted, with commas")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--end-with-stdin", action="store_true", help="end the job when standard input is closed")
    parser.add_argument("--requeue", action="store_true", help="status 85 means: start it again")
    return parser


def run(args: argparse.Namespace, words: list[str]) -> int:
    """Run the command with its log around it; its status, 128 + n after signal n."""
    forwarder, began, line = Forwarder(), time.time(), script.arguments(words)
    processes.adopt_orphans()
    environment = os.environ | {"OMP_NUM_THREADS": args.threads}
    environment.pop("RECIPE_PID", None)  # a process of another machine
    if "SLURM_CPUS_PER_TASK" in environment:  # which srun does not take over by itself since Slurm 22.05
        environment.setdefault("SRUN_CPUS_PER_TASK", environment["SLURM_CPUS_PER_TASK"])
    with open(args.log, "w", encoding="utf-8", errors="surrogateescape") as log:
        log.write(logs.header(words, told()))
        log.flush()
        try:
            child = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
            )
            forwarder.attach(child, line is not words)
            if args.end_with_stdin:
                threading.Thread(target=end_with_stdin, args=[child], daemon=True).start()
            code = child.wait()
            processes.end_descendants(signal.SIGTERM, signal.SIGKILL)  # a job leaves nothing on the node
        except OSError as error:
            log.write(f"{args.prog}: {words[0]}: {error.strerror}\n")
            code = 127
    status = code if code >= 0 else 128 - code
    with open(args.log, "a", encoding="utf-8") as log:
        log.write(f"# Finished at {time.ctime()} with status {status}\n")
        log.write(logs.footer(code, time.time() - began, int(args.threads)))
    return status


def end_with_stdin(child: subprocess.Popen) -> None:
    """The launcher holds the other end of our standard input; when it is gone the job has to go too."""
    while os.read(0, 4096):
        pass
    processes.kill(os.getpid(), signal.SIGTERM)  # the forwarder passes it on
    time.sleep(processes.SECONDS_TO_STOP)
    for pid in processes.descendants(os.getpid()) or [child.pid]:
        processes.kill(pid, signal.SIGKILL)


def told() -> list[str]:
    """For the header: the node, and what the scheduler says about the job."""
    variables = sorted(name for name in os.environ if name.startswith(TOLD))
    lines = [f"{name}={problem.one_line(os.environ[name])}" for name in variables]
    return [f"Running on {os.uname().nodename}", *lines]


def keep_attempts(log: Path) -> None:
    """Slurm starts a job again after preemption: what the attempt before has written stays."""
    attempt = os.environ.get("SLURM_RESTART_COUNT", "0")
    if attempt.isdecimal() and int(attempt) > 0 and log.exists():
        log.replace(log.with_name(f"{log.name}.attempt{attempt}"))


def requeue() -> bool:
    """Ask Slurm to start this job again; it ends this process soon after. False when Slurm refuses."""
    job = os.environ.get("SLURM_JOB_ID", "")
    for number in FORWARDED:
        signal.signal(number, signal.SIG_IGN)
    print(f"job {job} ended with status {STATUS_REQUEUE}: asking Slurm to start it again", flush=True)
    try:
        return subprocess.run(["scontrol", "requeue", job], timeout=120).returncode == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        print(error, flush=True)
        return False


def write_status(path: Path, code: int) -> None:
    """Whole or not at all."""
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(f"{code}\n", encoding="utf-8")
    beside.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
