"""Slurm: sbatch, squeue, scancel. Accounting (sacct) is not needed."""

import re

from jobs.cluster import ENDED, KILLED, PENDING, RUNNING, NoAnswer, State, call
from jobs.request import Request
from jobs.script import Script

KINDS = {
    "PENDING": PENDING,
    "REQUEUED": PENDING,
    "REQUEUE_FED": PENDING,
    "REQUEUE_HOLD": PENDING,
    "SPECIAL_EXIT": PENDING,
    "COMPLETED": ENDED,
    "FAILED": KILLED,
    "CANCELLED": KILLED,
    "TIMEOUT": KILLED,
    "OUT_OF_MEMORY": KILLED,
    "NODE_FAIL": KILLED,
    "PREEMPTED": KILLED,
    "BOOT_FAIL": KILLED,
    "DEADLINE": KILLED,
    "REVOKED": KILLED,
}
# Reasons that go away only when the request or the cluster's configuration changes.
HOPELESS = re.compile(
    r"PartitionNodeLimit|PartitionTimeLimit|PartitionConfig|BadConstraints|InvalidAccount|InvalidQOS"
    r"|AccountNotAllowed|QOSNotAllowed|AssocMax\w*PerJob\w*|QOSMax\w*Per(Job|Node)\w*|DependencyNeverSatisfied"
)


class Slurm:
    conf_name = "slurm.conf"
    number_from = "SLURM_ARRAY_TASK_ID"

    def words(self, request: Request, script: Script, todo: list[int]) -> list[str]:
        output = str(script.output).replace("%", "%%")
        words = ["--parsable", "--open-mode=append", f"--output={output}"]
        if request.array:
            limit = f"%{request.options['max_jobs_run']}" if "max_jobs_run" in request.options else ""
            words.append(f"--array={ranges(todo)}{limit}")
        return words

    def job_of(self, answer: str) -> str:
        """Of "12", "12;cluster" and "Submitted batch job 12"."""
        match = re.search(r"^(?:Submitted batch job )?(\d+)(?:;\S*| on cluster .*)?\s*$", answer, re.MULTILINE)
        return match[1] if match else ""

    def ask(self, job: str) -> dict[int, State]:
        result = call("squeue", "-h", "-j", job, "-t", "all", "-r", "-o", "%i %K %T %r")
        if result.returncode != 0:
            text = " ".join(result.stderr.split())
            if "Invalid job id" in text:
                return {}
            raise NoAnswer(text or f"squeue ended with {result.returncode}")
        states = {}
        for line in result.stdout.splitlines():
            _, task, name, reason = [*line.split(maxsplit=3), "", "", "", ""][:4]
            states[int(task) if task.isdecimal() else 1] = State(KINDS.get(name, RUNNING), name, reason)
        return states

    def cancel(self, job: str) -> None:
        result = call("scancel", job)
        if result.returncode != 0 and "Invalid job id" not in result.stderr:
            raise NoAnswer(" ".join(result.stderr.split()))

    def is_hopeless(self, state: State) -> bool:
        return HOPELESS.fullmatch(state.reason) is not None


def ranges(numbers: list[int]) -> str:
    """[1, 2, 3, 7] -> "1-3,7"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in parts)
