"""Faults on request, so that tests can show what a kill or a full disk does at an exact place. Off unless asked for.

    CODECSEP_FAULT=ckpt.before_rename@2:kill          the second time that this point is passed: SIGKILL
    CODECSEP_FAULT=train.step@3#1:sleep:60,ark.write:raise:ENOSPC

Syntax: point[@n][#rank]:action, several with commas. n: only the n-th passing (default: the first); rank: only in this
process of a distributed run. Actions: kill, term, usr1, int (signals to this process), exit:<status>, sleep:<seconds>,
raise:<ERRNO name>, raise:oom (MemoryError), and `here`: the caller does the harm (`faultpoint` returns True).
Every point stands in POINTS; a test holds the list to the source.
"""

import errno
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass

VARIABLE = "CODECSEP_FAULT"
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "usr1": signal.SIGUSR1, "int": signal.SIGINT}
POINTS = (
    "ark.record",  # an utterance id is in the new ark, its codes are not
    "ark.before_lists",  # the ark is written, its scp and crc are not
    "atomic.mid",  # something is written beside its place, nothing is renamed
    "atomic.before_rename",  # all is written and forced to the disk
    "atomic.after_rename",
    "stage0.mid",  # one more voice is decoded, set listed or mixture written
    "codec.mid",  # the weights are there, codec.json is not
    "tokenise.batch",  # a batch is encoded, not yet written
    "tokenise.before_join",  # a part is done
    "join.mid",  # one list of the joined directory is there
    "sequences.mid",  # one more sequence is written
    "manifest.before_done",  # a stage has made its files, .done is missing
    "manifest.after_done",
    "separate.before_note",  # a batch is decoded, its estimates are written
    "separate.after_note",
    "separate.before_install",  # all batches are decoded, the old result is still there
    "separate.after_install",
    "score.before_keep",  # a few utterances are scored
    "score.after_keep",
    "score.before_tables",  # all are scored, their rows are kept
    "ckpt.probe",  # before the first write into the folder of checkpoints
    "ckpt.tmp_open",  # an empty folder is beside the place of a checkpoint
    "ckpt.mid_write",  # its first file is written
    "ckpt.before_fsync",  # all its files are written
    "ckpt.before_rename",  # ... and forced to the disk
    "ckpt.after_rename",  # it is in its place
    "ckpt.before_best",  # history.tsv and best.safetensors are those of before
    "ckpt.before_prune",  # old checkpoints are still there
    "train.step",  # a step begins
    "train.forward",  # a batch of a step begins
    "train.loss",  # here: the loss is NaN
    "train.backward",  # between the two passes
    "train.gradient",  # here: the gradient is Inf
    "train.batches",  # here: this rank has no batch left
    "train.validation",  # a batch of the validation begins
    "train.epoch_end",  # the last step of an epoch is done
    "loader.read",  # an example is read by a process of its own
)
_passed: Counter[str] = Counter()


@dataclass(frozen=True)
class Fault:
    point: str
    passing: int
    rank: int | None
    action: str
    argument: str


def faultpoint(name: str) -> bool:
    """Does what CODECSEP_FAULT asks for at this point; True when the caller is to do the harm itself."""
    text = os.environ.get(VARIABLE)
    if not text:
        return False
    _passed[name] += 1
    return any([_act(fault) for fault in parse(text) if fault.point == name and _is_due(fault)])


def parse(text: str) -> list[Fault]:
    """The faults in a value of CODECSEP_FAULT. Raises ValueError on a point or action that does not exist."""
    return [_parse_one(part) for part in text.split(",") if part]


def _parse_one(text: str) -> Fault:
    place, _, what = text.partition(":")
    place, _, rank = place.partition("#")
    point, _, passing = place.partition("@")
    action, _, argument = what.partition(":")
    if point not in POINTS or action not in (*SIGNALS, "exit", "sleep", "raise", "here"):
        raise ValueError(f"{VARIABLE}={text!r}: no such point or action; points are {', '.join(POINTS)}")
    return Fault(point, int(passing or 1), int(rank) if rank else None, action, argument)


def _is_due(fault: Fault) -> bool:
    rank = int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")))
    return _passed[fault.point] == fault.passing and fault.rank in (None, rank)


def _act(fault: Fault) -> bool:
    if fault.action == "here":
        return True
    if fault.action in SIGNALS:
        os.kill(os.getpid(), SIGNALS[fault.action])
    elif fault.action == "sleep":
        time.sleep(float(fault.argument))
    elif fault.action == "exit":
        os._exit(int(fault.argument))
    elif fault.argument == "oom":
        raise MemoryError(f"fault at {fault.point}")
    else:
        number = getattr(errno, fault.argument)
        raise OSError(number, os.strerror(number), f"fault at {fault.point}")
    return False
