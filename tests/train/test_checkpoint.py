import os
import random
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from train_toys import processes, save_for_ever

from codecsep.train import checkpoint
from codecsep.train.checkpoint import CheckpointError, Checkpoints


def save(store, step, value=0.0):
    store.save(step, {"model.safetensors": {"w": torch.full((3,), value)}}, {"step": step}, {"step": step})


@pytest.fixture
def store(tmp_path):
    messages = []
    store = Checkpoints(tmp_path / "checkpoints", messages.append)
    store.messages = messages
    return store


def test_what_is_saved_is_read_back(store):
    save(store, 500, 2.0)
    folder = store.latest()
    assert folder.name == "step-000500"
    assert checkpoint.read_state(folder) == {"step": 500} == checkpoint.read_optimizer(folder)
    assert load_file(folder / "model.safetensors")["w"].tolist() == [2.0] * 3


@pytest.mark.parametrize("harm", ["no manifest", "cut", "missing", "bit", "manifest is no JSON", "other format"])
def test_a_damaged_checkpoint_is_passed_over_with_a_message(store, harm):
    save(store, 1)
    save(store, 2)
    folder = store.folder(2)
    target = folder / "model.safetensors"
    data = target.read_bytes()
    match harm:
        case "no manifest":
            (folder / "manifest.json").unlink()
        case "cut":
            target.write_bytes(data[:-1])
        case "missing":
            target.unlink()
        case "bit":
            target.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "manifest is no JSON":
            (folder / "manifest.json").write_text("{")
        case "other format":
            (folder / "manifest.json").write_text('{"format": 9, "files": {}}')
    assert store.latest() == store.folder(1)
    assert len(store.messages) == 1 and "step-000002 is passed over" in store.messages[0]


def test_every_flipped_bit_is_found(store):
    save(store, 1)
    draw = random.Random(0)
    for _ in range(60):
        path = store.folder(1) / draw.choice(["model.safetensors", "optimizer.pt", "state.json"])
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        assert "damaged" in checkpoint.verify(store.folder(1))
        path.write_bytes(whole)
    assert checkpoint.verify(store.folder(1)) is None


def test_an_error_while_writing_leaves_the_previous_one_and_no_rest(store, monkeypatch):
    save(store, 1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_manifest", full)
    with pytest.raises(CheckpointError, match=r"step-000002: not written .*No space left.*MiB free"):
        save(store, 2)
    assert [path.name for path in store.directory.iterdir()] == ["step-000001"]
    assert store.latest() == store.folder(1)


def test_after_a_kill_at_any_moment_a_whole_checkpoint_is_there(tmp_path):
    draw, context = random.Random(3), processes()
    for trial in range(5):
        store, reported = Checkpoints(tmp_path / str(trial)), context.Value("i", 0)
        writer = context.Process(target=save_for_ever, args=(str(store.directory), reported))
        writer.start()
        while reported.value < 2:
            time.sleep(0.01)
        time.sleep(draw.random() * 0.05)
        writer.kill()
        writer.join()
        step = checkpoint.read_state(store.latest())["step"]
        assert step >= reported.value
        assert load_file(store.latest() / "model.safetensors")["w"][0] == step


def test_the_newest_two_and_the_best_are_kept(store):
    for step in (1, 2, 3, 4, 5):
        save(store, step)
    rest = store.directory / ".step-000009.1.tmp"
    rest.mkdir()
    store.prune([2])
    assert [path.name for path in store.all()] == ["step-000002", "step-000004", "step-000005"]
    assert not rest.exists()


def test_steps_are_ordered_by_number_not_by_name(store):
    save(store, 999_999)
    save(store, 1_000_000)
    assert store.latest() == store.folder(1_000_000)


def test_average_is_the_mean_and_prefers_the_moving_average(store):
    for step, value in ((1, 1.0), (2, 2.0)):
        tensors = {"w": torch.tensor([value, -value]), "n": torch.tensor(step)}
        store.save(step, {"model.safetensors": tensors}, {}, {})
    store.save(3, {"model.safetensors": tensors, "ema.safetensors": {"w": torch.full((2,), 6.0)}}, {}, {})
    mean = checkpoint.average([store.folder(2), store.folder(1)])
    assert mean["w"].tolist() == [1.5, -1.5] and mean["n"].item() == 2
    assert checkpoint.average([store.folder(3)])["w"].tolist() == [6.0, 6.0]
    with pytest.raises(CheckpointError, match="no checkpoint is left"):
        checkpoint.average([])


def test_half_precision_is_averaged_without_overflow(store):
    for step in (1, 2):
        store.save(step, {"model.safetensors": {"w": torch.tensor([60000.0], dtype=torch.float16)}}, {}, {})
    assert checkpoint.average(store.all())["w"].item() == 60000.0


def test_tied_tensors_are_saved_and_loaded(store):
    model = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    model[1].weight = model[0].weight
    store.save(1, {"model.safetensors": model.state_dict()}, {}, {})
    checkpoint.load_weights(model, store.folder(1) / "model.safetensors")
    assert model[1].weight is model[0].weight


def test_load_weights_refuses_in_one_line(tmp_path):
    save_file({"weight": torch.zeros(2, 5)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="a.safetensors: does not fit") as caught:
        checkpoint.load_weights(torch.nn.Linear(2, 2), tmp_path / "a.safetensors")
    assert "\n" not in str(caught.value)


def test_code_in_a_checkpoint_is_not_run(store, tmp_path, monkeypatch):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "canary"),)

    save(store, 1)
    torch.save(Evil(), store.folder(1) / "optimizer.pt")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(Exception, match="[Ww]eights"):
        checkpoint.read_optimizer(store.folder(1))
    assert not (tmp_path / "canary").exists()
