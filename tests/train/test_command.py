"""`bin/train` as it is run: in a process of its own, with signals, kills, and two processes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import train_toys
import yaml
from safetensors.torch import load_file

from codecsep import config
from codecsep.bin import train as command
from codecsep.data import audio
from codecsep.data.datadir import write_table
from codecsep.data.lock import locked
from codecsep.train import checkpoint, distributed, unchanged
from codecsep.train.settings import TrainConfig

PATIENCE = 120  # seconds until a process counts as hung, on a machine that is busy with other things
SETTINGS = {
    "model": "toy",
    "network": {"noise": 0.1},
    "data": {"train": "crops", "valid": "crops", "crop_seconds": 0.1, "epoch_size": 30, "valid_size": 8},
    "batch": {"max_frames": 20, "max_examples": 4},
    "optim": {"lr": 0.02},
    "train": {"max_steps": 12, "valid_interval": 4, "log_interval": 4, "tensorboard": False, "device": "cpu"},
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A recipe directory with a small training; its sources are three short noises."""
    monkeypatch.setattr(config, "find_model", config.find_model)  # what `register` does ends with the test
    train_toys.register()
    (tmp_path / "data" / "s").mkdir(parents=True)
    random = np.random.default_rng(0)
    for key in "abc":
        audio.write_audio(tmp_path / f"{key}.wav", 0.1 * random.standard_normal(800), 1000)
    write_table(tmp_path / "data" / "s" / "wav.scp", {key: f"{key}.wav" for key in "abc"})
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SETTINGS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command.StopFlag, "install", lambda self: self)
    return tmp_path


def arguments(out, *more):
    data = ["--train", "data/s", "--valid", "data/s"]
    return ["--config", "c.yaml", "--out", out, *data, *more]


@pytest.fixture
def start(place):
    """Starts `bin/train` in another process; those still running at the end of a test are killed."""
    started = []

    def start(out, *more, **env):
        process = train_toys.processes().Process(
            target=train_toys.run_command, args=(arguments(out, *more), str(place), env)
        )
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def status(process):
    process.join(PATIENCE)
    return process.exitcode


def test_train_then_already_trained_then_decode(place, capsys):
    assert command.main(arguments("exp/a")) == 0
    assert {"best.safetensors", "config.yaml", "history.tsv", "train.log"} <= {p.name for p in Path("exp/a").iterdir()}
    capsys.readouterr()
    assert command.main(arguments("exp/a")) == 0
    assert capsys.readouterr().err == "codecsep-train: exp/a is up to date\n"
    module, model = checkpoint.load_network(Path("exp/a"))
    assert isinstance(model, module.Model) and not model.training
    stored = load_file("exp/a/best.safetensors")
    assert model.encoder.weight.tolist() == stored["encoder.weight"].tolist()


def test_changed_settings_are_refused_with_the_keys(place, capsys):
    assert command.main(arguments("exp/a")) == 0
    capsys.readouterr()
    assert command.main(arguments("exp/a", "--optim.lr", "0.5", "--network.width", "9")) == 2
    said = capsys.readouterr().err
    assert "optim.lr: 0.02 -> 0.5" in said and "network.width: 8 -> 9" in said and said.count("\n") == 1
    assert command.main(arguments("exp/a", "--train.log_interval", "2", "--train.max_steps", "14")) == 0
    assert "done at step 14" in Path("exp/a/train.log").read_text()


def test_another_model_in_the_same_directory_is_refused_in_a_few_words(place, capsys):
    assert command.main(arguments("exp/a")) == 0
    Path("c.yaml").write_text(yaml.safe_dump({**SETTINGS, "model": "pit_classifier", "network": {}}))
    capsys.readouterr()
    assert command.main(arguments("exp/a")) == 2
    said = capsys.readouterr().err
    assert "E420 exp/a: was trained with other settings: model: toy -> pit_classifier (fix: " in said
    assert len(said) < 250


