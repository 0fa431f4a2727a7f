"""Checkpoint folders that are whole or not there.

    exp/x/checkpoints/step-000500/   model.safetensors [ema.safetensors] optimizer.pt state.json manifest.json .done

A folder is written beside its place and renamed. manifest.json says what it is (format, model, step) and holds size and
SHA-256 of every file; `.done` holds the SHA-256 of manifest.json. What is read goes from the newest folder to older
ones until one is as it was written; nothing is loaded from a folder before all of it has been hashed.
"""

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from codecsep.data import atomic
from codecsep.data.digest import file_sha256, text_sha256
from codecsep.errors import CodecsepError
from codecsep.faults import faultpoint
from codecsep.train.checkpoint import EMA, MODEL, Tensors, contiguous
from codecsep.weight_file import read_pickled

OPTIMIZER, STATE, MANIFEST, DONE = "optimizer.pt", "state.json", "manifest.json", ".done"
FORMAT = 2
NAME = re.compile(r"step-(\d{6,})")
DAMAGED = "damaged-"  # in front of the name of a folder that was passed over
WRITING_FAILS = (OSError, RuntimeError, SafetensorError, atomic.DiskError)  # torch reports a full disk as RuntimeError


class CheckpointError(CodecsepError):
    """A checkpoint that cannot be written or read."""


class Checkpoints:
    """The checkpoints of one experiment, all of one model. `say` receives messages for the log."""

    def __init__(self, directory: Path, model: str, say: Callable[[str], None] = print):
        self.directory, self.model, self.say = Path(directory), model, say

    def folder(self, step: int) -> Path:
        return self.directory / f"step-{step:06d}"

    def probe(self) -> None:
        """Write a file and delete it. Raises CheckpointError (E412) when the directory cannot be written to."""
        path = self.directory / f".probe.{os.getpid()}"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            faultpoint("ckpt.probe")
            atomic.write_text(path, "x")
            path.unlink()
        except WRITING_FAILS as error:
            fix = "give an --out that can be written to, or free some space"
            raise CheckpointError("E412", f"cannot be written to ({error})", self.directory, fix) from error

    def save(self, step: int, tensors: dict[str, Tensors], optimizer: dict[str, Any], state: dict[str, Any]) -> None:
        """Write one checkpoint. `tensors`: file name -> weights; `state`: values that JSON can hold.

        Raises CheckpointError (E410) when it cannot be written; what was there before is kept.
        """
        try:
            with atomic.replacing_dir(self.folder(step)) as beside:
                faultpoint("ckpt.tmp_open")
                for name, weights in tensors.items():
                    save_file(contiguous(weights), beside / name)
                    faultpoint("ckpt.mid_write")
                torch.save(optimizer, beside / OPTIMIZER)
                (beside / STATE).write_text(json.dumps(state), encoding="utf-8")
                _seal(beside, {"format": FORMAT, "model": self.model, "step": step})
                faultpoint("ckpt.before_fsync")
                atomic.force_tree(beside)
                faultpoint("ckpt.before_rename")
            faultpoint("ckpt.after_rename")
        except WRITING_FAILS as error:
            raise not_written(self.folder(step), error) from error

    def all(self) -> list[Path]:
        """Folders in order of their step. Links are none: what they point to is not this training's to delete."""
        found = self.directory.glob("step-*") if self.directory.is_dir() else []
        folders = [path for path in found if NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink()]
        return sorted(folders, key=_step_of)

    def newest(self) -> Path | None:
        """The newest whole checkpoint; None when there is none at all. Damaged ones are named and moved out of the way.

        Raises CheckpointError: there are some, but none is whole (E402); one of another format (E430).
        """
        passed_over: list[tuple[Path, str]] = []
        for folder in reversed(self.all()):
            problem = verify(folder, self.model)
            if problem is None:
                self._set_aside(passed_over, folder)
                return folder
            passed_over.append((folder, problem))
        if passed_over:
            what = "; ".join(f"{folder.name}: {problem}" for folder, problem in passed_over)
            fix = "restore one of them from a backup, or delete the directory to train anew"
            raise CheckpointError("E402", f"no checkpoint is whole: {what}", self.directory, fix)
        return None

    def _set_aside(self, passed_over: list[tuple[Path, str]], kept: Path) -> None:
        for folder, problem in passed_over:
            lost = _step_of(folder) - _step_of(kept)
            what = f"{problem}; passed over for {kept.name}: {lost} steps are lost and will be made again"
            fix = f"none is needed; it is kept as {DAMAGED}{folder.name} until the next checkpoint"
            self.say(f"warning: {CheckpointError('E401', what, folder, fix)}")
            with contextlib.suppress(OSError):
                os.replace(folder, folder.with_name(DAMAGED + folder.name))

    def whole(self, folders: Iterable[Path]) -> list[Path]:
        """Those of the folders that are as they were written; the others are named."""
        found = []
        for folder in folders:
            problem = verify(folder, self.model)
            if problem is None:
                found.append(folder)
            else:
                error = CheckpointError("E401", f"{problem}; passed over", folder, "none is needed")
                self.say(f"warning: {error}")
        return found

    def prune(self, best_steps: Iterable[int], keep: int) -> None:
        """Delete all but the newest `keep` and the best. A folder is renamed first, so that no part of one is left."""
        faultpoint("ckpt.before_prune")
        kept = {self.folder(step) for step in best_steps} | set(self.all()[-keep:])
        damaged = self.directory.glob(f"{DAMAGED}step-*")
        for folder in [*(set(self.all()) - kept), *damaged]:
            dying = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.dying")
            with contextlib.suppress(OSError):  # another process may be at it too
                os.replace(folder, dying)
        for leftover in self.directory.glob(".*.dying"):
            shutil.rmtree(leftover, ignore_errors=True)
        for leftover in self.directory.glob(".step-*.tmp"):
            atomic.sweep(self.directory / leftover.name.split(".")[1])


