"""Everything that a training's YAML can hold, and what may change when a training goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from codecsep import config
from codecsep.data.buckets import BatchConfig
from codecsep.train.optim import InitConfig, OptimConfig

# Keys that do not change what a step computes. (A longer max_steps stretches a decaying schedule, as asked for.)
HARMLESS = (
    "train.max_steps",
    "train.log_interval",
    "train.tensorboard",
    "train.device",
    "train.patience",
    "train.keep_best",
    "train.average",
    "data.num_workers",
)


class SettingsError(ValueError):
    """Settings that contradict each other or an earlier run in the same directory."""


@dataclass
class DataConfig:
    """What an example is. `static`: the mixtures of a data directory. `dynamic`: mixtures made while training, of the
    prompts in a sources directory. `crops`: pieces of single prompts, for a codec.

    epoch_size, valid_size: examples per epoch, and for validation, of `dynamic` and `crops`.
    max_frames: longest training example in codec frames, longer ones are cropped (null: whole examples).
    num_speakers to level_jitter: how `dynamic` mixes (loudness in LUFS, level_jitter in dB). crop_seconds: of `crops`.
    """

    train: Literal["static", "dynamic", "crops"] = "static"
    valid: Literal["static", "dynamic", "crops"] = "static"
    epoch_size: int = 1000
    valid_size: int = 100
    max_frames: int | None = None
    num_speakers: int = 2
    mode: Literal["min", "max"] = "max"
    min_loudness: float = -33.0
    max_loudness: float = -25.0
    max_offset: float = 0.0
    level_jitter: float = 0.0
    crop_seconds: float = 2.0
    num_workers: int = 0
    seed: int = 0


@dataclass
class LoopConfig:
    """The loop. Intervals are in optimiser steps.

    criterion: the validation part that chooses the best checkpoints (smaller is better).
    average: the best n checkpoints are averaged at the end. accum: batches per step. patience: validations without a
    new best until the training ends (0: never). nonfinite_patience: skipped steps in a row until it fails.
    amp: mixed precision; auto is bf16 where the device computes it natively, else no.
    ema_decay: keep a moving average of the weights and validate, choose and decode with it (0: off).
    """

    max_steps: int = 10000
    valid_interval: int = 500
    log_interval: int = 50
    keep_best: int = 3
    average: int = 1
    criterion: str = "loss"
    accum: int = 1
    amp: Literal["no", "bf16", "fp16", "auto"] = "no"
    seed: int = 0
    patience: int = 0
    nonfinite_patience: int = 20
    device: str = "auto"
    ema_decay: float = 0.0
    tensorboard: bool = True

    def __post_init__(self):
        counts = ("max_steps", "valid_interval", "log_interval", "keep_best", "average", "accum", "nonfinite_patience")
        for name in counts:
            if getattr(self, name) < 1:
                raise SettingsError(f"train.{name} is {getattr(self, name)}, it must be at least 1")
        if self.average > self.keep_best:
            raise SettingsError(f"train.average {self.average} is over train.keep_best {self.keep_best}")
        if not 0 <= self.ema_decay < 1:
            raise SettingsError(f"train.ema_decay is {self.ema_decay}, it must be in [0, 1)")


@dataclass
class PathsConfig:
    """Where the data are; the flags --train, --train_dump, --valid, --valid_dump set these."""

    train: str = ""
    train_dump: str = ""
    valid: str = ""
    valid_dump: str = ""


@dataclass
class TrainConfig:
    """A training. `network` is added by the model that `model` names (config.load_model_config)."""

    model: str
    data: DataConfig = field(default_factory=DataConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: LoopConfig = field(default_factory=LoopConfig)
    init: list[InitConfig] = field(default_factory=list)
    freeze: list[str] = field(default_factory=list)
    paths: PathsConfig = field(default_factory=PathsConfig)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ: {"optim.lr": (old, new)}; a key that one side lacks counts as None there."""
    before, after = config.flatten(old), config.flatten(new)
    keys = sorted(before.keys() | after.keys())
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def check_unchanged(exp_dir: Path, settings: TrainConfig) -> None:
    """Refuse to go on in `exp_dir` with settings that would change the model (SettingsError lists them)."""
    path = exp_dir / "config.yaml"
    if not path.is_file():
        return
    changed = differences(config.read_yaml(path), config.to_dict(settings))
    refused = [f"{key}: {old} -> {new}" for key, (old, new) in changed.items() if key not in HARMLESS]
    if refused:
        raise SettingsError(
            f"{exp_dir} was trained with other settings ({'; '.join(refused)}); "
            "set them back, or train in another --out, or delete the directory"
        )