@pytest.mark.parametrize("key", unchanged.HARMLESS)
def test_keys_that_change_no_step_may_change(place, key):
    given = config.load_model_config(TrainConfig, Path("c.yaml"))
    Path("exp/a/checkpoints/step-000001").mkdir(parents=True)
    Path("exp/a/config.yaml").write_text(config.dump(given))
    section, name = key.split(".")
    values = getattr(given, section)
    setattr(values, name, "cuda" if name == "device" else getattr(values, name) + 1)
    unchanged.check_settings(Path("exp/a"), given)
    given.optim.lr = 7.0
    with pytest.raises(unchanged.ResumeError, match="^E420 exp/a: .* settings: optim.lr: 0.02 -> 7.0 "):
        unchanged.check_settings(Path("exp/a"), given)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--optim.lrr", "1"], "unknown key 'optim.lrr' (nearest: 'optim.lr')"),
        (["--network.widht", "1"], "unknown key 'network.widht' (nearest: 'network.width')"),
        (["--model", "nothing"], "unknown model 'nothing'"),
        (["--train", "data/none"], "run --stage 0"),
        (["--train.average", "9"], "train.average 9 is over train.keep_best 3"),
        (["--freeze", "[enc]"], "E505 freeze: the network has no part 'enc'; it has encoder, decoder"),
        (["--init", "exp/x"], "E852 --init needs the key `init`"),
        (["--train.keep_last", "1"], "train.keep_last is 1, it must be at least 2"),
        (["--init", "[{}]", "--data.train", "nowhere"], "data.train"),
        (["--batch.max_frames", "2"], "has 5 frames, over batch.max_frames = 2"),
    ],
)
def test_mistakes_are_one_line_and_status_2(place, capsys, more, said):
    assert command.main(arguments("exp/a", *more)) == 2
    printed = capsys.readouterr().err.splitlines()
    assert said in printed[-1] and printed[-1].startswith("codecsep-train: ")


def test_initialised_from_another_experiment(place, capsys):
    assert command.main(arguments("exp/a")) == 0
    both = yaml.safe_dump(SETTINGS | {"init": [{"source": "encoder", "target": "encoder"}], "freeze": ["encoder"]})
    Path("c.yaml").write_text(both)
    assert command.main(arguments("exp/b")) == 2
    assert "the entry for 'encoder' has no file" in capsys.readouterr().err
    assert command.main(arguments("exp/c", "--init", "exp/a")) == 0
    one, two = (load_file(f"exp/{name}/best.safetensors")["encoder.weight"] for name in "ac")
    assert one.tolist() == two.tolist()


def test_a_second_training_in_the_same_directory_is_refused(place, capsys):
    with locked(Path("exp/a")):
        assert command.main(arguments("exp/a")) == 2
        said = capsys.readouterr().err
        assert re.search(rf"E630 exp/a: is being written by process {os.getpid()} on \S+ since \d{{4}}-", said)
    assert command.main(arguments("exp/a")) == 0


def test_load_network_says_what_is_missing(place):
    with pytest.raises(checkpoint.WeightsError, match="^E441 exp/none/best.safetensors: no such file .fix: train it"):
        checkpoint.load_network(Path("exp/none"))


def test_a_damaged_result_is_noticed_and_made_again_from_the_checkpoints(place, capsys):
    assert command.main(arguments("exp/a")) == 0
    best = Path("exp/a/best.safetensors")
    whole = best.read_bytes()
    best.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    capsys.readouterr()
    assert command.main(arguments("exp/a")) == 0
    assert "best.safetensors is damaged or was changed" in capsys.readouterr().err
    assert best.read_bytes() == whole
    assert command.main(arguments("exp/a")) == 0
    assert capsys.readouterr().err == "codecsep-train: exp/a is up to date\n"


def test_data_that_changed_since_are_refused_and_named(place, capsys):
    assert command.main(arguments("exp/a")) == 0
    result = Path("exp/a/best.safetensors").read_bytes()
    write_table(place / "data" / "s" / "wav.scp", {key: f"{key}.wav" for key in "ab"})
    capsys.readouterr()
    assert command.main(arguments("exp/a")) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"E422 exp/a: the data have changed since it began: data/s/wav.scp: \w+.* -> \w+", said)
    assert Path("exp/a/best.safetensors").read_bytes() == result
    assert command.main(arguments("exp/b")) == 0


def test_initial_weights_that_changed_since_are_refused(place, capsys):
    assert command.main(arguments("exp/a")) == 0
    Path("c.yaml").write_text(yaml.safe_dump(SETTINGS | {"init": [{"source": "encoder", "target": "encoder"}]}))
    assert command.main(arguments("exp/b", "--init", "exp/a")) == 0
    best = Path("exp/a/best.safetensors")
    best.write_bytes(best.read_bytes()[:-1] + b"\0")
    capsys.readouterr()
    assert command.main(arguments("exp/b", "--init", "exp/a")) == 2
    assert "E422 exp/b: the data have changed since it began: exp/a/best.safetensors: " in capsys.readouterr().err


