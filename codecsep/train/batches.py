"""From a dataset and lists of indices to examples in memory and tensors on a device."""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from codecsep import config

LOADER_TIMEOUT = 300  # seconds until a hung worker is an error


class ExampleError(RuntimeError):
    """An example that its dataset did not give."""


class TrainingSet(Protocol):
    """What the trainer asks of a dataset: items with "id", codec frames per item, and optionally `set_epoch`."""

    lengths: list[int]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


class _Careful:
    """Hands errors meant for the user on as values: raised in a worker they would arrive as a long traceback."""

    def __init__(self, dataset: TrainingSet):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any] | Exception:
        try:
            return self.dataset[index]
        except StopIteration:  # would silently end the epoch
            return ExampleError(f"example {index}: the dataset raised StopIteration")
        except Exception as error:
            if config.is_for_user(error):
                return error
            raise


def load_batches(dataset: TrainingSet, batches: list[list[int]], num_workers: int) -> Iterator[list[dict]]:
    """The examples of each batch, in order. The loader draws from a generator of its own, never from the global one."""
    loader = DataLoader(
        _Careful(dataset),  # type: ignore[arg-type]
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=num_workers,
        collate_fn=list,
        timeout=LOADER_TIMEOUT if num_workers else 0,
        generator=torch.Generator(),
    )
    for examples in loader:
        for example in examples:
            if isinstance(example, Exception):
                raise example
        yield examples


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
