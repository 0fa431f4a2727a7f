"""Two processes (gloo): one is killed, hangs, runs out of batches, gives NaN, is told to stop. Never a hang."""

import json
import shutil
import signal
import time

import pytest
import runs
import torch
from runs import error, ranks, status

from codecsep.train.store import Checkpoints

LOOP = {"max_steps": 24, "valid_interval": 6, "save_interval": 4, "log_interval": 5}
TIMEOUT = 3.0  # s, of the group
SLACK = 3.0  # times what is promised, on a machine that is busy with other things


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run of two processes."""
    out = tmp_path_factory.mktemp("whole")
    with ranks("ar", out, LOOP) as started:
        assert [status(process) for process in started] == [0, 0]
    return out


def finish(out, kind="ar"):
    with ranks(kind, out, LOOP) as started:
        assert [status(process) for process in started] == [0, 0]


def test_two_ranks_give_the_same_bytes_twice(whole, tmp_path):
    finish(tmp_path)
    runs.same(tmp_path, whole)


@pytest.mark.parametrize("rank", [0, 1])
def test_when_a_rank_is_killed_the_other_ends_soon_and_names_it(whole, tmp_path, rank):
    with ranks("ar", tmp_path, LOOP, f"train.step@10#{rank}:kill") as started:
        assert status(started[rank]) == -signal.SIGKILL
        began = time.monotonic()
        assert status(started[1 - rank]) == 2
        assert time.monotonic() - began < 15
    said = error(tmp_path, 1 - rank)
    assert said.startswith("E612 ") and f"rank {rank} is gone" in said and "step 10" in said
    finish(tmp_path)
    runs.same(tmp_path, whole)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_hangs_is_named_after_the_timeout(tmp_path, rank):
    with ranks("ar", tmp_path, LOOP, f"train.step@6#{rank}:sleep:600", TIMEOUT) as started:
        while not (tmp_path / f"pid.{1 - rank}").exists():
            time.sleep(0.05)
        began = time.monotonic()
        assert status(started[1 - rank]) == 2
        assert time.monotonic() - began < (TIMEOUT + 10) * SLACK
    said = error(tmp_path, 1 - rank)
    assert said.startswith(f"E610 rank {1 - rank}, step 6: rank {rank} did not answer within train.group_timeout = 3 s")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_without_a_batch_is_an_error_on_all_ranks_at_once(tmp_path, rank):
    with ranks("ar", tmp_path, LOOP, f"train.batches@5#{rank}:here") as started:
        assert [status(process) for process in started] == [2, 2]
    for number in (0, 1):
        assert error(tmp_path, number).startswith(f"E611 step 5: rank {rank} has no batch left")
    assert Checkpoints(tmp_path / "checkpoints", "toy").newest().name == "step-000004"


@pytest.mark.parametrize("fault", ["train.loss@9#1:here", "train.gradient@9#1:here"])
def test_nan_on_one_rank_skips_the_step_on_both(tmp_path, fault):
    with ranks("ar", tmp_path, LOOP, fault) as started:
        assert [status(process) for process in started] == [0, 0]
    assert "step 9: the " in (tmp_path / "train.log").read_text()
    (bad,) = (tmp_path / "bad_batches").iterdir()
    noted = json.loads(bad.read_text())
    assert noted["step"] == 9 and len(noted["ranks"]) == 2
    assert all(one["ids"] and all(key.startswith("m") for key in one["ids"]) for one in noted["ranks"])
    is_nan = [part["loss"] == "nan" for one in noted["ranks"] for part in one["parts"]]
    assert is_nan == [False, "loss" in fault]
    weights = runs.read_weights(tmp_path)
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert len((tmp_path / "losses.tsv").read_text().splitlines()) == 25


def test_a_batch_too_large_for_one_rank_is_halved_there_and_nothing_hangs(tmp_path):
    with ranks("toy", tmp_path, LOOP, "train.backward@9#1:raise:oom") as started:
        assert [status(process) for process in started] == [0, 0]
    assert "step 9: out of memory on rank 1; a batch is taken in halves" in (tmp_path / "train.log").read_text()
    assert not (tmp_path / "bad_batches").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_rank_stops_all_at_the_same_step(whole, tmp_path, rank):
    with ranks("ar", tmp_path, LOOP, f"train.step@9#{rank}:usr1") as started:
        assert [status(process) for process in started] == [85, 85]
    assert Checkpoints(tmp_path / "checkpoints", "toy").newest().name == "step-000009"
    finish(tmp_path)
    runs.same(tmp_path, whole)


def test_only_rank_0_writes(tmp_path):
    """Rank 1 is given a folder of its own: nothing appears in it."""
    env = runs.world(2)
    started = [runs.start("toy", tmp_path / rank, LOOP, RANK=rank, **env) for rank in "01"]
    assert [status(process) for process in started] == [0, 0]
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["pid.1"]
    assert (tmp_path / "0" / "best.safetensors").is_file()


def test_a_single_process_does_not_go_on_from_two_unless_allowed(whole, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(whole, out)
    loop = LOOP | {"max_steps": 30}
    assert runs.run("ar", out, loop) == 2
    assert error(out).startswith("E421 ") and "was written by 2 processes, now 1" in error(out)
    assert runs.run("ar", out, loop | {"allow_inexact_resume": True}) == 0
    assert "warning: E421" in (out / "train.log").read_text()


def test_no_process_is_left(tmp_path):
    """Readers of a rank that is killed die with it."""
    with ranks("ar", tmp_path, LOOP | {"num_workers": 2}, "train.step@5#1:kill") as started:
        assert status(started[1]) == -signal.SIGKILL
        assert status(started[0]) == 2
    readers = [int(path.suffix[1:]) for path in tmp_path.glob("reader.*")]
    assert len(readers) >= 4
    end = time.monotonic() + 15
    while (left := [pid for pid in readers if is_running(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left


def is_running(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
