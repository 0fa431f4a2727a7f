"""The optimiser and the learning rate as a pure function of the step; initial weights; frozen parts."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from codecsep.errors import CodecsepError
from codecsep.train.checkpoint import BEST, differences, first, read_weights
from codecsep.weight_file import read_pickled

PICKLED = ".ckpt"


class OptimError(CodecsepError):
    """A setting of the optimiser or of initial weights that cannot be followed."""


@dataclass
class OptimConfig:
    """AdamW; weight decay is applied to matrices only. `clip` is the largest norm of the gradient (0: no clipping)."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.01
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt", "exponential"] = "cosine"
    warmup_steps: int = 0
    min_lr_ratio: float = 0.05
    clip: float = 5.0

    def __post_init__(self):
        if self.lr <= 0 or self.eps <= 0 or self.weight_decay < 0 or self.clip < 0 or self.warmup_steps < 0:
            what = "optim: lr and eps must be > 0, weight_decay, clip and warmup_steps >= 0"
            raise OptimError("E504", what, "", "change that value")
        if not 0 <= self.min_lr_ratio <= 1 or (self.schedule == "exponential" and self.min_lr_ratio == 0):
            what = f"optim.min_lr_ratio {self.min_lr_ratio} must be in [0, 1], above 0 for 'exponential'"
            raise OptimError("E504", what, "", "change that value")


@dataclass
class InitConfig:
    """Start a part of the network from another experiment: what begins with `source` there becomes `target` here.

    file: an experiment directory (its best.safetensors), a .safetensors file, or a state dict that torch.save wrote
    (.ckpt, as SpeechBrain releases them). "" as a name is the whole network.
    """

    file: str = ""
    source: str = ""
    target: str = ""


def make_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained, in two groups: decayed (2-D and more) and not decayed."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise OptimError("E505", "no parameter is left to train", "", "check the key 'freeze'")
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, betas=config.betas, eps=config.eps)


def learning_rate(step: int, max_steps: int, config: OptimConfig) -> float:
    """Learning rate of step 0 .. max_steps - 1: linear warm-up, then the schedule down to lr * min_lr_ratio."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    done = min(1.0, (step - config.warmup_steps) / max(1, max_steps - config.warmup_steps))
    low = config.min_lr_ratio
    factors = {
        "constant": lambda: 1.0,
        "linear": lambda: low + (1 - low) * (1 - done),
        "cosine": lambda: low + (1 - low) * (1 + math.cos(math.pi * done)) / 2,
        "inverse_sqrt": lambda: max(low, math.sqrt(max(1, config.warmup_steps) / max(1, step))),
        "exponential": lambda: low**done,
    }
    return config.lr * factors[config.schedule]()


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value


def initialise(model: nn.Module, parts: Iterable[InitConfig]) -> list[str]:
    """Copy trained weights into parts of `model`; one line per part says what was copied.

    Raises OptimError when a file is missing, when a name of the target has no partner, or when shapes differ.
    """
    return [_initialise_part(model, part) for part in parts]


def _initialise_part(model: nn.Module, part: InitConfig) -> str:
    path = weights_of(part)
    weights = read_pickled(path) if path.suffix == PICKLED else read_weights(path)
    source = {_strip(k, part.source): v for k, v in weights.items() if _inside(k, part.source)}
    target = {_strip(k, part.target): v for k, v in model.state_dict().items() if _inside(k, part.target)}
    if not target:
        raise _no_part("init", part.target, model)
    differing = differences(source, target)
    if differing:
        what = f"init: '{part.source}' of {path} does not fit '{part.target}': {first(differing)}"
        raise OptimError("E505", what, "", "make both networks alike in that part, or leave the entry out")
    with torch.no_grad():
        for name, value in target.items():  # state_dict tensors share memory with the parameters
            value.copy_(source[name])
    return f"initialised '{part.target}' from '{part.source}' of {path}: {len(target)} tensors"


def weights_of(part: InitConfig) -> Path:
    """The file that an entry of `init` reads. Raises OptimError when none is named or it does not exist."""
    if not part.file:
        what = f"init: the entry for '{part.target}' has no file"
        raise OptimError("E505", what, "", "give `file` there, or --init exp/<name>")
    path = Path(part.file)
    path = path / BEST if path.suffix not in (".safetensors", PICKLED) else path
    if not path.is_file():
        raise OptimError("E505", f"init: {path} does not exist", "", "train that experiment first")
    return path


def _no_part(key: str, part: str, model: nn.Module) -> OptimError:
    children = ", ".join(name for name, _ in model.named_children())
    return OptimError("E505", f"{key}: the network has no part '{part}'; it has {children}", "", "name one of them")


def _inside(name: str, part: str) -> bool:
    return not part or name == part or name.startswith(part + ".")


def _strip(name: str, part: str) -> str:
    return name[len(part) :].lstrip(".") if part else name


def freeze(model: nn.Module, parts: Iterable[str]) -> None:
    """Exclude parts from training. Raises OptimError when a part matches no parameter."""
    for part in parts:
        inside = [p for name, p in model.named_parameters() if _inside(name, part)]
        if not inside:
            raise _no_part("freeze", part, model)
        for parameter in inside:
            parameter.requires_grad_(False)


def train_mode(model: nn.Module, frozen: Iterable[str]) -> None:
    """Training mode, with the frozen parts in evaluation mode: what is frozen is one fixed function."""
    model.train()
    for part in frozen:
        for name, module in model.named_modules():
            if name and _inside(name, part):
                module.eval()
