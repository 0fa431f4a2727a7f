"""Submit a request to a scheduler, watch it until every job has ended, report. The same for every scheduler.

A job tells its status in a file; the scheduler is asked as well, so that jobs that were killed, cancelled, lost with
their node or never started are noticed soon. A scheduler that does not answer is asked again, not blamed on the job.

Environment, in seconds: CODECSEP_JOB_POLL (10: at most between two questions), CODECSEP_JOB_GRACE (10: how long a
status file may be late), CODECSEP_JOB_SAY (60: between two messages about jobs that wait).
"""

import os
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jobs import conf, logs, processes
from jobs.local import Stopped
from jobs.logs import Failure
from jobs.problem import Problem, guarded, say
from jobs.request import Request, parse
from jobs.script import Script, make_script

SECONDS_TO_ANSWER = 60
SECONDS_TO_SUBMIT = 600
SECONDS_AT_FIRST = 1.0  # between two questions; more and more later on
GRACE_AFTER_KILL = 2.0  # a scheduler that says how a job was ended need not be doubted for long
PENDING, RUNNING, ENDED, KILLED = "pending", "running", "ended", "killed"


@dataclass(frozen=True)
class State:
    """What a scheduler says of a job. `kind`: PENDING, RUNNING, ENDED (by itself), KILLED; `name`: in its own words."""

    kind: str
    name: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason and self.reason != "None" else self.name


GONE = State(ENDED, "the scheduler does not know the job any more")


class NoAnswer(Exception):
    """The scheduler could not be asked; the message is what it said."""


class Scheduler(Protocol):
    """One kind of scheduler. All methods raise NoAnswer when it cannot be reached."""

    conf_name: str
    number_from: str  # environment variable that tells a job its number in the array

    def words(self, request: Request, script: Script, todo: list[int]) -> list[str]:
        """What the launcher adds to the submitting command."""

    def job_of(self, answer: str) -> str:
        """The id in what the submitting command printed; empty when there is none."""

    def ask(self, job: str) -> dict[int, State]:
        """State of every job of the array that the scheduler still knows; a job without an array has number 1."""

    def cancel(self, job: str) -> None: ...

    def is_hopeless(self, state: State) -> bool:
        """Will a job that waits in this state wait for ever?"""