def test_up_to_date_is_said_without_importing_torch(place):
    """What a finished stage costs when a recipe is run again."""
    assert command.main(arguments("exp/a")) == 0
    code = (
        "import sys; from codecsep.bin import train; status = train.main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules, 'torch was imported'; sys.exit(status)"
    )
    env = os.environ | {"PYTHONPATH": str(Path(command.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code, *arguments("exp/a")], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "codecsep-train: exp/a is up to date\n")


def test_what_changes_nothing_leaves_a_result_up_to_date(place, capsys):
    assert command.main(arguments("exp/a")) == 0
    capsys.readouterr()
    assert command.main(arguments("exp/a", "--data.num_workers", "1", "--train.log_interval", "7")) == 0
    assert capsys.readouterr().err == "codecsep-train: exp/a is up to date\n"


LONGER = ["--train.max_steps", "60", "--train.valid_interval", "25", "--train.log_interval", "1"]


def faulty(fault):
    return {"CODECSEP_FAULT": fault}


def assert_same_as_uninterrupted(name, more=LONGER):
    assert command.main(arguments("exp/whole", *more)) == 0
    for file in ("best.safetensors", "history.tsv", "losses.tsv"):
        assert Path(name, file).read_bytes() == Path("exp/whole", file).read_bytes(), file


def test_four_signals_in_a_row_and_the_same_command_ends_with_the_same_result(place, start):
    """Each process is signalled in the middle of its seventh step; it saves at the end of that step."""
    for number, name in enumerate(("term", "usr1", "int", "term"), start=1):
        assert status(start("exp/a", *LONGER, **faulty(f"train.backward@7:{name}"))) == 85
        assert Path(f"exp/a/checkpoints/step-{7 * number:06d}").is_dir()
    assert Path("exp/a/train.log").read_text().count("state saved") == 4
    assert status(start("exp/a", *LONGER)) == 0
    assert_same_as_uninterrupted("exp/a")


def test_a_signal_from_outside_saves_within_a_step(place, start):
    process = start("exp/a", *LONGER, "--network.pause", "0.02")
    _wait_for(Path("exp/a/train.log"), "step 5/")
    os.kill(process.pid, signal.SIGTERM)
    began = time.monotonic()
    assert status(process) == 85
    assert time.monotonic() - began < 5 * 3, "one step and 5 s, on a busy machine"
    assert status(start("exp/a", *LONGER, "--network.pause", "0.02")) == 0
    assert_same_as_uninterrupted("exp/a", [*LONGER, "--network.pause", "0.02"])


@pytest.mark.parametrize("point", ["ckpt.mid_write", "ckpt.before_rename", "ckpt.after_rename", "ckpt.before_best"])
def test_a_signal_during_a_save_lets_it_finish(place, start, point):
    assert status(start("exp/a", *LONGER, **faulty(f"{point}@1:term"))) == 85
    names = [path.name for path in sorted(Path("exp/a/checkpoints").iterdir())]
    assert names == ["step-000025", "step-000026"], "noticed, and saved, in the next step"
    assert status(start("exp/a", *LONGER)) == 0
    assert_same_as_uninterrupted("exp/a")


def test_two_signals_in_quick_succession_save_once(place, start):
    assert status(start("exp/a", *LONGER, **faulty("train.forward@7:term,train.backward@7:usr1"))) == 85
    assert status(start("exp/b", *LONGER, **faulty("train.backward@7:term,ckpt.mid_write:usr1"))) == 85
    for name in ("exp/a", "exp/b"):
        assert [path.name for path in Path(name, "checkpoints").iterdir()] == ["step-000007"]
        assert Path(name, "train.log").read_text().count("state saved") == 1
    assert status(start("exp/b", *LONGER)) == 0
    assert_same_as_uninterrupted("exp/b")


def test_ctrl_c_twice_ends_at_once_and_leaves_nothing_broken(place, start):
    assert status(start("exp/a", *LONGER, **faulty("train.forward@30:int,train.backward@30:int"))) == 130
    assert [path.name for path in Path("exp/a/checkpoints").iterdir()] == ["step-000025"]
    assert status(start("exp/a", *LONGER)) == 0
    assert_same_as_uninterrupted("exp/a")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_a_signal_while_torch_is_imported_is_not_lost(place, name):
    """The import itself sends it; a process without handlers would die of it."""
    code = (
        "import sys, os, signal, importlib.abc\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torch.nn':\n"
        f"            os.kill(os.getpid(), signal.{name})\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from codecsep.bin import train\n"
        "assert 'torch' not in sys.modules\n"
        "install = train.StopFlag.install\n"
        "def and_import(self):\n"
        "    install(self)\n"
        "    import train_toys, torch\n"
        "    torch.set_num_threads(1)\n"
        "    train_toys.register()\n"
        "    return self\n"
        "train.StopFlag.install = and_import\n"
        "sys.exit(train.main(sys.argv[1:]))\n"
    )
    env = os.environ | {"PYTHONPATH": f"{Path(command.__file__).parents[2]}:{Path(__file__).parent}"}
    done = subprocess.run([sys.executable, "-c", code, *arguments("exp/a")], capture_output=True, text=True, env=env)
    assert done.returncode == 85, done.stderr
    assert f"stopped by {name} at step 1; state saved" in done.stderr


def _wait_for(path, text):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if path.is_file() and text in path.read_text():
            return
        time.sleep(0.01)
    raise TimeoutError(f"{text!r} did not appear in {path}")


def test_two_processes_give_the_curve_of_one_with_accumulation(place, start):
    """gloo on the CPU. In one process `accum: 2` sees the same batches as two ranks; noise would differ by rank."""
    more = ["--network.noise", "0", "--train.max_steps", "8"]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20000 + os.getpid() % 20000)}
    processes = [start("exp/two", *more, RANK=str(rank), **world) for rank in (0, 1)]
    assert [status(process) for process in processes] == [0, 0]
    assert command.main(arguments("exp/one", *more, "--train.accum", "2")) == 0
    rows = [Path(f"exp/{name}/history.tsv").read_text().splitlines() for name in ("one", "two")]
    assert rows[0][0] == rows[1][0] and len(rows[0]) == len(rows[1]) == 3
    for one, two in zip(rows[0][1:], rows[1][1:], strict=True):
        np.testing.assert_allclose([float(x) for x in one.split()], [float(x) for x in two.split()], rtol=1e-4)
    weights = [load_file(f"exp/{name}/best.safetensors") for name in ("one", "two")]
    np.testing.assert_allclose(weights[0]["encoder.weight"], weights[1]["encoder.weight"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, (0, 1, 0)),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, (3, 4, 1)),
        ({"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "0"}, (2, 4, 0)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, (0, 1, 0)),  # a batch script, not a step of srun
    ],
)
def test_the_world_is_read_from_torchrun_or_slurm(env, expected):
    world = distributed.from_environment(env)
    assert (world.rank, world.size, world.local_rank) == expected


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("a1", "a1"), ("a1,b2", "a1"), ("gpu[03-05,9]", "gpu03"), ("gpu[7,9],x", "gpu7"), ("a,b[1-2]", "a")],
)
def test_the_first_node_of_a_slurm_list(nodes, first):
    assert distributed.first_node(nodes) == first


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"MASTER_ADDR": "a", "MASTER_PORT": "5"}, ("a", "5")),
        ({"SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "2"}, ("gpu03", "20114")),
        ({"SLURM_STEP_NODELIST": "n1", "MASTER_PORT": "5"}, ("n1", "5")),
    ],
)
def test_where_rank_0_listens(env, expected):
    assert distributed.address(env) == expected


def test_several_processes_without_an_address_are_an_error():
    with pytest.raises(
        distributed.DistributedError, match="^E613 several processes but no MASTER_ADDR .fix: start them"
    ):
        distributed.address({})


def test_a_rank_that_never_comes_is_an_error_after_the_timeout(place, start):
    env = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(30000 + os.getpid() % 20000)}
    began = time.monotonic()
    assert status(start("exp/a", "--train.group_timeout", "2", RANK="0", **env)) == 2
    assert time.monotonic() - began < (2 + 10) * 3


def test_as_srun_starts_it_without_any_address(place, start):
    """Two processes that know only what a Slurm step tells them, on this machine."""
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "localhost", "SLURM_JOB_ID": str(os.getpid())}
    tasks = [start("exp/a", **step, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)) for rank in (0, 1)]
    assert [status(task) for task in tasks] == [0, 0]
    assert Path("exp/a/.done").is_file()
