"""A training that was stopped goes on with the very numbers of one that was not: every loss, bit for bit."""

import shutil

import pytest
import torch
from train_toys import Config, Numbers, settings, trainer, weights

from codecsep.train.stop import StopFlag
from codecsep.train.unchanged import ResumeError

torch.set_num_threads(1)
NOISY = Config(noise=0.3)  # draws from the generators of python, numpy and torch at each step


class StopAfter(StopFlag):
    """Is asked once per step; answers with a signal the n-th time."""

    def __init__(self, steps: int):
        self.left = steps

    @property
    def received(self):
        self.left -= 1
        return "SIGTERM" if self.left == 0 else None


def recorded(run) -> dict[int, tuple[str, str]]:
    """Run; step -> (loss, learning rate) in hexadecimal."""
    seen, step = {}, run._step

    def wrapped(batches, examples):
        before = run.state.window.sums.get("loss", 0.0), run.recent
        run.recent = type(before[1])()
        step(batches, examples)
        means = run.recent.means()
        run.recent = before[1]
        seen[run.state.step] = (float(means["loss"]).hex(), run.parts.optimizer.param_groups[0]["lr"].hex())

    run._step = wrapped
    run.finished = run.run()
    return seen


@pytest.mark.parametrize(
    "loop",
    [{}, {"accum": 2}, {"accum": 3, "ema_decay": 0.9}, {"valid_interval": 7, "amp": "bf16"}],
    ids=["plain", "accumulation", "moving average", "bf16"],
)
def test_every_loss_and_the_weights_are_those_of_an_uninterrupted_run(tmp_path, loop):
    chosen = settings(NOISY, max_steps=24, **loop)
    whole = trainer(tmp_path / "whole", chosen)
    expected = recorded(whole)
    seen: dict[int, tuple[str, str]] = {}
    for steps in (4, 5, 1, 8, 99):  # in the middle of epochs and at a validation
        run = trainer(tmp_path / "pieces", chosen, stop=StopAfter(steps))
        seen |= recorded(run)
    assert run.finished and seen == expected
    assert weights(run) == weights(whole)
    assert run.state.history == whole.state.history and run.state.best == whole.state.best
    for name in ("best.safetensors", "history.tsv"):
        assert (tmp_path / "pieces" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("left_out", ["python", "numpy", "torch", "optimizer", "position"])
def test_each_part_of_the_state_is_needed(tmp_path, monkeypatch, left_out):
    """The test above would notice: with one part left out of the resume, the losses differ."""
    from codecsep.train import store

    chosen = settings(NOISY, max_steps=12)
    expected = recorded(trainer(tmp_path / "whole", chosen))
    assert recorded(trainer(tmp_path / "pieces", chosen, stop=StopAfter(4)))
    run = trainer(tmp_path / "pieces", chosen)
    fresh_random, fresh_optimizer = _states(run)
    read_state, read_optimizer = store.read_state, store.read_optimizer

    def state(folder):
        values = read_state(folder)
        if left_out == "position":
            values["position"] = 0
        elif left_out != "optimizer":
            values["random"][0][left_out] = fresh_random[left_out]
        return values

    def optimizer(folder):
        return fresh_optimizer if left_out == "optimizer" else read_optimizer(folder)

    monkeypatch.setattr(store, "read_state", state)
    monkeypatch.setattr(store, "read_optimizer", optimizer)
    seen = recorded(run)
    assert seen != {step: expected[step] for step in seen}


def _states(run):
    from codecsep.train.state import random_state, seeded

    with seeded(12345):
        return random_state(), {"optimizer": run.parts.optimizer.state_dict(), "scaler": {}}


def test_the_number_of_workers_changes_nothing(tmp_path):
    chosen = settings(NOISY, max_steps=12)
    expected = recorded(trainer(tmp_path / "whole", chosen))
    seen = recorded(trainer(tmp_path / "pieces", chosen, stop=StopAfter(4)))
    chosen.data.num_workers = 1
    run = trainer(tmp_path / "pieces", chosen)
    assert seen | recorded(run) == expected


@pytest.mark.parametrize("harm", ["manifest", "cut"])
def test_from_a_damaged_newest_checkpoint_it_goes_on_from_the_one_before(tmp_path, harm):
    chosen = settings(NOISY, max_steps=12)
    whole = trainer(tmp_path / "whole", chosen)
    expected = recorded(whole)
    assert recorded(trainer(tmp_path / "pieces", chosen, stop=StopAfter(8)))
    newest = tmp_path / "pieces" / "checkpoints" / "step-000008"
    if harm == "manifest":
        (newest / "manifest.json").unlink()
    else:
        (newest / "model.safetensors").write_bytes((newest / "model.safetensors").read_bytes()[:-8])
    run = trainer(tmp_path / "pieces", chosen)
    seen = recorded(run)
    assert min(seen) == 6 and seen == {step: expected[step] for step in seen}
    assert weights(run) == weights(whole)
    said = (tmp_path / "pieces" / "train.log").read_text()
    assert (
        "warning: E401" in said and "step-000008: " in said and "passed over for step-000005: 3 steps are lost" in said
    )


def test_a_finished_training_goes_on_when_more_steps_are_asked_for(tmp_path):
    constant = settings(NOISY, max_steps=12)
    constant.optim.schedule = "constant"
    whole = trainer(tmp_path / "whole", constant)
    expected = recorded(whole)
    constant.train.max_steps = 5
    seen = recorded(trainer(tmp_path / "pieces", constant))
    constant.train.max_steps = 12
    assert seen | recorded(trainer(tmp_path / "pieces", constant)) == expected


def test_stopped_between_the_last_save_and_the_end_it_only_finishes(tmp_path):
    chosen = settings(NOISY, max_steps=10)
    run = trainer(tmp_path, chosen)
    assert recorded(run)
    result = (tmp_path / "best.safetensors").read_bytes()
    (tmp_path / "best.safetensors").unlink()
    again = trainer(tmp_path, chosen)
    assert recorded(again) == {}
    assert (tmp_path / "best.safetensors").read_bytes() == result


def test_another_number_of_processes_is_refused(tmp_path):
    from codecsep.train.distributed import World

    chosen = settings(max_steps=10)
    assert not recorded(trainer(tmp_path, chosen, stop=StopAfter(2))) == {}
    run = trainer(tmp_path, chosen, world=World(0, 2))
    with pytest.raises(ResumeError, match="^E421 .*step-000002: was written by 1 processes, now 2"):
        run.run()


def test_data_that_changed_size_does_not_hide(tmp_path):
    """A smaller training set leaves the position behind the end of the epoch: the next epoch begins."""
    chosen = settings(max_steps=10)
    recorded(trainer(tmp_path, chosen, stop=StopAfter(6)))
    run = trainer(tmp_path, chosen, sets=(Numbers(4), Numbers(3)))
    assert recorded(run) and run.state.epoch >= 1
    shutil.rmtree(tmp_path / "checkpoints")
