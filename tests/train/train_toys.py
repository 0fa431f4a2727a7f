"""A model and datasets of a few lines for the tests of the training loop, and processes to run them in."""

import itertools
import multiprocessing
import os
import random
import resource
import sys
import time
import types
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # noqa: F401 -- the first optimiser imports it, for 2 s: once is enough for all processes
from torch import nn

from codecsep import config
from codecsep.data.buckets import BatchConfig
from codecsep.train.optim import OptimConfig
from codecsep.train.settings import DataConfig, LoopConfig, TrainConfig
from codecsep.train.store import Checkpoints
from codecsep.train.trainer import Trainer


@dataclass
class Config:
    """`noise` draws from python's, numpy's and torch's generators; `pause`: seconds that a training batch takes;
    `explode_at`: calls of `loss` that give NaN."""

    width: int = 8
    noise: float = 0.0
    pause: float = 0.0
    explode_at: list[int] = field(default_factory=list)


class Model(nn.Module):
    fields = ("wav",)

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.calls = config, 0
        self.encoder = nn.Linear(4, config.width)
        self.decoder = nn.Linear(config.width, 4)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def collate(self, examples):
        return {"wav": torch.stack([torch.as_tensor(example["wav"][:4]) for example in examples])}

    def loss(self, batch):
        wav, noise = batch["wav"], 0.0
        if self.training:
            self.steps += 1
            self.calls += 1
            time.sleep(self.config.pause)
            noise = self.config.noise * (torch.rand(()) + random.random() + float(np.random.rand()))
        error = self.decoder(torch.tanh(self.encoder(wav + noise))) - wav
        loss = (error**2).mean()
        if self.training and self.calls in self.config.explode_at:
            loss = loss * float("nan")
        return loss, {"largest": float(error.detach().abs().max())}


class Numbers:
    """Example i of epoch e is four numbers drawn from (e, i); lengths 1 .. 5."""

    def __init__(self, size: int):
        self.size, self.epoch = size, 0

    lengths = property(lambda self: [1 + i % 5 for i in range(self.size)])

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        wav = np.random.default_rng((self.epoch, index)).standard_normal(4).astype(np.float32)
        return {"id": f"u{index}", "wav": wav}


def settings(network: Config | None = None, batch: BatchConfig | None = None, **loop) -> TrainConfig:
    """Settings for `trainer`; keyword arguments are those of the section `train`."""
    loop = {"max_steps": 20, "valid_interval": 5, "log_interval": 5, "tensorboard": False, "device": "cpu"} | loop
    result = TrainConfig(
        model="toy",
        data=DataConfig(),
        batch=batch or BatchConfig(max_frames=20, max_examples=4),
        optim=OptimConfig(lr=0.02, warmup_steps=3),
        train=LoopConfig(**loop),
    )
    result.network = network or Config()
    return result


def trainer(exp_dir: Path, chosen: TrainConfig, sets=None, **more) -> Trainer:
    torch.manual_seed(1)
    exp_dir.mkdir(parents=True, exist_ok=True)
    return Trainer(Model(chosen.network), sets or (Numbers(30), Numbers(7)), chosen, exp_dir, **more)


def weights(trained: Trainer) -> dict[str, list]:
    return {name: value.tolist() for name, value in trained.model.state_dict().items()}


def register() -> None:
    """Make this file the model `toy`, in this process."""
    module = types.ModuleType("codecsep.models.toy")
    module.Config, module.Model = Config, Model
    known = config.find_model
    config.find_model = lambda name: module if name == "toy" else known(name)


def run_command(argv: list[str], place: str, env: dict[str, str]) -> None:
    """`bin/train` with the model `toy`, in a process of its own."""
    from codecsep.bin.train import main

    os.chdir(place)
    os.environ.update(env)
    torch.set_num_threads(1)
    register()
    sys.exit(main(argv))


def save_for_ever(directory: str, reported) -> None:
    """Write checkpoint after checkpoint; `reported` is the last whole one."""
    store = Checkpoints(Path(directory), "toy", lambda text: None)
    for step in itertools.count(1):
        store.save(step, {"model.safetensors": {"w": torch.full((200_000,), float(step))}}, {}, {"step": step})
        store.prune([], 2)
        reported.value = step


def save_under_limit(directory: str, limit: int) -> None:
    """Save step 1, then try step 2 with files of at most `limit` bytes: it must fail with E410."""
    from codecsep.train.store import CheckpointError

    store = Checkpoints(Path(directory), "toy", lambda text: None)
    tensors = {"model.safetensors": {"w": torch.zeros(10_000)}}
    optimizer = {"m": torch.zeros(200_000)}
    store.save(1, tensors, optimizer, {"step": 1})
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        store.save(2, tensors, optimizer, {"step": 2})
    except CheckpointError as error:
        sys.exit(0 if error.code == "E410" else 3)
    sys.exit(4)


def probe_as_nobody(directory: str) -> None:
    """Try a folder that another user owns: it must fail with E412."""
    from codecsep.train.store import CheckpointError

    os.setuid(65534)
    try:
        Checkpoints(Path(directory) / "checkpoints", "toy", lambda text: None).probe()
    except CheckpointError as error:
        sys.exit(0 if error.code == "E412" else 3)
    sys.exit(4)


def prune(directory: str) -> None:
    for _ in range(20):
        Checkpoints(Path(directory), "toy", lambda text: None).prune([], 2)


def processes():
    """Cheap clean processes: forked from a server that has imported these files, and torch, once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train_toys", "runs"])
    here = Path(__file__)
    before = os.environ.get("PYTHONPATH")
    # Python 3.11's server looks for what it is to import in its own path only, and says nothing when it finds none
    os.environ["PYTHONPATH"] = os.pathsep.join([str(here.parent), str(here.parents[2]), before or ""])
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return context
