"""Steps that cannot be used: NaN and Inf, memory that runs out. Named, left out, and an end when it goes on."""

import json
import math

import pytest
import runs
import torch
from torch import nn
from train_toys import Config, Model, Numbers, settings, trainer

from codecsep.data.buckets import BatchConfig
from codecsep.nn.quantize import Codebook, QuantizeConfig
from codecsep.train import gradient
from codecsep.train.guard import TrainingError
from codecsep.train.trainer import Trainer

torch.set_num_threads(1)
LOOP = {"max_steps": 24, "valid_interval": 6, "log_interval": 5}


def faults(point, first, number, action="here"):
    return ",".join(f"{point}@{n}:{action}" for n in range(first, first + number))


@pytest.mark.parametrize("point", ["train.loss", "train.gradient"])
def test_one_bad_step_is_skipped_named_and_written_down(tmp_path, point):
    assert runs.run("nar", tmp_path, LOOP, f"{point}@9:here") == 0
    noted = json.loads((tmp_path / "bad_batches" / "step-000009.json").read_text())
    assert noted["step"] == 9 and noted["epoch"] == 0 and "not finite" in noted["reason"]
    (rank,) = noted["ranks"]
    assert len(rank["ids"]) >= 1 and set(rank["ids"]) <= {f"m{i}" for i in range(30)}
    assert f"skipped (loss {'nan' if point == 'train.loss' else ''}" in (tmp_path / "train.log").read_text()
    assert all(torch.isfinite(value).all() for value in runs.read_weights(tmp_path).values())
    rows = [line.split("\t") for line in (tmp_path / "history.tsv").read_text().splitlines()]
    column = rows[0].index("skipped")
    assert [row[column] for row in rows[1:]] == ["0", "1", "0", "0"]


@pytest.mark.parametrize("point", ["train.loss", "train.gradient"])
def test_ten_in_a_row_end_the_training_and_keep_the_last_good_checkpoint(tmp_path, point):
    assert runs.run("nar", tmp_path, LOOP, faults(point, 8, 20)) == 2
    said = runs.error(tmp_path)
    assert said.startswith("E501 step 17: 10 steps in a row could not be used") and "last batch: m" in said
    assert len(list((tmp_path / "bad_batches").iterdir())) == 10
    assert all(torch.isfinite(value).all() for value in runs.read_weights(tmp_path).values())


def test_nine_in_a_row_do_not(tmp_path):
    assert runs.run("nar", tmp_path, LOOP, faults("train.loss", 8, 9)) == 0


def test_a_hundredth_of_a_long_epoch_ends_the_training(tmp_path):
    """2000 steps: 20 may be left out, never more than one in a row here; the 21st is too many."""
    chosen = settings(Config(explode_at=list(range(3, 2000, 3))), BatchConfig(1000, 1), max_steps=2000)
    chosen.train.valid_interval = 2000
    with pytest.raises(TrainingError, match=r"^E501 step 63: 21 of 2000 steps of epoch 0 could not be used"):
        trainer(tmp_path, chosen, (Numbers(2000), Numbers(3))).run()


class Normed(nn.Module):
    """A network with running statistics, which a NaN would stay in."""

    fields = ("wav",)

    def __init__(self):
        super().__init__()
        self.config = Config()
        self.norm, self.encoder = nn.BatchNorm1d(4), nn.Linear(4, 4)
        self.poison = False

    collate = Model.collate

    def loss(self, batch):
        wav = batch["wav"] * (math.nan if self.poison else 1.0)
        return ((self.encoder(self.norm(wav)) - batch["wav"]) ** 2).mean(), {}


def test_running_statistics_are_those_from_before_a_skipped_step(tmp_path):
    run = Trainer(Normed(), (Numbers(30), Numbers(3)), settings(), tmp_path)
    examples = [run.train_set[index] for index in range(4)]
    run._step([examples], 4)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.model.poison = True
    run._step([examples], 4)
    assert run.state.skipped == 1
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


def test_a_part_that_is_nan_stays_nan_in_the_tables(tmp_path):
    class Half(Model):
        def loss(self, batch):
            loss, parts = super().loss(batch)
            return loss, parts | {"accuracy": math.nan if self.training and self.calls == 3 else 1.0}

    run = Trainer(Half(Config()), (Numbers(30), Numbers(3)), settings(max_steps=10), tmp_path)
    assert run.run()
    first, second = run.state.history
    assert math.isnan(first["train_accuracy"]) and second["train_accuracy"] == 1.0
    assert first["valid_accuracy"] == 1.0


