"""Checkpoints that are whole or not there, and the trained network that decoding loads.

    exp/x/checkpoints/step-000500/   model.safetensors optimizer.pt state.json [ema.safetensors] manifest.json
    exp/x/                           best.safetensors config.yaml

A checkpoint is written beside and renamed; its manifest (sizes and SHA-256) is written last. A folder without a valid
manifest is passed over with a message, and the one before it is used.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from codecsep import config
from codecsep.data import atomic
from codecsep.data.digest import file_sha256

Tensors = dict[str, Tensor]
MODEL, EMA, OPTIMIZER, STATE, MANIFEST = (
    "model.safetensors",
    "ema.safetensors",
    "optimizer.pt",
    "state.json",
    "manifest.json",
)
KEEP_LAST = 2  # the newest one may be damaged by what stopped the run


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or read; the message names the folder."""


class Checkpoints:
    """The checkpoints of one experiment. `say` receives messages for the log."""

    def __init__(self, directory: Path, say: Callable[[str], None] = print):
        self.directory, self.say = Path(directory), say

    def folder(self, step: int) -> Path:
        return self.directory / f"step-{step:06d}"

    def save(self, step: int, tensors: dict[str, Tensors], optimizer: dict[str, Any], state: dict[str, Any]) -> None:
        """Write one checkpoint. `tensors`: file name -> weights; `state`: values that JSON can hold."""
        try:
            with atomic.replacing_dir(self.folder(step)) as beside:
                for name, weights in tensors.items():
                    save_file(contiguous(weights), beside / name)
                torch.save(optimizer, beside / OPTIMIZER)
                (beside / STATE).write_text(json.dumps(state), encoding="utf-8")
                write_manifest(beside)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            free = shutil.disk_usage(self.directory).free // 2**20 if self.directory.exists() else 0
            raise CheckpointError(f"{self.folder(step)}: not written ({error}); {free} MiB free") from error

    def latest(self) -> Path | None:
        """The newest whole checkpoint; None when there is none."""
        return next(self.whole(reversed(self.all())), None)

    def all(self) -> list[Path]:
        return sorted(self.directory.glob("step-*"), key=lambda path: int(path.name.partition("-")[2]))

    def whole(self, folders: Iterable[Path]) -> Iterable[Path]:
        for folder in folders:
            problem = verify(folder)
            if problem is None:
                yield folder
            else:
                self.say(f"checkpoint {folder} is passed over: {problem}")

    def prune(self, best_steps: Iterable[int]) -> None:
        """Delete all but the newest `KEEP_LAST` and the best."""
        kept = {self.folder(step) for step in best_steps} | set(self.all()[-KEEP_LAST:])
        for folder in set(self.all()) - kept:
            shutil.rmtree(folder)
        for leftover in self.directory.glob(".step-*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)


def contiguous(weights: Tensors) -> Tensors:
    """Copies on the CPU; tied tensors become separate ones, as safetensors asks."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}


def write_manifest(folder: Path) -> None:
    """Force the files of a folder to the disk, then write and force manifest.json."""
    files = {}
    for path in sorted(folder.iterdir()):
        _force(path)
        files[path.name] = {"size": path.stat().st_size, "sha256": file_sha256(path)}
    (folder / MANIFEST).write_text(json.dumps({"format": 1, "files": files}, indent=1), encoding="utf-8")
    _force(folder / MANIFEST)
    _force(folder)


def verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder; None when every file is there, as long and as it was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
    except FileNotFoundError:
        return "it has no manifest.json (writing was not finished)"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its manifest.json cannot be read ({error})"
    if manifest.get("format") != 1:
        return f"its format is {manifest.get('format')}, this version reads format 1"
    for name, entry in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry["size"]:
            return f"{name} is missing or cut"
        if file_sha256(path) != entry["sha256"]:
            return f"{name} is damaged (its SHA-256 differs)"
    return None


def _force(path: Path) -> None:
    """fsync of a file or directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_state(folder: Path) -> dict[str, Any]:
    return json.loads((folder / STATE).read_text(encoding="utf-8"))


def read_optimizer(folder: Path) -> dict[str, Any]:
    return torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)


def weights_file(folder: Path) -> Path:
    """What is decoded with: the moving average when one was kept, else the weights themselves."""
    return folder / EMA if (folder / EMA).is_file() else folder / MODEL


def average(folders: list[Path]) -> Tensors:
    """Mean of the weights of several checkpoints, summed in float64; integers are those of the first folder."""
    if not folders:
        raise CheckpointError("no checkpoint is left to average; train again in a new directory")
    result = load_file(weights_file(folders[0]))
    if len(folders) == 1:
        return result
    sums = {name: tensor.double() for name, tensor in result.items() if tensor.is_floating_point()}
    for folder in folders[1:]:
        other = load_file(weights_file(folder))
        for name in sums:
            sums[name] += other[name].double()
    return result | {name: (total / len(folders)).to(result[name].dtype) for name, total in sums.items()}


def write_best(exp_dir: Path, weights: Tensors) -> None:
    with atomic.replacing(exp_dir / "best.safetensors") as beside:
        save_file(contiguous(weights), beside)
        _force(beside)


def load_network(exp_dir: Path) -> tuple[ModuleType, nn.Module]:
    """The trained network of an experiment: (module of the model, Model in evaluation mode, on the CPU).

    Raises ConfigError when the experiment has no config.yaml, CheckpointError when it has no usable best.safetensors.
    """
    exp_dir = Path(exp_dir)
    best = exp_dir / "best.safetensors"
    if not best.is_file():
        raise CheckpointError(f"{best}: no such file; train it first (stage 4 or 5)")
    given = config.read_yaml(exp_dir / "config.yaml")
    module = config.find_model(str(given.get("model")))
    config.check_keys(module.Config, given.get("network", {}), str(exp_dir / "config.yaml"), "network.")
    model = module.Model(config.build(module.Config, given.get("network", {}), str(exp_dir / "config.yaml")))
    load_weights(model, best)
    return module, model.eval()


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a network from a .safetensors file; every name and shape must fit (CheckpointError, one line)."""
    try:
        model.load_state_dict(load_file(path))
    except Exception as error:
        lines = " ".join(str(error).split())
        raise CheckpointError(f"{path}: does not fit the network of its config.yaml: {lines[:300]}") from error
