"""Several processes, one training: torchrun, srun or `bin/launch` starts them, torch.distributed connects them.

Gradients are summed here rather than by DistributedDataParallel. DDP reduces inside `backward`: a rank that runs out
of memory there, or repeats a batch in two halves, leaves the others waiting for ever. Here a rank works alone until it
has its gradient, or knows that it has none; then all meet, once to say how it went (`flags`), once to add up.
So nothing that one rank does alone may talk to the others; a module that does so in `forward` (the codebooks of
`nn.quantize`) says `couples_ranks = True`, and is not retried.
It also makes one process with accumulation give the same curve, and parts that a rank did not use need no flag.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from codecsep.errors import CodecsepError

BUCKET = 2**24  # gradient elements that are reduced in one call
LINGER = 2.0  # s, in which the ranks that are left find out which one is not


class DistributedError(CodecsepError):
    """Processes that cannot find each other, do not agree, or do not answer."""


@dataclass(frozen=True)
class World:
    """This process among all: rank 0 .. size - 1 writes nothing unless it is 0; local_rank chooses the GPU."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        return self.rank == 0


@dataclass
class _Group:
    """How the ranks reach each other apart from collectives, and where this one is."""

    world: World
    store: dist.Store
    timeout: float
    place: str = "the start"


_group: _Group | None = None


def from_environment(env: dict[str, str] | None = None) -> World:
    """Read torchrun's variables, else those of a Slurm step (srun); a plain process is a world of one."""
    env = dict(os.environ) if env is None else env
    if "WORLD_SIZE" in env and "RANK" in env:
        return World(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env.get("LOCAL_RANK", 0)))
    if int(env.get("SLURM_STEP_NUM_TASKS", 1)) > 1:  # set by srun only: a batch script alone is one process
        return World(int(env["SLURM_PROCID"]), int(env["SLURM_STEP_NUM_TASKS"]), int(env.get("SLURM_LOCALID", 0)))
    return World()


def address(env: dict[str, str]) -> tuple[str, str]:
    """Where rank 0 listens: MASTER_ADDR and MASTER_PORT, or the first node of a Slurm step and a port of its job.

    Raises DistributedError (E613) when neither is known.
    """
    if "MASTER_ADDR" in env:
        return env["MASTER_ADDR"], env.get("MASTER_PORT", "29500")
    if "SLURM_STEP_NODELIST" in env:
        port = 20000 + (int(env.get("SLURM_JOB_ID", 0)) * 16 + int(env.get("SLURM_STEP_ID", 0)) % 16) % 20000
        return first_node(env["SLURM_STEP_NODELIST"]), env.get("MASTER_PORT", str(port))
    what = "several processes but no MASTER_ADDR"
    raise DistributedError("E613", what, "", "start them with torchrun, srun, or python -m codecsep.bin.launch")


def start(timeout_seconds: float = 600.0) -> World:
    """Connect the processes (NCCL with GPUs, gloo without). A rank that hangs is an error after the timeout."""
    global _group
    world = from_environment()
    if world.size == 1:
        return world
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = address(dict(os.environ))
    if torch.cuda.is_available():
        torch.cuda.set_device(world.local_rank % torch.cuda.device_count())
    backend, limit = "nccl" if torch.cuda.is_available() else "gloo", timedelta(seconds=timeout_seconds)
    try:
        store, _, _ = next(rendezvous("env://", world.rank, world.size, timeout=limit))
        store.set_timeout(limit)
        dist.init_process_group(
            backend, store=dist.PrefixStore("training", store), rank=world.rank, world_size=world.size, timeout=limit
        )
    except RuntimeError as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        what = f"rank {world.rank} of {world.size} did not reach all others within {timeout_seconds:g} s ({error})"
        raise DistributedError("E613", what, place, "see that all of them started, and the network between") from error
    _group = _Group(world, dist.PrefixStore("waiting", store), timeout_seconds)
    return world


def first_node(nodes: str) -> str:
    """The first name in a Slurm node list: "gpu[03-05,9],login" -> "gpu03"."""
    name, bracket, numbers = nodes.partition("[")
    if not bracket or "," in name:
        return name.split(",")[0]
    return name + re.split("[-,\\]]", numbers)[0] + numbers.partition("]")[2].split(",")[0]


