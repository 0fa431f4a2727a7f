"""From a dataset and lists of indices to examples in memory and tensors on a device."""

import random
import traceback
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from codecsep import config
from codecsep.errors import CodecsepError
from codecsep.train import workers
from codecsep.train.settings import DataConfig


class ExampleError(CodecsepError):
    """An example that its dataset did not give."""


class TrainingSet(Protocol):
    """What the trainer asks of a dataset: items with "id", codec frames per item, and optionally `set_epoch`.

    `ids`, where there is one per item, names items that cannot be read.
    """

    lengths: list[int]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


@dataclass
class Failure:
    """An example that could not be read: its name, the error, and where it came about."""

    name: str
    error: Exception
    trace: str

    def raised(self, where: str) -> Exception:
        """What to raise: E604 around an error for the user, E603 for what a dataset must not raise, else the bug."""
        place = f"utterance {self.name}, {where}"
        if config.is_for_user(self.error):
            fix = getattr(self.error, "fix", "") or "mend the file"
            return ExampleError("E604", f"cannot be read: {self.error}", place, f"{fix}; or data.on_bad_data: skip")
        if isinstance(self.error, (StopIteration, LookupError)):
            what = f"the dataset raised {type(self.error).__name__} ({self.error})"
            return ExampleError("E603", what, place, "see that its tables agree: run --stage 0")
        self.error.add_note(f"while reading {place}:\n{self.trace}")
        return self.error

    def is_bad_data(self) -> bool:
        """May this utterance be left out (data.on_bad_data: skip)? A bug is no property of an utterance."""
        return config.is_for_user(self.error) or isinstance(self.error, LookupError)


@dataclass
class _Careful:
    """Reads examples; hands errors back as values, and the random generators as they were."""

    dataset: TrainingSet
    seed: int

    def __call__(self, index: int) -> dict[str, Any] | Failure:
        try:
            with drawn_from(self.seed, getattr(self.dataset, "epoch", 0), index):
                return self.dataset[index]
        except Exception as error:
            return Failure(name_of(self.dataset, index), error, traceback.format_exc())


class drawn_from:
    """Python's, numpy's and torch's generators start from these numbers inside and are as before outside.

    So an example that draws from them is the same one in whichever process it is read.
    """

    def __init__(self, *numbers: int):
        self.numbers = numbers

    def __enter__(self) -> None:
        self.before = random.getstate(), np.random.get_state(), torch.get_rng_state()
        seeds = np.random.SeedSequence(self.numbers).generate_state(3)
        random.seed(int(seeds[0]))
        np.random.seed(int(seeds[1]))
        torch.default_generator.manual_seed(int(seeds[2]))

    def __exit__(self, *_: object) -> None:
        python, numpy, own = self.before
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(own)


def name_of(dataset: Any, index: int) -> str:
    """The id of an item without reading it, as far as its dataset knows it (`name`, or one of `ids` per item)."""
    if hasattr(dataset, "name"):
        return dataset.name(index)
    ids = getattr(dataset, "ids", ())
    return str(ids[index]) if len(ids) == len(dataset) else f"number {index}"


def load_batches(
    dataset: TrainingSet, batches: list[list[int]], data: DataConfig
) -> Iterator[list[dict[str, Any] | Failure]]:
    """The examples of each batch, in order; what cannot be read is a `Failure`. Raises workers.WorkerError."""
    read = _Careful(dataset, data.seed)
    with closing(
        workers.read_batches(
            read, lambda index: name_of(dataset, index), batches, data.num_workers, data.loader_timeout
        )
    ) as loaded:
        yield from loaded


def set_epoch(dataset: Any, epoch: int) -> None:
    """Tell a dataset that changes from epoch to epoch which one it is."""
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(epoch)


def to_device(value: Any, device: torch.device) -> Any:
    """Tensors in nested dicts, lists and tuples, moved."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: to_device(item, device) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(item, device) for item in value)
    return value


def choose_device(name: str, local_rank: int) -> torch.device:
    """`auto` is this process's GPU when there is one, else the CPU."""
    if name != "auto":
        return torch.device(name)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())  # Slurm may show each task its own GPU only
