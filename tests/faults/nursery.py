"""A process that has loaded what the stages load, and forks a child for each command.

A child is a process of its own, with the arguments, directory and environment of `python -m codecsep.bin.x ...`, that
SIGKILL ends as it ends any other; what it does not have is the seconds that importing torch takes. `python nursery.py`
reads a request per line, `Nursery` is the other end.
"""

import importlib
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOADED = (
    "codecsep.bin.get_codec", "codecsep.bin.tokenise", "codecsep.bin.build_sequences", "codecsep.bin.train",
    "codecsep.bin.separate_data", "codecsep.bin.separation", "codecsep.bin.score", "codecsep.bin.report",
    "codecsep.models.slm_ss", "codecsep.models.pit_classifier", "codecsep.train.trainer", "codecsep.metrics.scoring",
    "codecsep.metrics.summary", "codecsep.bin.codec_ceiling", "jsonargparse", "scipy.signal", "av", "pyloudnorm",
    "torch._dynamo", "pystoi.stoi",  # the first: imported by torch when an optimizer is made, for 2 s
)  # fmt: skip


def serve() -> None:
    """Answer requests {"words", "cwd", "env", "log", "kill_after"} with {"status"}; -9: killed, as of subprocess."""
    for name in LOADED:
        importlib.import_module(name)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(request)
        print(json.dumps({"status": _wait(pid, request.get("kill_after"))}), flush=True)


def _wait(pid: int, kill_after: float | None) -> int:
    deadline = time.monotonic() + (kill_after or 300.0)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline += 10.0
        time.sleep(0.002)


def _child(request: dict) -> None:
    status = 1
    try:
        os.chdir(request["cwd"].encode())  # bytes: this process may not know letters beyond ASCII
        log = os.open(request["log"].encode(), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(log, number)
        os.environ.clear()
        os.environ.update(request["env"])
        random.seed()  # as a process of its own has it: what depends on it must not be the same by chance
        status = _run(request["words"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(words: list[str]) -> int:
    """Run a module or a script as __main__; its exit status."""
    before = os.environ.get("NURSERY_BEFORE")  # code that a test wants to be run first
    if before:
        exec(compile(before, "NURSERY_BEFORE", "exec"), {})
    sys.argv = list(words)
    try:
        if words[0].endswith(".py"):
            sys.path.insert(0, str(Path(words[0]).parent))
            runpy.run_path(words[0], run_name="__main__")
        else:
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


class Nursery:
    """Runs commands; `close` ends the process."""

    def __init__(self, umask: int = -1, **variables: str) -> None:
        """variables: of the environment that the interpreter starts in; umask: of what it writes."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        environment.pop("CODECSEP_FAULT", None)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment | variables, umask=umask,
        )  # fmt: skip
        self._answer()

    def run(self, words: list[str], cwd: Path, env: dict[str, str], log: Path, kill_after: float | None = None) -> int:
        """The exit status of one command, negative when a signal ended it."""
        request = {"words": words, "cwd": str(cwd), "env": env, "log": str(log), "kill_after": kill_after}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()["status"]

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the nursery has died with status {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)


if __name__ == "__main__":
    serve()
