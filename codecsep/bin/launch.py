"""Several processes on this machine: `python -m codecsep.bin.launch --nproc 2 -m codecsep.bin.train ...`.

Like torchrun for one machine, with what a recipe needs besides: SIGTERM, SIGUSR1 and Ctrl-C reach every process, the
exit status is theirs (85: stopped, state saved), one that fails ends the others, and none is left when this one dies.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from codecsep import config
from codecsep.errors import CodecsepError
from codecsep.train.stop import EXIT_STOPPED

PROG = "codecsep-launch"
GRACE = 5.0  # s, for the others to say what they have noticed when one has failed
FORWARDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)


class LaunchError(CodecsepError):
    """A call that cannot be followed."""


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    number, command = parse(sys.argv[1:] if argv is None else argv)
    processes: list[subprocess.Popen] = []
    for wanted in FORWARDED:
        signal.signal(wanted, lambda received, _: forward(processes, received))
    port = free_port()
    for rank in range(number):
        env = os.environ | environment(rank, number, port)
        # a session of its own: Ctrl-C in a terminal reaches it once, through here
        processes.append(
            subprocess.Popen([sys.executable, *command], env=env, start_new_session=True, preexec_fn=die_with_parent)
        )
    return watch(processes)


def parse(argv: Sequence[str]) -> tuple[int, list[str]]:
    """(number of processes, what follows `python` in each). Raises LaunchError (E853)."""
    flag, number, *command = [*argv, "", ""][: max(2, len(argv))]
    if flag != "--nproc" or not number.isdigit() or int(number) < 1 or command[:1] != ["-m"]:
        fix = "write: python -m codecsep.bin.launch --nproc 2 -m codecsep.bin.train --config ... --out ..."
        raise LaunchError("E853", f"'{' '.join(argv)}' is not understood", config.COMMAND_LINE, fix)
    return int(number), command


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """The variables by which a process finds the others, as torchrun names them; the cores are shared out."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, len(os.sched_getaffinity(0)) // size))
    world = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": threads}
    return world | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent() -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, Linux


def forward(processes: list[subprocess.Popen], number: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            process.send_signal(number)


def watch(processes: list[subprocess.Popen]) -> int:
    """Wait for all. Once one has failed the others have `GRACE` seconds to end by themselves."""
    end = None
    while None in [process.poll() for process in processes]:
        if end is None and first_failure(processes):
            end = time.monotonic() + GRACE
        if end is not None and time.monotonic() > end:
            forward(processes, signal.SIGKILL)
        time.sleep(0.05)
    failed = first_failure(processes)
    return failed or max(process.returncode for process in processes)


def first_failure(processes: list[subprocess.Popen]) -> int:
    """A status other than 0 and 85 as a shell has it (128 + signal); 0 when there is none. A process's own message
    counts before a death that followed from it."""
    codes = [process.returncode for process in processes if process.returncode not in (None, 0, EXIT_STOPPED)]
    return next((code if code > 0 else 128 - code for code in sorted(codes, reverse=True)), 0)


if __name__ == "__main__":
    sys.exit(main())
