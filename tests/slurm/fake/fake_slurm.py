"""sbatch, squeue, scancel and scontrol without Slurm: jobs are processes of this machine, states are files.

Everything lies in the folder $FAKE_SLURM. A test does harm by writing there:
    down        squeue, sbatch and scancel cannot reach the controller as long as this file is there
    forgotten   squeue does not know any job
    hold        jobs that are submitted wait; the text is the reason; removing it starts them
    refuse      sbatch refuses with this text
    1_2.state   what squeue shows for task 2 of job 1 instead of the truth
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(os.environ["FAKE_SLURM"])
DOWN = "Unable to contact slurm controller (connect failure)"


def read(name: str) -> str | None:
    path = HOME / name
    return path.read_text().strip() if path.exists() else None


def put(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text)
    beside.replace(path)


def check_controller(program: str) -> None:
    if (HOME / "down").exists():
        sys.exit(f"{program}: error: {DOWN}")


def sbatch(words: list[str]) -> None:
    with open(HOME / "sbatch.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(words) + "\n")
    check_controller("sbatch")
    if reason := read("refuse"):
        sys.exit(f"sbatch: error: Batch job submission failed: {reason}")
    job = 1 + len(list(HOME.glob("*.job")))
    array = next((word.partition("=")[2] for word in words if word.startswith("--array=")), "")
    output = next(word.partition("=")[2] for word in words if word.startswith("--output=")).replace("%%", "%")
    numbers, _, limit = array.partition("%")
    (HOME / f"{job}.job").write_text(" ".join(map(str, expand(numbers))))
    for number in expand(numbers) or [0]:
        put(HOME / f"{job}_{number}.now", "PENDING Priority")
    line = [sys.executable, __file__, "serve", str(job), words[-1], output, limit or "1000"]
    with open(HOME / "serve.log", "a") as out:
        subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    print(job if "--parsable" in words else f"Submitted batch job {job}")


def expand(numbers: str) -> list[int]:
    found: list[int] = []
    for part in filter(None, numbers.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def serve(words: list[str]) -> None:
    """The controller's part: start the tasks of one job, note how they end, start them again when asked to."""
    job, script, output, limit = words[0], words[1], words[2], int(words[3])
    numbers = [int(word) for word in (read(f"{job}.job") or "").split()] or [0]
    waiting, running, attempts = list(numbers), {}, dict.fromkeys(numbers, 0)
    while waiting or running:
        while waiting and len(running) < limit and not (HOME / "hold").exists():
            number = waiting.pop(0)
            running[number] = start(job, number, script, output, attempts[number])
        for number, process in list(running.items()):
            if process.poll() is not None:
                del running[number]
                again = HOME / f"{job}_{number}.requeue"
                if again.exists():
                    again.unlink()
                    attempts[number] += 1
                    waiting.append(number)
                    put(HOME / f"{job}_{number}.now", "PENDING BeginTime")
                    time.sleep(float(os.environ.get("FAKE_REQUEUE_DELAY", "0.5")))
                else:
                    good = process.returncode == 0
                    cancelled = (HOME / f"{job}.cancelled").exists()
                    state = "CANCELLED None" if cancelled else "COMPLETED None" if good else "FAILED NonZeroExitCode"
                    put(HOME / f"{job}_{number}.now", state)
        if (HOME / f"{job}.cancelled").exists():
            for number in waiting:
                put(HOME / f"{job}_{number}.now", "CANCELLED None")
            waiting = []
        time.sleep(0.02)


def start(job: str, number: int, script: str, output: str, attempt: int) -> subprocess.Popen:
    environment = os.environ | {"SLURM_JOB_ID": f"{job}" if not number else f"{job}_{number}"}
    environment |= {"SLURM_ARRAY_TASK_ID": str(number)} if number else {}
    environment |= {"SLURM_RESTART_COUNT": str(attempt)} if attempt else {}
    with open(output, "a") as file:
        process = subprocess.Popen(
            ["bash", script], stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment,
            start_new_session=True,
        )  # fmt: skip
    put(HOME / f"{job}_{number}.now", "RUNNING None")
    put(HOME / f"{job}_{number}.pid", str(process.pid))
    return process


def squeue(words: list[str]) -> None:
    check_controller("squeue")
    job = words[words.index("-j") + 1]
    if (HOME / "forgotten").exists() or not (HOME / f"{job}.job").exists():
        sys.exit("slurm_load_jobs error: Invalid job id specified")
    for path in sorted(HOME.glob(f"{job}_*.now")):
        number = path.stem.partition("_")[2]
        state = read(f"{job}_{number}.state") or read(path.name) or ""
        if state.startswith("PENDING") and (HOME / "hold").exists():
            state = f"PENDING {read('hold')}"
        print(job if number == "0" else path.stem, "N/A" if number == "0" else number, state)


def scancel(words: list[str]) -> None:
    check_controller("scancel")
    job = words[-1]
    (HOME / f"{job}.cancelled").write_text("")
    for path in HOME.glob(f"{job}_*.pid"):
        signal_session(int(path.read_text()), signal.SIGTERM)


def scontrol(words: list[str]) -> None:
    """`scontrol requeue JOB`, from inside the job as well."""
    if words[0] != "requeue":
        sys.exit(f"scontrol: unknown command {words[0]}")
    name = words[1] if "_" in words[1] else f"{words[1]}_0"
    (HOME / f"{name}.requeue").write_text("")
    signal_session(int(read(f"{name}.pid") or 0), signal.SIGTERM)


def signal_session(session: int, signum: int) -> None:
    """As Slurm: every process of the job, not only the script."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                os.kill(int(stat.parent.name), signum)
        except (OSError, IndexError):
            continue


if __name__ == "__main__":
    program = sys.argv[1]
    if not re.fullmatch("sbatch|squeue|scancel|scontrol|serve", program):
        sys.exit(f"no such program: {program}")
    globals()[program](sys.argv[2:])
