"""kill -9 at every fault point, full disks, and 5 kills in one run: the result is that of an uninterrupted one."""

import signal

import pytest
import runs

from codecsep.train import store
from codecsep.train.store import Checkpoints

LOOP = {"max_steps": 24, "valid_interval": 6, "save_interval": 4, "log_interval": 5, "accum": 2}
POINTS = (
    "ckpt.tmp_open",
    "ckpt.mid_write",
    "ckpt.before_fsync",
    "ckpt.before_rename",
    "ckpt.after_rename",
    "ckpt.before_best",
    "ckpt.before_prune",
)
# One after the other in the same run: in a step, in a save, in a validation, at the end of an epoch, between two
# batches of one step, and between the checkpoint and best.safetensors. (The n-th time in that process.)
FIVE = (
    "train.step@6:kill",
    "ckpt.mid_write@2:kill",
    "train.validation@3:kill",
    "train.epoch_end@1:kill",
    "train.forward@8:kill",
    "ckpt.before_best@2:kill",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run of a kind."""
    made = {}

    def run(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("whole") / kind
            assert runs.run(kind, made[kind], LOOP) == 0
        return made[kind]

    return run


@pytest.mark.parametrize("kind", ["ar", "nar"])
def test_five_kills_in_one_run_change_no_bit(whole, tmp_path, kind):
    for fault in FIVE:
        assert runs.run(kind, tmp_path, LOOP, fault) == -signal.SIGKILL, fault
    assert runs.run(kind, tmp_path, LOOP) == 0
    assert runs.differing_steps(tmp_path, whole(kind)) == 0
    runs.same(tmp_path, whole(kind))


@pytest.mark.parametrize("passing", [1, 3])
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_each_point_of_a_save_leaves_the_previous_or_the_new_checkpoint(whole, tmp_path, point, passing):
    assert runs.run("toy", tmp_path, LOOP, f"{point}@{passing}:kill") == -signal.SIGKILL
    said = []
    newest = Checkpoints(tmp_path / "checkpoints", "toy", said.append).newest()
    assert not said, "a kill damages nothing"
    expected = {1: (None, 4), 3: (6, 8)}[passing]  # saved at 4, 6, 8
    assert (store.read_state(newest)["step"] if newest else None) in expected
    assert runs.run("toy", tmp_path, LOOP) == 0
    runs.same(tmp_path, whole("toy"))
    names = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert all(name.startswith("step-") for name in names), "no rest is left"


@pytest.mark.parametrize("fault", ["train.epoch_end@2:kill", "train.validation@5:kill", "train.forward@12:kill"])
def test_a_kill_at_an_epoch_end_in_validation_or_between_two_batches_of_a_step(whole, tmp_path, fault):
    assert runs.run("toy", tmp_path, LOOP, fault) == -signal.SIGKILL
    assert runs.run("toy", tmp_path, LOOP) == 0
    runs.same(tmp_path, whole("toy"))
    steps = [line.split("\t")[0] for line in (tmp_path / "history.tsv").read_text().splitlines()[1:]]
    assert steps == ["6", "12", "18", "24"], "no validation is counted twice"


def test_with_other_numbers_of_workers_before_and_after_a_kill(whole, tmp_path):
    assert runs.run("toy", tmp_path, LOOP | {"num_workers": 0}, "train.step@10:kill") == -signal.SIGKILL
    assert runs.run("toy", tmp_path, LOOP | {"num_workers": 2}, "train.step@10:kill") == -signal.SIGKILL
    assert runs.run("toy", tmp_path, LOOP | {"num_workers": 3}) == 0
    runs.same(tmp_path, whole("toy"))


def test_fp16_goes_on_with_its_loss_scale(tmp_path):
    """Two overflows (one of them forced) before the kill: without its state the scale would start anew at 65536."""
    loop = LOOP | {"amp": "fp16", "accum": 1}
    fault = "train.gradient@3:here"
    assert runs.run("toy", tmp_path / "whole", loop, fault) == 0
    assert runs.run("toy", tmp_path / "pieces", loop, f"{fault},train.step@11:kill") == -signal.SIGKILL
    folder = Checkpoints(tmp_path / "pieces" / "checkpoints", "toy").newest()
    scaler = store.read_optimizer(folder)["scaler"]
    assert scaler["scale"] < 65536 and scaler["_growth_tracker"] > 0
    assert runs.run("toy", tmp_path / "pieces", loop) == 0
    runs.same(tmp_path / "pieces", tmp_path / "whole")
    assert "fp16 overflow, skipped; the loss scale is now" in (tmp_path / "whole" / "train.log").read_text()


@pytest.mark.parametrize("times", [1, 2])
def test_a_full_disk_is_survived_twice_and_changes_nothing(whole, tmp_path, times):
    fault = ",".join(f"ckpt.mid_write@{2 + number}:raise:ENOSPC" for number in range(times))
    assert runs.run("toy", tmp_path, LOOP, fault) == 0
    log = (tmp_path / "train.log").read_text()
    assert log.count("warning: E410") == times and log.count("training goes on") == times
    runs.same(tmp_path, whole("toy"))


def test_a_disk_that_stays_full_ends_the_training_with_the_last_checkpoint_kept(tmp_path):
    fault = ",".join(f"ckpt.before_fsync@{number}:raise:ENOSPC" for number in (2, 3, 4))
    assert runs.run("toy", tmp_path, LOOP, fault) == 2
    said = runs.error(tmp_path)
    assert said.startswith("E411 ") and "3 checkpoints in a row" in said and "MiB are free" in said
    assert Checkpoints(tmp_path / "checkpoints", "toy").newest().name == "step-000004"


def test_a_short_training_that_could_save_nothing_says_so_and_is_repeated(tmp_path):
    loop = LOOP | {"max_steps": 4, "valid_interval": 4}
    assert runs.run("toy", tmp_path, loop, "ckpt.mid_write:raise:ENOSPC") == 2
    assert runs.error(tmp_path).startswith("E411 ") and "so there is no result" in runs.error(tmp_path)
    assert runs.run("toy", tmp_path, loop) == 0


def test_a_full_disk_at_best_safetensors_is_survived_too(whole, tmp_path):
    assert runs.run("toy", tmp_path, LOOP, "ckpt.before_best@2:raise:ENOSPC") == 0
    assert "warning: E410" in (tmp_path / "train.log").read_text()
    runs.same(tmp_path, whole("toy"))


def test_kills_at_random_times_of_a_whole_training(whole, tmp_path, trials):
    """Not only where a fault point is."""
    import random
    import time

    draw = random.Random(5)
    for _ in range(trials(3, 30)):
        process = runs.start("toy", tmp_path, LOOP)
        time.sleep(draw.random() * 0.6)
        process.kill()
        process.join()
    assert runs.run("toy", tmp_path, LOOP) == 0
    runs.same(tmp_path, whole("toy"))
