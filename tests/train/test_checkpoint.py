"""Checkpoint folders: whole or not there, whatever happens; and the weights in them."""

import errno
import os
import random
import re
import shutil
import tempfile
import time
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file, save_file
from train_toys import probe_as_nobody, processes, prune, save_for_ever, save_under_limit

from codecsep import faults
from codecsep.errors import CodecsepError
from codecsep.train import checkpoint, store
from codecsep.train.checkpoint import WeightsError
from codecsep.train.store import CheckpointError, Checkpoints


def save(kept, step, value=0.0):
    kept.save(step, {"model.safetensors": {"w": torch.full((3,), value)}}, {"step": step}, {"step": step})


@pytest.fixture
def kept(tmp_path):
    messages = []
    kept = Checkpoints(tmp_path / "checkpoints", "toy", messages.append)
    kept.messages = messages
    return kept


def test_what_is_saved_is_read_back(kept):
    save(kept, 500, 2.0)
    folder = kept.newest()
    assert folder.name == "step-000500"
    assert store.read_state(folder) == {"step": 500} == store.read_optimizer(folder)
    assert load_file(folder / "model.safetensors")["w"].tolist() == [2.0] * 3


def damage(folder, harm):
    target = folder / "model.safetensors"
    data = target.read_bytes()
    match harm:
        case "no manifest":
            (folder / "manifest.json").unlink()
        case "no done":
            (folder / ".done").unlink()
        case "cut":
            target.write_bytes(data[:-1])
        case "empty file":
            target.write_bytes(b"")
        case "missing":
            target.unlink()
        case "bit":
            target.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "manifest is no JSON":
            (folder / "manifest.json").write_text("{")
        case "empty":
            for path in folder.iterdir():
                path.unlink()
        case "of another model":
            text = (folder / "manifest.json").read_text().replace('"toy"', '"other"')
            (folder / "manifest.json").write_text(text)
            (folder / ".done").write_text(store.text_sha256(text) + "\n")


