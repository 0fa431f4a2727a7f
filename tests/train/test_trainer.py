"""What one training does: learn, weigh, skip, choose, average. Going on after a stop is in test_resume.py."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from train_toys import Config, Model, Numbers, settings, trainer, weights

from codecsep.data.buckets import BatchConfig
from codecsep.errors import CodecsepError
from codecsep.train import optim, store, validation
from codecsep.train.batches import ExampleError, Failure
from codecsep.train.guard import TrainingError
from codecsep.train.optim import InitConfig
from codecsep.train.trainer import Trainer

torch.set_num_threads(1)


def history(run):
    return run.state.history


def test_the_loss_falls_and_the_files_are_there(tmp_path):
    run = trainer(tmp_path, settings(max_steps=150, valid_interval=50))
    assert run.run()
    rows = history(run)
    assert [row["step"] for row in rows] == [50, 100, 150]
    assert rows[-1]["valid_loss"] < 0.3 * rows[0]["train_loss"]
    assert {"valid_largest", "train_largest", "lr", "epoch"} <= rows[0].keys()
    lines = (tmp_path / "history.tsv").read_text().splitlines()
    assert len(lines) == 4 and lines[0].split("\t")[:3] == ["step", "epoch", "lr"]
    log = (tmp_path / "train.log").read_text()
    assert "frames/s" in log and "grad_norm" in log and "left" in log
    assert (tmp_path / "best.safetensors").is_file()


@pytest.mark.parametrize(("accum", "examples"), [(3, 2), (2, 3)])
def test_accumulation_equals_the_big_batch(tmp_path, accum, examples):
    """All lengths are equal, so that three batches of two hold the very examples of one batch of six."""

    class Even(Numbers):
        lengths = property(lambda self: [1] * self.size)

    sets = Even(30), Even(7)
    big = trainer(tmp_path / "big", settings(batch=BatchConfig(100, 6), max_steps=5), sets)
    small = trainer(tmp_path / "small", settings(batch=BatchConfig(100, examples), max_steps=5, accum=accum), sets)
    ids = [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    for group in ids:
        big._step([[sets[0][i] for i in group]], 6)
        pieces = [group[i : i + examples] for i in range(0, 6, examples)]
        small._step([[sets[0][i] for i in piece] for piece in pieces], 6)
    for name, value in big.model.named_parameters():
        torch.testing.assert_close(dict(small.model.named_parameters())[name], value, rtol=1e-5, atol=1e-7)


def test_uneven_batches_weigh_by_their_examples(tmp_path):
    data = Numbers(6)
    examples = [data[i] for i in range(6)]
    whole = trainer(tmp_path / "whole", settings())
    uneven = trainer(tmp_path / "uneven", settings())
    whole._step([examples], 6)
    uneven._step([examples[:1], examples[1:]], 6)
    torch.testing.assert_close(uneven.model.encoder.weight, whole.model.encoder.weight, rtol=1e-5, atol=1e-7)
    assert uneven.recent.means()["loss"] == pytest.approx(whole.recent.means()["loss"], rel=1e-5)


def test_a_step_without_finite_gradient_is_skipped_and_named(tmp_path):
    run = trainer(tmp_path, settings(Config(explode_at=[3])))
    assert run.run()
    assert run.state.skipped == 1 and run.state.skipped_in_row == 0 and run.state.step == 20
    assert all(math.isfinite(v) for row in history(run) for v in row.values())
    assert all(torch.isfinite(p).all() for p in run.model.parameters())
    assert "step 3: the loss is not finite, skipped (loss nan" in (tmp_path / "train.log").read_text()


def test_many_in_a_row_end_the_training_with_the_last_checkpoint_kept(tmp_path):
    run = trainer(tmp_path, settings(Config(explode_at=list(range(7, 30))), nonfinite_patience=4))
    said = (
        r"^E501 step 10: 4 steps in a row could not be used: the loss is not finite \(last batch: u\d+.*lower optim.lr"
    )
    with pytest.raises(TrainingError, match=said):
        run.run()
    assert run.keeper.checkpoints.newest().name == "step-000005"


def test_gradients_are_clipped(tmp_path):
    chosen = settings()
    chosen.optim.clip = 1e-3
    run = trainer(tmp_path, chosen)
    run._step([[run.train_set[0]]], 1)
    total = math.sqrt(sum(float((p.grad**2).sum()) for p in run.model.parameters()))
    assert total == pytest.approx(1e-3, rel=1e-3)
    assert run.recent.means()["grad_norm"] > 1e-2  # the norm that is shown is the one before


def test_best_are_kept_and_their_mean_is_the_result(tmp_path, monkeypatch):
    run = trainer(tmp_path, settings(max_steps=25, keep_best=2, average=2))
    values = iter([3.0, 1.0, 2.0, 5.0, 4.0])

    def validate():
        run.state.window = type(run.state.window)()
        validation.rank_best(run.state, next(values), run.loop.keep_best)

    monkeypatch.setattr(run, "_validate", validate)
    assert run.run()
    assert run.state.best == [{"step": 10, "value": 1.0}, {"step": 15, "value": 2.0}]
    names = [path.name for path in run.keeper.checkpoints.all()]
    assert names == ["step-000010", "step-000015", "step-000020", "step-000025"]
    one, two = (load_file(run.keeper.checkpoints.folder(s) / "model.safetensors")["encoder.weight"] for s in (10, 15))
    torch.testing.assert_close(load_file(tmp_path / "best.safetensors")["encoder.weight"], (one + two) / 2)


def test_nan_in_validation_is_never_best(tmp_path):
    run = trainer(tmp_path, settings(keep_best=1))
    run.state.step = 5
    validation.rank_best(run.state, float("nan"), 1)
    run.state.step = 10
    validation.rank_best(run.state, 7.0, 1)
    assert run.state.best == [{"step": 10, "value": 7.0}]


def test_patience_ends_the_training(tmp_path, monkeypatch):
    run = trainer(tmp_path, settings(max_steps=100, patience=2))
    values = iter([1.0, 3.0, 2.0, 0.5])
    monkeypatch.setattr(run, "_validate", lambda: validation.rank_best(run.state, next(values), run.loop.keep_best))
    assert run.run() and run.state.step == 15


def test_unknown_criterion_names_the_parts(tmp_path):
    with pytest.raises(TrainingError, match=r"'si_sdr' is none of the parts \['largest', 'loss'\]"):
        trainer(tmp_path, settings(criterion="si_sdr")).run()


def test_validation_is_the_weighted_mean_over_all_and_disturbs_nothing(tmp_path):
    run = trainer(tmp_path, settings(Config(noise=1.0)))
    before = torch.get_rng_state(), weights(run)
    meter = run._validation_meter()
    assert torch.equal(torch.get_rng_state(), before[0]) and weights(run) == before[1]
    assert run.model.training
    run.model.eval()
    whole = run.model.loss(run.model.collate([run.valid_set[i] for i in range(7)]))[0]
    assert meter.means()["loss"] == pytest.approx(float(whole.detach()), rel=1e-5)


def test_the_moving_average_is_exact_and_is_what_is_decoded_with(tmp_path):
    run = trainer(tmp_path, settings(max_steps=3, valid_interval=3, ema_decay=0.5))
    expected = run.model.encoder.weight.detach().clone()
    for index in range(2):
        run._step([[run.train_set[index]]], 1)
        expected = 0.5 * expected + 0.5 * run.model.encoder.weight.detach()
    torch.testing.assert_close(run.parts.ema.weights["encoder.weight"], expected)
    run = trainer(tmp_path, settings(max_steps=3, valid_interval=3, ema_decay=0.5))
    assert run.run()
    best = load_file(tmp_path / "best.safetensors")["encoder.weight"]
    assert torch.equal(best, run.parts.ema.weights["encoder.weight"]) and not torch.equal(
        best, run.model.encoder.weight
    )


def test_parts_are_initialised_and_frozen_by_the_settings(tmp_path):
    assert trainer(tmp_path / "donor", settings()).run()
    chosen = settings()
    chosen.init, chosen.freeze = [InitConfig(str(tmp_path / "donor"), "encoder", "encoder")], ["encoder"]
    model = Model(chosen.network)
    optim.initialise(model, chosen.init)
    optim.freeze(model, chosen.freeze)
    (tmp_path / "taker").mkdir()
    assert Trainer(model, (Numbers(30), Numbers(7)), chosen, tmp_path / "taker").run()
    before = load_file(tmp_path / "donor" / "best.safetensors")["encoder.weight"]
    after = load_file(tmp_path / "taker" / "best.safetensors")
    assert torch.equal(after["encoder.weight"], before)
    assert not torch.equal(
        after["decoder.weight"], load_file(tmp_path / "donor" / "best.safetensors")["decoder.weight"]
    )


@pytest.mark.parametrize("amp", ["no", "bf16"])
def test_mixed_precision_learns(tmp_path, amp):
    run = trainer(tmp_path, settings(max_steps=60, amp=amp, valid_interval=20))
    assert run.run()
    assert history(run)[-1]["valid_loss"] < 0.7 * history(run)[0]["train_loss"]
    assert run.model.encoder.weight.dtype == torch.float32


def test_a_full_disk_is_survived_twice(tmp_path, monkeypatch):
    run = trainer(tmp_path, settings(max_steps=30))
    real, calls = store._seal, []

    def sometimes_full(folder, values):
        calls.append(folder)
        if len(calls) in (2, 3):
            raise OSError(28, "No space left on device")
        real(folder, values)

    monkeypatch.setattr(store, "_seal", sometimes_full)
    assert run.run()
    assert (tmp_path / "train.log").read_text().count("training goes on") == 2
    monkeypatch.setattr(store, "_seal", _full)
    with pytest.raises(store.CheckpointError, match="No space left"):
        trainer(tmp_path / "b", settings(max_steps=30)).run()


def _full(*_):
    raise OSError(28, "No space left on device")


class DamagedError(CodecsepError):
    """Of an utterance."""


class Broken(Numbers):
    """Items in `bad` raise `error`."""

    def __init__(self, size, bad=(), error=None):
        super().__init__(size)
        self.ids, self.bad, self.error = [f"u{i}" for i in range(size)], bad, error

    def __getitem__(self, index):
        if index in self.bad:
            raise self.error
        return super().__getitem__(index)


ERRORS = {  # what the dataset raises -> what the user reads
    r"E604 utterance u3, epoch 0, step \d+: .*E302 u3: cut .*on_bad_data": DamagedError("E302", "cut", "u3"),
    r"E604 utterance u3, epoch 0, step \d+: .*Input/output error": OSError(5, "Input/output error"),
    r"E603 utterance u3, .*the dataset raised StopIteration": StopIteration(),
    r"E603 utterance u3, .*the dataset raised KeyError": KeyError("u3"),
}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("said", "error"), ERRORS.items(), ids=["damaged", "system", "stop", "key"])
def test_an_utterance_that_cannot_be_read_ends_the_training_and_is_named(tmp_path, workers, said, error):
    chosen = settings()
    chosen.data.num_workers = workers
    with pytest.raises(ExampleError, match=f"^{said}"):
        trainer(tmp_path, chosen, (Broken(30, {3}, error), Numbers(3))).run()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bug_in_a_dataset_keeps_its_kind_and_says_where(tmp_path, workers):
    chosen = settings()
    chosen.data.num_workers = workers
    with pytest.raises(ZeroDivisionError) as caught:
        trainer(tmp_path, chosen, (Broken(30, {3}, ZeroDivisionError()), Numbers(3))).run()
    assert "while reading utterance u3" in caught.value.__notes__[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_utterances_are_left_out_when_asked_and_listed(tmp_path, workers):
    chosen = settings(max_steps=300, valid_interval=150)
    chosen.data.on_bad_data, chosen.data.num_workers = "skip", workers
    bad = Broken(250, {3, 77}, DamagedError("E302", "it is damaged", "ark:9", "copy it"))
    assert trainer(tmp_path, chosen, (bad, Numbers(3))).run()
    rows = [line.split("\t") for line in (tmp_path / "skipped.tsv").read_text().splitlines()]
    assert rows[0] == ["id", "stage", "code", "reason"]
    assert [row[:3] for row in rows[1:]] == [["u3", "train", "E302"], ["u77", "train", "E302"]]


def test_more_than_a_hundredth_left_out_ends_the_training(tmp_path):
    chosen = settings(max_steps=300)
    chosen.data.on_bad_data = "skip"
    bad = Broken(250, {3, 77, 78}, DamagedError("E302", "it is damaged", "ark:9", "copy it"))
    with pytest.raises(TrainingError, match=r"^E605 .*3 of the 250 utterances of epoch 0 cannot be read \(fix: mend"):
        trainer(tmp_path, chosen, (bad, Numbers(3))).run()


def test_a_left_out_utterance_does_not_weaken_the_gradient(tmp_path):
    chosen = settings()
    chosen.data.on_bad_data = "skip"
    whole, part = trainer(tmp_path / "a", settings()), trainer(tmp_path / "b", chosen)
    data = Numbers(300)
    part.train_set = data
    good = [data[i] for i in range(3)]
    whole._step([good], 3)
    failed = Failure("u9", DamagedError("E302", "it is damaged", "", "copy it"), "")
    part._step([[*good, failed]], 4)
    for one, two in zip(whole.trained, part.trained, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-8)


def test_validation_fails_on_an_unreadable_utterance_even_if_training_skips(tmp_path):
    chosen = settings()
    chosen.data.on_bad_data = "skip"
    bad = Broken(5, {3}, DamagedError("E302", "it is damaged", "", "copy it"))
    with pytest.raises(ExampleError, match="^E604 utterance u3, validation"):
        trainer(tmp_path, chosen, (Numbers(30), bad)).run()


def test_tensorboard_curves_are_written_when_asked(tmp_path):
    pytest.importorskip("tensorboard")
    assert trainer(tmp_path, settings(max_steps=2, valid_interval=2, tensorboard=True)).run()
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_state_is_json(tmp_path):
    run = trainer(tmp_path, settings(max_steps=5))
    assert run.run()
    state = json.loads((run.keeper.checkpoints.newest() / "state.json").read_text())
    assert state["step"] == 5 and len(state["random"]) == 1