def finish() -> None:
    """Leave the group of processes, if there is one."""
    global _group
    if dist.is_initialized():
        dist.destroy_process_group()
    _group = None


def at(place: str) -> None:
    """Note where this rank is ("step 12"), for messages about ranks that do not answer."""
    if _group is not None:
        _group.place = place


@contextmanager
def _together() -> Iterator[None]:
    """Around what all ranks do together: when it fails, the error says which rank is missing."""
    began = time.monotonic()
    try:
        yield
    except RuntimeError as error:
        if _group is None:
            raise
        raise _lost(_group, time.monotonic() - began, error) from error


def _lost(group: _Group, waited: float, error: RuntimeError) -> DistributedError:
    """E610 for a rank that does not answer in time, E612 for one that is gone."""
    missing = _missing(group)
    ranks = f"rank {', '.join(map(str, missing))}" if missing else "another rank"
    if waited >= 0.9 * group.timeout:
        what = f"{ranks} did not answer within train.group_timeout = {group.timeout:g} s"
        fix = "look at what that process did (its log, its node); the same command goes on from the last checkpoint"
        return DistributedError("E610", what, f"rank {group.world.rank}, {group.place}", fix)
    what = f"{ranks} is gone ({error})"
    fix = "see the message of that process; the same command goes on from the last checkpoint"
    return DistributedError("E612", what, f"rank {group.world.rank}, {group.place}", fix)


def _missing(group: _Group) -> list[int]:
    """The ranks that have not noticed that something is wrong: those that are gone, or hang."""
    others = [rank for rank in range(group.world.size) if rank != group.world.rank]
    end = time.monotonic() + LINGER
    try:
        group.store.set(f"{group.world.rank}", group.place)
        while others and time.monotonic() < end:
            others = [rank for rank in others if not group.store.check([f"{rank}"])]
            time.sleep(0.05)
    except RuntimeError:  # the store is in the process of rank 0, or of torchrun
        return [0] if group.world.rank != 0 else []
    return others


def barrier() -> None:
    if dist.is_initialized():
        with _together():
            dist.barrier()


def gather(value: Any) -> list[Any]:
    """The value of every rank, in order of rank, on every rank."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    with _together():
        dist.all_gather_object(values, value)
    return values


def share(value: Any) -> Any:
    """Rank 0's value on every rank."""
    return gather(value)[0]


@torch.no_grad()
def broadcast_model(model: nn.Module) -> None:
    """Parameters and buffers of rank 0 on every rank."""
    _broadcast([*model.parameters(), *model.buffers()])


@torch.no_grad()
def broadcast_buffers(model: nn.Module) -> None:
    """Running statistics of rank 0 on every rank."""
    _broadcast(list(model.buffers()))


def _broadcast(tensors: list[Tensor]) -> None:
    if dist.is_initialized():
        with _together():
            for tensor in tensors:
                dist.broadcast(tensor, src=0)


def add_up(values: Tensor) -> None:
    """The sum over all ranks, in place."""
    if dist.is_initialized():
        with _together():
            dist.all_reduce(values)


@torch.no_grad()
def sum_gradients(parameters: Iterable[nn.Parameter], used: list[bool]) -> None:
    """Add up the gradients of all ranks. `used`: of each parameter, has any rank a gradient? All others stay None."""
    if not dist.is_initialized():
        return
    kept = [parameter for parameter, flag in zip(parameters, used, strict=True) if flag]
    for parameter in kept:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets([p.grad for p in kept if p.grad is not None]):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        add_up(flat)
        for gradient, piece in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(piece.view_as(gradient))


def _buckets(gradients: list[Tensor]) -> Iterable[list[Tensor]]:
    bucket: list[Tensor] = []
    for gradient in gradients:
        if bucket and sum(g.numel() for g in bucket) + gradient.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


def mixed_precision(wanted: str, device: torch.device) -> str:
    """`wanted` (no, bf16, fp16), with auto decided: bf16 where the device has instructions for it, else no.

    On a CPU without them bfloat16 is emulated and slower than float32.
    """
    if wanted != "auto":
        return wanted
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "no"
