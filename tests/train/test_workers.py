"""Processes that read: in order, and named with what they read when they die or hang."""

import faulthandler
import os
import random
import signal
import time

import numpy as np
import pytest
import torch

from codecsep.train.batches import Failure, load_batches
from codecsep.train.settings import DataConfig
from codecsep.train.workers import WorkerError, read_batches

PLAN = [[0, 1, 2], [3], [4, 5], [6, 7, 8, 9], [10], [11]]


def name(index):
    return f"u{index}"


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9])
def test_batches_come_in_the_order_of_the_plan(count):
    assert list(read_batches(lambda index: index * 10, name, PLAN, count, 60)) == [[i * 10 for i in b] for b in PLAN]


def test_large_examples_do_not_block():
    """More than any pipe holds, in every batch."""
    plan = [[i] for i in range(12)]
    read = list(read_batches(lambda index: np.full(300_000, index), name, plan, 2, 60))
    assert [int(batch[0][0]) for batch in read] == list(range(12))


def harm_at(index, harm):
    def read(asked):
        if asked == index:
            harm()
        return asked

    return read


def crash():
    faulthandler.disable()  # pytest's, which would print a page
    os.kill(os.getpid(), signal.SIGSEGV)


DEATHS = {
    "was killed by SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "was killed by SIGSEGV": crash,
    "ended with status 0": lambda: os._exit(0),
    "ended with status 3": lambda: os._exit(3),
}


@pytest.mark.parametrize("how", DEATHS)
def test_a_dead_worker_is_noticed_and_named_with_its_utterance_and_batch(how):
    began = time.monotonic()
    with pytest.raises(WorkerError, match=rf"^E601 worker 1 .*{how} while reading 'u7' of the batch u6, u7, u8, u9 "):
        list(read_batches(harm_at(7, DEATHS[how]), name, PLAN, 2, 300))
    assert time.monotonic() - began < 2 * 3, "2 s, on a busy machine"


def test_a_worker_that_dies_while_the_parent_computes_is_noticed_at_the_next_batch():
    batches = read_batches(harm_at(4, DEATHS["ended with status 0"]), name, PLAN, 2, 300)
    assert next(batches) == [0, 1, 2]
    time.sleep(0.5)
    began = time.monotonic()
    with pytest.raises(WorkerError, match="E601 worker 0 .*'u4' of the batch u4, u5"):
        next(batches)
    assert time.monotonic() - began < 1


def test_a_worker_that_hangs_is_an_error_after_the_timeout():
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"^E602 worker 0 .*gave nothing for 1 s .*'u5' of the batch u4, u5 "):
        list(read_batches(harm_at(5, lambda: time.sleep(600)), name, PLAN, 2, 1))
    assert 1 <= time.monotonic() - began < 10


def test_workers_end_with_the_epoch_and_when_it_is_left_early():
    for number in (1, 6):
        batches = read_batches(lambda index: os.getpid(), name, PLAN, 2, 60)
        pids = {pid for _ in range(number) for pid in next(batches)}
        batches.close()
        assert pids and not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_signals_for_the_job_do_not_end_its_readers():
    """Slurm and Ctrl-C signal every process of a job; the trainer needs the rest of its step."""

    def read(index):
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            os.kill(os.getpid(), number)
        return index

    assert list(read_batches(read, name, PLAN, 2, 60)) == PLAN


class Drawing:
    """Items that draw from every global generator, as a careless dataset does."""

    ids = [f"u{i}" for i in range(12)]
    epoch = 3

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return {"id": self.ids[index], "drawn": (random.random(), float(np.random.rand()), float(torch.rand(())))}


def test_what_an_item_draws_depends_neither_on_workers_nor_on_the_parent():
    drawn = []
    for number in (0, 1, 3):
        torch.manual_seed(number)
        drawn.append([[e["drawn"] for e in b] for b in load_batches(Drawing(), PLAN, DataConfig(num_workers=number))])
    assert drawn[0] == drawn[1] == drawn[2]
    assert len({value for batch in drawn[0] for item in batch for value in item}) == 36
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    list(load_batches(Drawing(), PLAN, DataConfig()))
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


class Empty(Drawing):
    def __getitem__(self, index):
        if index == 5:
            raise StopIteration
        return super().__getitem__(index)


@pytest.mark.parametrize("number", [0, 2])
def test_a_dataset_that_stops_does_not_end_the_epoch(number):
    read = list(load_batches(Empty(), PLAN, DataConfig(num_workers=number)))
    assert [len(batch) for batch in read] == [len(batch) for batch in PLAN]
    (failed,) = [example for batch in read for example in batch if isinstance(example, Failure)]
    assert failed.name == "u5" and isinstance(failed.error, StopIteration)


class Named(Drawing):
    ids = ["a", "b"]  # of its sources

    def name(self, index):
        return f"mix-{index}"

    def __getitem__(self, index):
        raise KeyError(index)


def test_an_item_is_named_by_its_dataset():
    assert next(load_batches(Named(), PLAN, DataConfig()))[1].name == "mix-1"
    assert next(load_batches(Empty(), [[5]], DataConfig()))[0].name == "u5"
