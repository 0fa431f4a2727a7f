"""qsub, qstat and qdel without a scheduler: Grid Engine's answers, or PBS's with FAKE_GRID_PBS=1. State: $FAKE_GRID.

A test does harm with files there: down (nothing answers), refuse (text), hold (jobs wait), error (state Eqw).
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

HOME = Path(os.environ["FAKE_GRID"])
IS_PBS = os.environ.get("FAKE_GRID_PBS") == "1"


def value_of(words: list[str], name: str) -> str:
    return words[words.index(name) + 1] if name in words else ""


def check_master() -> None:
    if (HOME / "down").exists():
        sys.exit("error: unable to contact qmaster using port 6444 on host \"master\"")


def qsub(words: list[str]) -> None:
    with open(HOME / "qsub.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(words) + "\n")
    check_master()
    if (HOME / "refuse").exists():
        sys.exit((HOME / "refuse").read_text())
    span = value_of(words, "-J" if IS_PBS else "-t")
    first, _, last = span.partition("-")
    numbers = range(int(first), int(last) + 1) if span else [0]
    job = str(1 + len(list(HOME.glob("*.job"))))
    (HOME / f"{job}.job").write_text(f"{numbers[0]}-{numbers[-1]}" if span else "")
    if not (HOME / "hold").exists():
        name, _, value = value_of(words, "-v").partition("=")
        for number in numbers:
            start(job, number, words[-1], value_of(words, "-o"), {name: value} if name else {})
    if IS_PBS:
        print(f"{job}{'[]' if span else ''}.server")
    elif span:
        print(f'Your job-array {job}.{first}-{last}:1 ("{Path(words[-1]).name}") has been submitted')
    else:
        print(f'Your job {job} ("{Path(words[-1]).name}") has been submitted')


def start(job: str, number: int, script: str, output: str, variables: dict[str, str]) -> None:
    environment = os.environ | variables
    if not IS_PBS:
        environment["SGE_TASK_ID"] = str(number) if number else "undefined"
    elif number:
        environment["PBS_ARRAY_INDEX"] = str(number)
    with open(output, "a") as file:
        process = subprocess.Popen(
            ["bash", script], stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment,
            start_new_session=True,
        )  # fmt: skip
    (HOME / f"{job}_{number}.pid").write_text(str(process.pid))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def qstat(words: list[str]) -> None:
    check_master()
    if IS_PBS and not (HOME / f"{re.match('[0-9]*', words[-1])[0]}.job").exists():
        sys.exit(f"qstat: Unknown Job Id {words[-1]}")
    print("job-ID  prior   name       user   state submit/start at     queue      slots ja-task-ID\n" + "-" * 80)
    for path in sorted(HOME.glob("*.job")):
        job, span = path.stem, path.read_text()
        waiting = "Eqw" if (HOME / "error").exists() else "qw" if (HOME / "hold").exists() else ""
        if IS_PBS:
            name = f"{job}[{span.partition('-')[0]}].server" if span else f"{job}.server"
            print(f"{name} x.sh me 00:00:00 Q batch" if waiting else "")
        elif waiting:
            print(f"  {job} 0.00 x.sh me {waiting} 11/20/2026 12:00:00 1 {span and span + ':1'}")
    for path in sorted(HOME.glob("*.pid")):
        job, _, number = path.stem.partition("_")
        if alive(int(path.read_text())):
            if IS_PBS:
                name = f"{job}[{number}].server" if number != "0" else f"{job}.server"
                print(f"{name} x.sh me 00:00:00 R batch")
            else:
                print(f"  {job} 0.50 x.sh me r 11/20/2026 12:00:00 all.q@here 1 {number if number != '0' else ''}")


def qdel(words: list[str]) -> None:
    job = re.match("[0-9]+", words[-1])[0]
    (HOME / f"{job}.deleted").write_text("")
    for path in HOME.glob(f"{job}_*.pid"):
        if alive(int(path.read_text())):
            os.killpg(int(path.read_text()), signal.SIGTERM)


if __name__ == "__main__":
    {"qsub": qsub, "qstat": qstat, "qdel": qdel}[sys.argv[1]](sys.argv[2:])
