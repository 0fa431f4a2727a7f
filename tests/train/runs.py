"""Whole trainings in processes of their own, with faults; and what is compared between them."""

import contextlib
import hashlib
import os
import re
import socket
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from train_toys import Config, Model, Numbers, processes, settings

from codecsep.codecs import fbank
from codecsep.codecs.encoders import EncoderConfig
from codecsep.data.buckets import BatchConfig
from codecsep.errors import CodecsepError
from codecsep.models import slm_ss
from codecsep.nn.transformer import TransformerConfig
from codecsep.train import distributed
from codecsep.train.stop import StopFlag
from codecsep.train.trainer import Trainer

PATIENCE = 120  # seconds until a process counts as hung, on a machine that is busy with other things
TINY = TransformerConfig(num_layers=1, width=16, num_heads=2, ffn_width=32, dropout=0.1)
EXACT = ("losses.tsv", "history.tsv", "best.safetensors")


class Mixtures:
    """Item i of epoch e: noise and codes of two speakers, drawn from (e, i); the codes are made into a sequence.

    A process that reads for a training leaves its number in `folder`.
    """

    def __init__(self, size: int, model: slm_ss.Model, folder: Path):
        self.size, self.model, self.folder, self.epoch = size, model, folder, 0
        self.parent = os.getpid()
        self.ids = [f"m{index}" for index in range(size)]

    lengths = property(lambda self: [6 + index % 4 for index in range(self.size)])

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if os.getpid() != self.parent:
            (self.folder / f"reader.{os.getpid()}").touch()
        draw = np.random.default_rng((self.epoch, index))
        frames = self.lengths[index]
        codes = [draw.integers(0, 10, (4, size)) for size in (frames, frames - 2)]
        wav = 0.1 * draw.standard_normal(320 * frames).astype(np.float32)
        return {"id": self.ids[index], "mixture": wav, "sequence": self.model.sequence({"codes": codes})}


def make_network(kind: str) -> torch.nn.Module:
    """`toy`, or a tiny part of SLM-SS with dropout and every draw that training makes."""
    torch.manual_seed(1)
    if kind == "toy":
        return Model(Config(noise=0.3))
    encoder = EncoderConfig(kind="fbank", fbank=fbank.Config(num_mels=20, conv_blocks=1, transformer=TINY))
    more = {"token_dropout": 0.1, "own_tokens": 0.3} if kind == "ar" else {"level_decay": 0.6}
    return slm_ss.Model(
        slm_ss.Config(
            part=kind, encoder=encoder, decoder=TINY, num_codebooks=4, codebook_size=10, positions="time",
            frame_rate=50.0, **more,
        )
    )  # fmt: skip


def train(kind: str, out: str, loop: dict, env: dict, timeout: float = 60.0) -> None:
    """One training in this process, to be started by `start`. Exit status: 0 done, 85 stopped, 2 an error for the user,
    whose text is then in `out`/error.<rank>."""
    for name in ("WORLD_SIZE", "RANK"):
        os.environ.pop(name, None)
    os.environ.update(env)
    torch.set_num_threads(1)
    stop = StopFlag().install()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        world = distributed.start(timeout)
        network = make_network(kind)
        make = Numbers if kind == "toy" else lambda size: Mixtures(size, network, folder)
        data = {key: loop.pop(key) for key in ("num_workers", "on_bad_data") if key in loop}
        chosen = settings(batch=BatchConfig(20, 4), **loop)
        for key, value in data.items():
            setattr(chosen.data, key, value)
        (folder / f"pid.{world.rank}").write_text(str(os.getpid()))
        done = Trainer(network, (make(30), make(7)), chosen, folder, world, stop).run()
        sys.exit(0 if done else 85)
    except CodecsepError as error:
        (folder / f"error.{os.environ.get('RANK', '0')}").write_text(str(error))
        print(error, file=sys.stderr)
        sys.exit(2)
    finally:
        distributed.finish()


def start(kind: str, out: Path, loop: dict, fault: str = "", timeout: float = 60.0, **env: str):
    """A process that runs `train`."""
    env = {"CODECSEP_FAULT": fault} | env
    process = processes().Process(target=train, args=(kind, str(out), dict(loop), env, timeout))
    process.start()
    return process


def run(kind: str, out: Path, loop: dict, fault: str = "", **env: str) -> int:
    """The exit status of one training; negative: the signal that killed it."""
    process = start(kind, out, loop, fault, **env)
    return status(process)


def status(process, patience: float = PATIENCE) -> int:
    """Of a process that ends within `patience` seconds; it is killed, and TimeoutError raised, if it does not."""
    process.join(patience)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"process {process.pid} did not end in {patience} s")
    return process.exitcode


def world(size: int) -> dict[str, str]:
    """What torchrun would set for all ranks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    return {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}


@contextlib.contextmanager
def ranks(kind: str, out: Path, loop: dict, fault: str = "", timeout: float = 60.0, size: int = 2):
    """The processes of one distributed training, killed at the end if they are still there."""
    env = world(size)
    started = [start(kind, out, loop, fault, timeout, RANK=str(rank), **env) for rank in range(size)]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.join()


def error(out: Path, rank: int = 0) -> str:
    """What the user read from a rank."""
    text = (out / f"error.{rank}").read_text()
    assert re.fullmatch(r"E\d{3} .+ \(fix: .+\)", text), text
    return text


def same(one: Path, two: Path) -> None:
    """The losses of every step, the history and the weights, byte by byte; and the weights of the last checkpoint."""
    for name in EXACT:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert weights_hash(one) == weights_hash(two)


def weights_hash(out: Path) -> str:
    newest = sorted((out / "checkpoints").glob("step-*"))[-1]
    return hashlib.sha256((newest / "model.safetensors").read_bytes()).hexdigest()


def differing_steps(one: Path, two: Path) -> int:
    """Rows of losses.tsv (hexadecimal loss and learning rate) that are not the same."""
    rows = [(path / "losses.tsv").read_text().splitlines() for path in (one, two)]
    return sum(a != b for a, b in zip(*rows, strict=True))


def read_weights(out: Path) -> dict[str, torch.Tensor]:
    """Of the last checkpoint."""
    return load_file(sorted((out / "checkpoints").glob("step-*"))[-1] / "model.safetensors")