def verify(folder: Path, model: str) -> str | None:
    """What is wrong with a checkpoint folder; None when every file is there as it was written.

    Raises CheckpointError (E430) when it was written by another version of the package in another format.
    """
    try:
        text = (folder / MANIFEST).read_bytes().decode("utf-8")
        done = (folder / DONE).read_bytes().decode("utf-8") if (folder / DONE).exists() else None
        manifest = json.loads(text)
        found = manifest["format"]
    except FileNotFoundError:
        return "it has no manifest.json (writing was not finished)"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its manifest.json or .done cannot be read ({error})"
    if done is None and found != 1:  # format 1 had none
        return "it has no .done (writing was not finished)"
    if done is not None and done != text_sha256(text) + "\n":
        return "its manifest.json is damaged (its SHA-256 differs)"
    if found != FORMAT:
        what = f"was written in format {found}, this version of codecsep reads format {FORMAT}"
        fix = "go on with the version that wrote it, or train in another --out"
        raise CheckpointError("E430", what, folder, fix)
    if manifest["model"] != model:
        return f"it is of a model '{manifest['model']}', this training is one of '{model}'"
    if manifest["step"] != _step_of(folder):
        return f"it is of step {manifest['step']}: the folder was renamed"
    return _damage(folder, manifest["files"])


def _damage(folder: Path, files: dict[str, dict[str, Any]]) -> str | None:
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["size"]:
            return f"{name} is cut ({path.stat().st_size} of {entry['size']} bytes)"
        if file_sha256(path) != entry["sha256"]:
            return f"{name} is damaged (its SHA-256 differs)"
    return None


def _seal(folder: Path, values: dict[str, Any]) -> None:
    """Write manifest.json over all files of a folder, then `.done`."""
    files = {p.name: {"size": p.stat().st_size, "sha256": file_sha256(p)} for p in sorted(folder.iterdir())}
    text = json.dumps({**values, "files": files}, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    (folder / DONE).write_text(text_sha256(text) + "\n", encoding="utf-8")


def not_written(path: Path, error: Exception) -> CheckpointError:
    """E410 with the room that is left on the disk."""
    place = next(folder for folder in path.resolve().parents if folder.exists())
    cause = error.what if isinstance(error, CodecsepError) else f"not written ({error})"
    what = f"{cause}; {shutil.disk_usage(place).free // 2**20} MiB are free"
    return CheckpointError("E410", what, path, "free some space, raise the quota, or mend the disk")


def read_state(folder: Path) -> dict[str, Any]:
    return json.loads((folder / STATE).read_text(encoding="utf-8"))


def read_optimizer(folder: Path) -> dict[str, Any]:
    return read_pickled(folder / OPTIMIZER)


def weights_file(folder: Path) -> Path:
    """What is decoded with: the moving average when one was kept, else the weights themselves."""
    return folder / EMA if (folder / EMA).is_file() else folder / MODEL


def _step_of(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])
