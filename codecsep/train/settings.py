"""Everything that a training's YAML can hold."""

from dataclasses import dataclass, field
from typing import Literal

from codecsep.data.buckets import BatchConfig
from codecsep.errors import CodecsepError
from codecsep.train.optim import InitConfig, OptimConfig


class SettingsError(CodecsepError):
    """Settings that are out of range or contradict each other."""


@dataclass
class DataConfig:
    """What an example is. `static`: the mixtures of a data directory. `dynamic`: mixtures made while training, of the
    prompts in a sources directory. `crops`: pieces of single prompts, for a codec.

    epoch_size, valid_size: examples per epoch, and for validation, of `dynamic` and `crops`.
    max_frames: longest training example in codec frames, longer ones are cropped (null: whole examples).
    num_speakers to level_jitter: how `dynamic` mixes (loudness in LUFS, level_jitter in dB). crop_seconds: of `crops`.
    num_workers: processes that read (0: this one). loader_timeout: seconds until one of them counts as hung.
    on_bad_data: an utterance that cannot be read ends the training, or is left out and listed in skipped.tsv (at most
    1 % of an epoch; validation always fails on one, since what is best is measured there).
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
    loader_timeout: float = 300.0
    on_bad_data: Literal["fail", "skip"] = "fail"
    seed: int = 0

    def __post_init__(self):
        if self.seed < 0 or self.num_workers < 0 or self.loader_timeout <= 0:
            what = "data: seed and num_workers must be >= 0, loader_timeout > 0"
            raise SettingsError("E850", what, "", "change that value")


@dataclass
class LoopConfig:
    """The loop. Intervals are in optimiser steps.

    save_interval: checkpoints apart from those at each validation (0: none). keep_last: checkpoints to keep besides the
    best ones; at least 2, since the newest may be damaged by what stopped the run.
    criterion: the validation part that chooses the best checkpoints (smaller is better).
    average: the best n checkpoints are averaged at the end. accum: batches per step. patience: validations without a
    new best until the training ends (0: never). nonfinite_patience: steps in a row that may be left out; and in an
    epoch, where 1 % of its steps is less.
    amp: mixed precision; auto is bf16 where the device computes it natively, else no.
    ema_decay: keep a moving average of the weights and validate, choose and decode with it (0: off).
    group_timeout: seconds until a process of a distributed training counts as hung.
    allow_inexact_resume: go on with another number of processes or threads than before; the numbers then differ.
    """

    max_steps: int = 10000
    valid_interval: int = 500
    save_interval: int = 0
    log_interval: int = 50
    keep_best: int = 3
    keep_last: int = 2
    average: int = 1
    criterion: str = "loss"
    accum: int = 1
    amp: Literal["no", "bf16", "fp16", "auto"] = "no"
    seed: int = 0
    patience: int = 0
    nonfinite_patience: int = 10
    device: str = "auto"
    ema_decay: float = 0.0
    group_timeout: float = 600.0
    allow_inexact_resume: bool = False
    tensorboard: bool = True

    def __post_init__(self):
        counts = ("max_steps", "valid_interval", "log_interval", "keep_best", "average", "accum", "nonfinite_patience")
        for name in counts:
            _at_least(name, getattr(self, name), 1)
        for name in ("seed", "save_interval", "patience"):
            _at_least(name, getattr(self, name), 0)
        _at_least("keep_last", self.keep_last, 2)
        _at_least("group_timeout", self.group_timeout, 1)
        if self.average > self.keep_best:
            what = f"train.average {self.average} is over train.keep_best {self.keep_best}"
            raise SettingsError("E850", what, "", "raise train.keep_best")
        if not 0 <= self.ema_decay < 1:
            raise SettingsError("E850", f"train.ema_decay is {self.ema_decay}", "", "give a number in [0, 1)")


def _at_least(name: str, value: float, least: int) -> None:
    if value < least:
        raise SettingsError("E850", f"train.{name} is {value}, it must be at least {least}", "", "raise it")


@dataclass
class PathsConfig:
    """Where the data are, and the codec that a model computes in; the flags --train, --train_dump, --valid,
    --valid_dump, --codec set these."""

    train: str = ""
    train_dump: str = ""
    valid: str = ""
    valid_dump: str = ""
    codec: str = ""


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