def call(*words: str) -> subprocess.CompletedProcess:
    """Run a command of the scheduler, safe from Ctrl-C. Raises NoAnswer when it hangs, Problem when it is not here."""
    try:
        return subprocess.run(
            words, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
            timeout=SECONDS_TO_ANSWER, start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{words[0]} hangs") from None
    except OSError as error:
        fix = "call it where the commands of the cluster are, or set CODECSEP_CMD_BACKEND=local"
        raise Problem("E622", error.strerror or "cannot be run", words[0], fix) from None


def seconds(name: str, default: float) -> float:
    """A number of seconds from the environment."""
    try:
        return float(os.environ.get(name) or default)
    except ValueError:
        return default


def submit(request: Request, scheduler: Scheduler, words: list[str], stop: processes.Stop) -> str:
    """Hand the job over; its id. A controller that is down is asked again for ten minutes."""
    end = time.time() + SECONDS_TO_SUBMIT
    while True:
        try:
            result = call(*words)
            job = scheduler.job_of(result.stdout) if result.returncode == 0 else ""
            if job:
                return job
            raise refusal(result, words)
        except NoAnswer as error:
            if time.time() > end or stop.asked():
                raise Problem("E621", str(error), words[0], "look whether the cluster is up, then try again") from None
            say(request.prog, f"{words[0]}: {error}; trying again")
            time.sleep(seconds("CODECSEP_JOB_POLL", 10))


def refusal(result: subprocess.CompletedProcess, words: list[str]) -> Exception:
    """NoAnswer when the scheduler was not reached, else a Problem with its own words."""
    text = " ".join((result.stderr or result.stdout).split())
    if any(sign in text for sign in ("Unable to contact slurm controller", "unable to contact qmaster", "gdi request")):
        return NoAnswer(text)
    what = f"refused the job (status {result.returncode}): {text or 'it said nothing'}"
    return Problem("E621", what, " ".join(words[:-1]), "correct the options of the job line or the conf file")


class Watch:
    """Follows the jobs of one submission until all have ended."""

    def __init__(self, script: Script, scheduler: Scheduler, job: str, todo: list[int], stop: processes.Stop):
        self.request, self.script, self.scheduler, self.job, self.stop = script.request, script, scheduler, job, stop
        self.open = set(todo)
        self.failures: list[Failure] = []
        self.bad: dict[int, int] = {}  # status of jobs that say that they failed
        self.doubts: dict[int, float] = {}  # since when the scheduler says that a job has ended
        self.hopeless_since = 0.0
        self.longest = seconds("CODECSEP_JOB_POLL", 10)
        self.pause = min(SECONDS_AT_FIRST, self.longest)
        self.next_question = time.time() + self.pause
        self.say_interval = seconds("CODECSEP_JOB_SAY", 60)
        self.next_word = time.time() + self.say_interval

    def run(self) -> list[Failure]:
        """The failures, when all jobs have ended. Raises Stopped after a signal, with the jobs cancelled."""
        while self.open:
            self._collect()
            if self.open and time.time() >= self.next_question:
                self._question()
            if signum := self.stop.asked():
                self._cancel()
                raise Stopped(signum)
            if self.open:
                time.sleep(min(0.2, self.pause))
        return self.failures

    def _collect(self) -> None:
        """Read the status files that have appeared."""
        prefix = f"{self.script.done.name}."
        for entry in os.scandir(self.script.folder):
            number = entry.name.removeprefix(prefix)
            if entry.name.startswith(prefix) and number.isdecimal() and int(number) in self.open:
                self._take(int(number), Path(entry.path))

    def _take(self, number: int, path: Path) -> None:
        try:
            status = int(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # deleted by a new attempt, or a network file system that is late
            return
        if status == 0:
            self.open.discard(number)
        elif number not in self.bad:
            self.bad[number] = status
            self.next_question = 0.0

    def _question(self) -> None:
        """Ask the scheduler, and draw the conclusions."""
        try:
            states = self.scheduler.ask(self.job)
        except NoAnswer as error:
            self._word(f"job {self.job}: the scheduler does not answer ({error}); asking again")
        else:
            for number in sorted(self.open):
                self._judge(number, states.get(number, GONE))
            self._look_at_waiting([states[number] for number in self.open if number in states])
        doubtful = self.bad or self.doubts
        self.pause = min(SECONDS_AT_FIRST if doubtful else self.pause * 1.5, self.longest)
        self.next_question = time.time() + self.pause

    def _judge(self, number: int, state: State) -> None:
        """A job that is alive is not doubted, whatever its status file says: it is ending, or it is started again."""
        if state.kind in (PENDING, RUNNING):
            self.doubts.pop(number, None)
            if state.kind == PENDING and self.bad.pop(number, None):  # of an attempt before
                self.script.status(number).unlink(missing_ok=True)
            return
        if number in self.bad:
            self._fail(number, self.bad[number], state)
            return
        since = self.doubts.setdefault(number, time.time())
        grace = seconds("CODECSEP_JOB_GRACE", 10)
        if time.time() - since >= (min(grace, GRACE_AFTER_KILL) if state.kind == KILLED else grace):
            code = logs.ended(self.request.log_of(number))
            if code == 0:
                self.open.discard(number)
            else:
                self._fail(number, code, state)

    def _fail(self, number: int, status: int | None, state: State) -> None:
        self.open.discard(number)
        state_there = f"{state} on the cluster (job {self.job})"
        self.failures.append(Failure(number, self.request.log_of(number), status, state_there, self.script.output))

    def _look_at_waiting(self, states: list[State]) -> None:
        """Say what jobs wait for; give up on those that can never run."""
        waiting = [state for state in states if state.kind == PENDING]
        hopeless = waiting and len(waiting) == len(states) and all(map(self.scheduler.is_hopeless, waiting))
        if not hopeless:
            self.hopeless_since = 0.0
        elif not self.hopeless_since:
            self.hopeless_since = time.time()
        elif time.time() - self.hopeless_since >= seconds("CODECSEP_JOB_GRACE", 10):
            self._cancel()
            fix = "correct the options of the job line or the conf file"
            raise Problem("E623", f"{waiting[0]}: this request can never run; cancelled", f"job {self.job}", fix)
        for text, count in Counter(str(state) for state in waiting).items():
            if "JobArrayTaskLimit" not in text:  # --max-jobs-run, as asked for
                self._word(f"job {self.job}: {count} of {len(self.request.numbers)} {text}")

    def _word(self, text: str) -> None:
        """Say something, but not more often than once a minute."""
        if time.time() >= self.next_word:
            say(self.request.prog, text)
            self.next_word = time.time() + self.say_interval

    def _cancel(self) -> None:
        try:
            self.scheduler.cancel(self.job)
        except (NoAnswer, Problem) as error:
            say(self.request.prog, f"job {self.job} could not be cancelled ({error}); cancel it by hand")


def run(request: Request, scheduler: Scheduler) -> int:
    """Run a request on a cluster; the exit status."""
    file = conf.read(conf.find(request, scheduler.conf_name), request.prog)
    options = file.words({k: v for k, v in request.options.items() if k != "max_jobs_run" or request.array})
    requeues = (file.defaults | request.options).get("requeue") == "true"
    if "max_jobs_run" in request.options and not request.array:
        say(request.prog, "--max-jobs-run is ignored: there is no array of jobs")
    todo, failed = request.picked()
    failures = [Failure(number, request.log_of(number), logs.ended(request.log_of(number))) for number in failed]
    if todo:
        script, stop = make_script(request, scheduler.number_from), processes.Stop()
        script.write(todo, ("--requeue",) if requeues else ())
        words = [*file.command, *scheduler.words(request, script, todo), *options, str(script.path)]
        job = submit(request, scheduler, words, stop)
        with open(script.output, "a", encoding="utf-8") as file:
            file.write(f"# {request.prog}: submitted batch job {job}\n")
        say(request.prog, f"job {job}: {request.log}")
        try:
            failures += Watch(script, scheduler, job, todo, stop).run()
        except Stopped as stopped:
            say(request.prog, str(stopped))
            return stopped.status
        finally:
            script.clean()
    return logs.report(request, failures)


def main(prog: str, help_text: str, words: list[str], scheduler: Scheduler) -> int:
    return guarded(prog, lambda: run(parse(prog, help_text, words), scheduler))
