"""What may change when a training goes on, and what may not: settings and data. Imports no torch.

exp/x/config.yaml   all settings
exp/x/inputs.json   SHA-256 of the tables and token lists that it reads, and of the weights that it starts from
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from codecsep import config
from codecsep.data import atomic, manifest
from codecsep.data.digest import file_sha256
from codecsep.errors import CodecsepError

# Keys that do not change what a step computes. (A longer max_steps stretches a decaying schedule, as asked for.)
OF_THE_RUN = (
    "train.log_interval",
    "train.save_interval",
    "train.keep_last",
    "train.tensorboard",
    "train.device",
    "train.group_timeout",
    "train.allow_inexact_resume",
    "data.num_workers",
    "data.loader_timeout",
)
OF_THE_END = ("train.max_steps", "train.patience", "train.keep_best", "train.average")
HARMLESS = (*OF_THE_RUN, *OF_THE_END)
INPUTS = "inputs.json"
TABLES = ("*.scp", "utt2*", "sot_order", "codec.json", "token_list.txt")


class ResumeError(CodecsepError):
    """A training that would go on as another one than it began."""


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ: {"optim.lr": (old, new)}; a key that one side lacks counts as None there."""
    before, after = config.flatten(old), config.flatten(new)
    keys = sorted(before.keys() | after.keys())
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def has_begun(exp_dir: Path) -> bool:
    """Is there something that a training in `exp_dir` would go on from?"""
    return (exp_dir / "best.safetensors").exists() or any(exp_dir.glob("checkpoints/step-*"))


def check_settings(exp_dir: Path, settings: Any) -> None:
    """Refuse to go on in `exp_dir` with settings that would change the model (ResumeError E420 lists them)."""
    path = exp_dir / "config.yaml"
    if not path.is_file() or not has_begun(exp_dir):
        return
    changed = differences(config.read_yaml(path), config.to_dict(settings))
    if "model" in changed:  # every key of the network differs then
        changed = {"model": changed["model"]}
    refused = [f"{key}: {old} -> {new}" for key, (old, new) in changed.items() if key not in HARMLESS]
    if refused:
        what = f"was trained with other settings: {'; '.join(refused)}"
        raise ResumeError("E420", what, exp_dir, "set them back, train in another --out, or delete the directory")


def check_inputs(exp_dir: Path, inputs: Mapping[str, str]) -> None:
    """Refuse to go on in `exp_dir` with other data or initial weights (ResumeError E422 lists them)."""
    path = exp_dir / INPUTS
    if not path.is_file() or not has_begun(exp_dir):
        return
    changed = manifest.difference(_read(path), inputs)
    if changed:
        what = f"the data have changed since it began: {changed}"
        raise ResumeError("E422", what, exp_dir, "train in another --out, restore the data, or delete the directory")


def write_inputs(exp_dir: Path, inputs: Mapping[str, str]) -> None:
    atomic.write_text(exp_dir / INPUTS, json.dumps(dict(inputs), indent=1) + "\n")


def inputs_of(folders: Iterable[str], weights: Iterable[str]) -> dict[str, str]:
    """path -> SHA-256 of what a training reads: the tables of data and dump directories, the outputs that manifests of
    dump directories list (token arks), and weight files. Audio is known by its list only. "missing" where there is
    nothing."""
    found: dict[str, str] = {}
    for folder in sorted({folder for folder in folders if folder}):
        for path in sorted({path for pattern in TABLES for path in Path(folder).glob(pattern) if path.is_file()}):
            found[str(path)] = file_sha256(path)
        for path in sorted(Path(folder).glob("*manifest.json")):
            found |= {f"{folder}/{name}": digest for name, digest in _outputs(path) if name.endswith(".ark")}
    for name in weights:
        path = Path(name) if name.endswith(".safetensors") else Path(name) / "best.safetensors"
        found[str(path)] = file_sha256(path) if path.is_file() else "missing"
    return found


def _outputs(path: Path) -> list[tuple[str, str]]:
    """(file, SHA-256) that a manifest lists. Raises ResumeError when it is no manifest."""
    try:
        return [(name, entry["sha256"]) for name, entry in _read(path)["outputs"].items()]
    except (KeyError, TypeError, AttributeError) as error:
        raise ResumeError("E422", "is no manifest of a stage", path, "run --stage 2 again") from error


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResumeError("E422", f"cannot be read ({error})", path, "delete it; then it is not compared") from error
