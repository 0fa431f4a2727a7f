"""The contract of a model, and finding one by its file's name.

`models/<name>.py` offers `Config` (a dataclass) and `Model(config)`, an `nn.Module` with

    fields                what to read per utterance: "mixture", "codes", "sequence", ...
    sample_rate           of the mixtures that it reads, Hz
    sequence(example)     [K, S] ids that stage 3 stores, or None when the network needs none
    collate(examples)     list of examples -> batch of tensors
    loss(batch)           (scalar, {part: float})
    separate(mixtures, options, keys)   one `Separation` per mixture

A model that computes inside a codec also offers

    use_codec(codec)      the frozen codec of the directory that --codec names; given before it trains and separates

The trainer, the decoding stage and the contract tests know nothing else.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from torch import Tensor

from codecsep.decode.engine_options import EngineOptions
from codecsep.decode.options import DecodeOptions
from codecsep.errors import CodecsepError


class ModelError(CodecsepError):
    """A model name or a set of experiments that cannot be used; the message says what is allowed."""


@dataclass
class Separation:
    """The speakers found in one mixture, any number of them, and what was counted.  They are given in one of three
    ways:

    codes     int64 [K, T_j] each, for a codec to decode
    latents   float32 [T_j, D] each, for a codec to synthesise
    waves     float32 [L_j] each, at the separator's `sample_rate`
    """

    codes: list[Tensor] = field(default_factory=list)
    stats: dict[str, float] = field(default_factory=dict)
    latents: list[Tensor] = field(default_factory=list)
    waves: list[Tensor] = field(default_factory=list)


class Separator(Protocol):
    """Anything that separates mixtures (float32 [L] at its own `sample_rate`, whatever the codec's is) into speakers.

    One that has `queues = True` is given any number of mixtures at once and keeps the memory that it needs bounded
    itself; any other is given a batch of similar length.  One that gives waveforms has `gives_waves = True`, and no
    codec.
    """

    sample_rate: int

    def separate(
        self, mixtures: Sequence[np.ndarray], options: DecodeOptions, keys: Sequence[str]
    ) -> list[Separation]: ...


def names() -> list[str]:
    """The models that exist: files of this folder that define a `Model`."""
    folder = Path(__file__).parent
    return sorted(p.stem for p in folder.glob("*.py") if "\nclass Model(" in p.read_text(encoding="utf-8"))


def load(name: str) -> ModuleType:
    """models/<name>.py.  Raises ModelError naming the files that exist."""
    if name not in names():
        raise ModelError("E506", f"no model named '{name}'", "", f"models/ holds: {', '.join(names())}")
    return importlib.import_module(f"codecsep.models.{name}")


def join(module: ModuleType, models: Sequence, how: EngineOptions | None = None) -> Separator:
    """One separator from the trained models of `module`, which offers `join` when it needs several (slm_ss: ar, nar) or
    decodes token by token, as `how` says.

    Raises ModelError when one model was wanted and several were given.
    """
    if hasattr(module, "join"):
        return module.join(models, how or EngineOptions())
    if len(models) != 1:
        what = f"{module.__name__.rsplit('.', 1)[-1]} separates with one experiment, got {len(models)}"
        raise ModelError("E508", what, "", "give one experiment")
    return models[0]


def require_targets(example: dict, is_target: Tensor) -> None:
    """Refuse an example without a sample or without one target: the mean of no losses is NaN (ModelError E502)."""
    if len(example["mixture"]) == 0 or not bool(is_target.any()):
        what = f"{len(example['mixture'])} samples and {int(is_target.sum())} frames to predict"
        fix = "remove it from the data directory, or run --stage 2 again"
        raise ModelError("E502", what, f"utterance {example.get('id', '?')}", fix)