def test_nan_in_validation_is_named(tmp_path):
    class Bad(Model):
        def loss(self, batch):
            loss, parts = super().loss(batch)
            return (loss, parts) if self.training else (loss * math.nan, parts)

    assert Trainer(Bad(Config()), (Numbers(30), Numbers(3)), settings(max_steps=5), tmp_path).run()
    assert "warning: validation: loss not finite in a batch with u0" in (tmp_path / "train.log").read_text()


# -- memory


class Hungry(Model):
    """Cannot take more than `room` examples at once, and notices in the middle of the backward pass."""

    room = 3

    def loss(self, batch):
        self.steps += 1
        hidden = self.encoder(batch["wav"])
        if len(hidden) > self.room:
            hidden = _Explode.apply(hidden)
        error = self.decoder(torch.tanh(hidden)) - batch["wav"]
        return (error**2).mean(), {}


class _Explode(torch.autograd.Function):
    """In the backward pass memory runs out, when the decoder has its gradient and the encoder has none."""

    error = MemoryError

    @staticmethod
    def forward(context, hidden):
        return hidden.clone()

    @staticmethod
    def backward(context, grad):
        raise _Explode.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, torch.OutOfMemoryError])
def test_a_batch_that_does_not_fit_is_taken_in_halves_with_the_same_gradient(tmp_path, monkeypatch, error):
    monkeypatch.setattr(_Explode, "error", error)
    torch.manual_seed(1)
    hungry = Hungry(Config())
    whole = trainer(tmp_path / "whole", settings())
    part = Trainer(hungry, (Numbers(30), Numbers(3)), settings(), tmp_path)
    examples = [whole.train_set[index] for index in range(7)]
    batches = [examples[:2], examples[2:7]]  # the second has 5: halves of 2 and 3 fit
    whole._step(batches, 7)
    part._step(batches, 7)
    for one, two in zip(whole.trained, part.trained, strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-5, atol=1e-7)
    assert part.state.skipped == 0 and part.state.too_large_in_epoch == 1
    assert part.recent.means()["loss"] == pytest.approx(whole.recent.means()["loss"], rel=1e-5)
    assert int(hungry.steps) == 3, "running numbers count what was kept: 2, 2 and 3 examples"


def test_a_batch_whose_halves_do_not_fit_either_is_skipped_and_named(tmp_path):
    run = Trainer(Hungry(Config()), (Numbers(30), Numbers(3)), settings(), tmp_path)
    before = [p.detach().clone() for p in run.trained]
    run._step([[run.train_set[index] for index in range(8)]], 8)
    assert run.state.skipped == 1 and run.state.too_large_in_epoch == 2
    assert all(torch.equal(one, two) for one, two in zip(before, run.trained, strict=True))
    noted = json.loads((tmp_path / "bad_batches" / "step-000001.json").read_text())
    assert noted["reason"].startswith("a batch does not fit into memory")
    assert noted["ranks"][0]["ids"] == [f"u{i}" for i in range(8)]


def test_more_than_three_in_an_epoch_end_the_training_with_the_number_to_change(tmp_path):
    assert runs.run("toy", tmp_path, LOOP, "train.forward@1:raise:oom,train.forward@4:raise:oom") == 0
    fault = ",".join(f"train.forward@{n}:raise:oom" for n in (1, 4, 7, 10))
    assert runs.run("toy", tmp_path / "many", LOOP, fault) == 2
    said = runs.error(tmp_path / "many")
    assert said.startswith("E520 step 4: 4 batches of epoch 0 did not fit") and "batch.max_frames (now 20)" in said


def test_other_errors_are_not_taken_for_memory(tmp_path):
    class Wrong(Model):
        def loss(self, batch):
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        Trainer(Wrong(Config()), (Numbers(30), Numbers(3)), settings(), tmp_path).run()


def test_a_network_whose_ranks_talk_in_forward_is_not_tried_again(monkeypatch):
    plain, coupled = nn.Linear(2, 2), nn.Sequential(Codebook(QuantizeConfig()))
    assert gradient.can_be_halved(plain) and gradient.can_be_halved(coupled)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert gradient.can_be_halved(plain) and not gradient.can_be_halved(coupled)