HARMS = {
    "no manifest": "it has no manifest.json",
    "no done": "it has no .done",
    "cut": r"model.safetensors is cut \(\d+ of \d+ bytes\)",
    "empty file": r"model.safetensors is cut \(0 of \d+ bytes\)",
    "missing": "model.safetensors is missing",
    "bit": "model.safetensors is damaged",
    "manifest is no JSON": "its manifest.json or .done cannot be read",
    "empty": "it has no manifest.json",
    "of another model": "it is of a model 'other', this training is one of 'toy'",
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_checkpoint_is_passed_over_and_what_is_lost_is_said(kept, harm):
    save(kept, 1)
    save(kept, 4)
    damage(kept.folder(4), harm)
    assert kept.newest() == kept.folder(1)
    pattern = (
        rf"^warning: E401 .*step-000004: {HARMS[harm]}.*; passed over for step-000001: 3 steps are lost .*\(fix: .+\)$"
    )
    assert len(kept.messages) == 1 and re.fullmatch(pattern, kept.messages[0])
    assert kept.all() == [kept.folder(1)] and (kept.directory / "damaged-step-000004").is_dir()
    save(kept, 5)
    kept.prune([], 2)
    assert [path.name for path in sorted(kept.directory.iterdir())] == ["step-000001", "step-000005"]


def test_when_none_is_whole_it_is_an_error_not_a_new_beginning(kept):
    assert kept.newest() is None
    for step in (1, 2):
        save(kept, step)
        damage(kept.folder(step), "cut")
    with pytest.raises(CheckpointError, match=r"^E402 .*no checkpoint is whole: step-000002: .*cut.*; step-000001: "):
        kept.newest()
    assert len(kept.all()) == 2, "nothing was moved"


@pytest.mark.parametrize("found", [1, 3])
def test_another_format_is_named_with_both_versions(kept, found):
    save(kept, 1)
    folder = kept.folder(1)
    text = (folder / "manifest.json").read_text().replace('"format": 2', f'"format": {found}')
    (folder / "manifest.json").write_text(text)
    (folder / ".done").write_text(store.text_sha256(text) + "\n")
    if found == 1:
        (folder / ".done").unlink()
    with pytest.raises(CheckpointError, match=f"^E430 .*was written in format {found}, .*reads format 2"):
        kept.newest()


def test_links_and_strange_names_are_not_followed(kept, tmp_path):
    save(kept, 1)
    other = Checkpoints(tmp_path / "other", "toy")
    save(other, 9)
    (kept.directory / "step-000009").symlink_to(other.folder(9))
    (kept.directory / "step-000010").symlink_to(tmp_path / "nowhere")
    (kept.directory / "latest").symlink_to(tmp_path / "nowhere")
    (kept.directory / "step-best").mkdir()
    (kept.directory / "step-000011").write_text("a file")
    assert kept.newest() == kept.folder(1) and not kept.messages
    kept.prune([], 2)
    assert other.newest() == other.folder(9)


def test_a_renamed_folder_is_not_taken_for_another_step(kept):
    save(kept, 1)
    save(kept, 2)
    kept.folder(2).rename(kept.folder(7))
    assert kept.newest() == kept.folder(1)
    assert "it is of step 2: the folder was renamed" in kept.messages[0]


def test_every_flipped_bit_is_found_before_anything_is_loaded(kept):
    """200 of 200, in every file of the folder: manifest.json and .done too."""
    save(kept, 1)
    draw, folder, found = random.Random(0), kept.folder(1), 0
    files = sorted(path for path in folder.iterdir())
    assert len(files) == 5
    for trial in range(200):
        path = files[trial % len(files)]
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        found += store.verify(folder, "toy") is not None
        path.write_bytes(whole)
    assert found == 200
    assert store.verify(folder, "toy") is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_an_error_while_writing_leaves_the_previous_one_and_no_rest(kept, monkeypatch, number):
    save(kept, 1)
    monkeypatch.setenv("CODECSEP_FAULT", f"ckpt.before_fsync:raise:{errno.errorcode[number]}")
    monkeypatch.setattr(faults, "_passed", Counter())
    with pytest.raises(CheckpointError, match=r"^E410 .*step-000002: .*MiB are free \(fix: free some space"):
        save(kept, 2)
    assert [path.name for path in kept.directory.iterdir()] == ["step-000001"]
    assert kept.newest() == kept.folder(1)


@pytest.mark.parametrize("limit", [100, 5000, 70_000, 500_000])
def test_a_file_size_limit_while_writing_leaves_the_previous_one(tmp_path, limit):
    """A real limit (EFBIG), which torch and safetensors report in their own ways."""
    process = processes().Process(target=save_under_limit, args=(str(tmp_path), limit))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    kept = Checkpoints(tmp_path, "toy")
    assert store.read_state(kept.newest()) == {"step": 1} and len(kept.all()) == 1


def test_a_folder_that_cannot_be_written_is_found_at_the_start(kept, monkeypatch):
    monkeypatch.setenv("CODECSEP_FAULT", "ckpt.probe:raise:EROFS")
    monkeypatch.setattr(faults, "_passed", Counter())
    with pytest.raises(CheckpointError, match=r"^E412 .*checkpoints: cannot be written to \(.*Read-only file system"):
        kept.probe()
    (kept.directory.parent / "file").write_text("x")
    with pytest.raises(CheckpointError, match=r"^E412 .*file/checkpoints: cannot be written to"):
        Checkpoints(kept.directory.parent / "file" / "checkpoints", "toy").probe()


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user to be")
def test_a_read_only_folder_of_another_user_is_found_at_the_start():
    with tempfile.TemporaryDirectory() as place:  # below /tmp, where another user may look
        os.chmod(place, 0o755)
        process = processes().Process(target=probe_as_nobody, args=(place,))
        process.start()
        process.join(60)
        assert process.exitcode == 0


def killed_while_saving(place, number, seed):
    """How many of `number` kills at random times leave a whole checkpoint, as new as the last one reported."""
    draw, context, good = random.Random(seed), processes(), 0
    for trial in range(number):
        kept, reported = Checkpoints(place / str(trial), "toy", lambda text: None), context.Value("i", 0)
        writer = context.Process(target=save_for_ever, args=(str(kept.directory), reported))
        writer.start()
        while reported.value < 2:
            time.sleep(0.005)
        time.sleep(draw.random() * 0.08)
        writer.kill()
        writer.join()
        newest = kept.newest()
        step = store.read_state(newest)["step"]
        good += step >= reported.value and float(load_file(newest / "model.safetensors")["w"][0]) == step
        kept.prune([], 2)
        assert all(path.name.startswith("step-") for path in kept.directory.iterdir()), "no rest is left"
        shutil.rmtree(kept.directory)
    return good


def test_after_a_kill_at_any_moment_a_whole_checkpoint_is_there(tmp_path, trials):
    number = trials(6, 50)
    assert killed_while_saving(tmp_path, number, seed=3) == number


def test_the_newest_two_and_the_best_are_kept(kept):
    for step in (1, 2, 3, 4, 5):
        save(kept, step)
    host = os.uname().nodename.replace(".", "-")
    rest = kept.directory / f".step-000009.{host}.999999999.abcdef01.tmp"
    rest.mkdir()
    dying = kept.directory / ".step-000003.abc.dying"
    dying.mkdir()
    kept.prune([2], 2)
    assert [path.name for path in kept.all()] == ["step-000002", "step-000004", "step-000005"]
    assert not rest.exists() and not dying.exists()


def test_the_best_is_kept_also_when_it_is_the_oldest_or_the_newest(kept):
    for step in (1, 2, 3, 4):
        save(kept, step)
        kept.prune([1], 2)
    assert [path.name for path in kept.all()] == ["step-000001", "step-000003", "step-000004"]
    kept.prune([4], 2)
    assert [path.name for path in kept.all()] == ["step-000003", "step-000004"]


def test_two_processes_that_prune_do_not_trip_over_each_other(kept):
    for step in range(1, 21):
        save(kept, step)
    workers = [processes().Process(target=prune, args=(str(kept.directory),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert [path.name for path in kept.all()] == ["step-000019", "step-000020"]


def test_steps_are_ordered_by_number_not_by_name(kept):
    save(kept, 999_999)
    save(kept, 1_000_000)
    assert kept.newest() == kept.folder(1_000_000)


def test_average_is_the_mean_and_prefers_the_moving_average(kept):
    for step, value in ((1, 1.0), (2, 2.0)):
        tensors = {"w": torch.tensor([value, -value]), "n": torch.tensor(step)}
        kept.save(step, {"model.safetensors": tensors}, {}, {})
    kept.save(3, {"model.safetensors": tensors, "ema.safetensors": {"w": torch.full((2,), 6.0)}}, {}, {})
    mean = checkpoint.average([store.weights_file(kept.folder(step)) for step in (2, 1)])
    assert mean["w"].tolist() == [1.5, -1.5] and mean["n"].item() == 2
    assert checkpoint.average([store.weights_file(kept.folder(3))])["w"].tolist() == [6.0, 6.0]
    with pytest.raises(WeightsError, match="^E402 no checkpoint is left"):
        checkpoint.average([])


def test_half_precision_is_averaged_without_overflow(kept):
    for step in (1, 2):
        kept.save(step, {"model.safetensors": {"w": torch.tensor([60000.0], dtype=torch.float16)}}, {}, {})
    assert checkpoint.average([store.weights_file(folder) for folder in kept.all()])["w"].item() == 60000.0


def test_tied_tensors_are_saved_and_loaded(kept):
    model = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    model[1].weight = model[0].weight
    kept.save(1, {"model.safetensors": model.state_dict()}, {}, {})
    checkpoint.load_weights(model, kept.folder(1) / "model.safetensors")
    assert model[1].weight is model[0].weight


def test_load_weights_refuses_in_one_line(tmp_path):
    save_file({"weight": torch.zeros(2, 5)}, tmp_path / "a.safetensors")
    said = r"^E440 .*a.safetensors: does not fit .*: bias is missing there; weight is \(2, 5\) there, \(2, 2\) here"
    with pytest.raises(WeightsError, match=said) as caught:
        checkpoint.load_weights(torch.nn.Linear(2, 2), tmp_path / "a.safetensors")
    assert "\n" not in str(caught.value)
    (tmp_path / "a.safetensors").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match=r"^E441 .*a.safetensors: cannot be read"):
        checkpoint.load_weights(torch.nn.Linear(2, 2), tmp_path / "a.safetensors")


def test_code_in_a_checkpoint_is_not_run(kept, tmp_path, monkeypatch):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "canary"),)

    save(kept, 1)
    torch.save(Evil(), kept.folder(1) / "optimizer.pt")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(CodecsepError, match="^E702 .*optimizer.pt: holds more than tensors and plain values"):
        store.read_optimizer(kept.folder(1))
    assert not (tmp_path / "canary").exists()
