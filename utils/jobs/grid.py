"""Grid Engine (queue.pl) and PBS (pbs.pl): qsub, qstat, qdel. Neither remembers ended jobs: status files tell."""

import re

from jobs.cluster import ENDED, KILLED, PENDING, RUNNING, NoAnswer, State, call
from jobs.problem import say
from jobs.request import Request
from jobs.script import Script


class GridEngine:
    conf_name = "queue.conf"
    number_from = "SGE_TASK_ID"

    def words(self, request: Request, script: Script, todo: list[int]) -> list[str]:
        words = ["-C", "", "-o", str(script.output)]  # -C "": no line of the script is read as options
        if request.array:
            words += ["-t", f"{todo[0]}-{todo[-1]}"]
        return words

    def job_of(self, answer: str) -> str:
        """Of 'Your job 12 ("x.sh") has been submitted' and 'Your job-array 12.1-4:1 ("x.sh") has been submitted'."""
        match = re.search(r"^(?:Your job(?:-array)? )?(\d+)(?:\.[\d:-]+)?(?: \(.*)?$", answer, re.MULTILINE)
        return match[1] if match else ""

    def ask(self, job: str) -> dict[int, State]:
        result = call("qstat")
        if result.returncode != 0:
            raise NoAnswer(" ".join(result.stderr.split()) or f"qstat ended with {result.returncode}")
        states = {}
        for words in map(str.split, result.stdout.splitlines()):
            if len(words) >= 8 and words[0] == job:
                kind = KILLED if "E" in words[4] else PENDING if "w" in words[4] else RUNNING
                tasks = words[-1] if len(words) > 9 or (kind != RUNNING and len(words) > 8) else "1"
                states |= dict.fromkeys(numbers(tasks), State(kind, words[4]))
        return states

    def cancel(self, job: str) -> None:
        delete(job)

    def is_hopeless(self, state: State) -> bool:
        return False


class Pbs:
    conf_name = "pbs.conf"
    number_from = "PBS_ARRAY_INDEX"

    def words(self, request: Request, script: Script, todo: list[int]) -> list[str]:
        words = ["-o", str(script.output)]
        if request.array and len(todo) > 1:
            words += ["-J", f"{todo[0]}-{todo[-1]}"]
        elif request.array:  # no arrays of one job
            words += ["-v", f"{self.number_from}={todo[0]}"]
        if request.array and "max_jobs_run" in request.options:
            say(request.prog, "--max-jobs-run is ignored")
        return words

    def job_of(self, answer: str) -> str:
        match = re.search(r"^(\d+(?:\[\])?\S*)\s*$", answer, re.MULTILINE)
        return match[1] if match else ""

    def ask(self, job: str) -> dict[int, State]:
        result = call("qstat", "-t", job)
        if re.search(r"Unknown Job|has finished", result.stderr):
            return {}
        if result.returncode != 0:
            raise NoAnswer(" ".join(result.stderr.split()) or f"qstat ended with {result.returncode}")
        states = {}
        for words in map(str.split, result.stdout.splitlines()):
            match = re.match(r"\d+(?:\[(\d*)\])?", words[0]) if len(words) >= 6 else None
            if match and match[1] != "":
                kind = PENDING if words[4] in "QHW" else ENDED if words[4] in "FXC" else RUNNING
                states[int(match[1] or 1)] = State(kind, words[4])
        return states

    def cancel(self, job: str) -> None:
        delete(job)

    def is_hopeless(self, state: State) -> bool:
        return False


def delete(job: str) -> None:
    result = call("qdel", job)
    if result.returncode != 0 and not re.search(r"does not exist|Unknown Job|has finished", result.stderr):
        raise NoAnswer(" ".join((result.stderr or result.stdout).split()))


def numbers(tasks: str) -> list[int]:
    """The task numbers in a column of qstat: "3", "1-4:1", "2,5-7:1"."""
    found: list[int] = []
    for part in tasks.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if match:
            found += range(int(match[1]), int(match[2] or match[1]) + 1, int(match[3] or 1))
    return found
