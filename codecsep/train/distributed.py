"""Several processes, one training: torchrun or Slurm starts them, torch.distributed connects them.

Gradients are summed here rather than by DistributedDataParallel: the trainer already weights each batch, parts that
a rank did not use need no special flag, and one process with accumulation gives the same curve.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET = 2**24  # gradient elements that are reduced in one call


class DistributedError(RuntimeError):
    """Processes that cannot find each other or do not agree."""


@dataclass(frozen=True)
class World:
    """This process among all: rank 0 .. size - 1 writes nothing unless it is 0; local_rank chooses the GPU."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def from_environment(env: dict[str, str] | None = None) -> World:
    """Read torchrun's variables, else those of a Slurm step (srun); a plain process is a world of one."""
    env = dict(os.environ) if env is None else env
    if "WORLD_SIZE" in env and "RANK" in env:
        return World(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env.get("LOCAL_RANK", 0)))
    if int(env.get("SLURM_STEP_NUM_TASKS", 1)) > 1:  # set by srun only: a batch script alone is one process
        return World(int(env["SLURM_PROCID"]), int(env["SLURM_STEP_NUM_TASKS"]), int(env.get("SLURM_LOCALID", 0)))
    return World()


def start(timeout_seconds: float = 1800.0) -> World:
    """Connect the processes (NCCL with GPUs, gloo without). A hung rank is an error after the timeout."""
    world = from_environment()
    if world.size == 1:
        return world
    if "MASTER_ADDR" not in os.environ and "SLURM_STEP_NODELIST" in os.environ:
        os.environ["MASTER_ADDR"] = first_node(os.environ["SLURM_STEP_NODELIST"])
        os.environ.setdefault("MASTER_PORT", str(20000 + int(os.environ.get("SLURM_JOB_ID", 0)) % 20000))
    if "MASTER_ADDR" not in os.environ:
        raise DistributedError(f"{world.size} processes but no MASTER_ADDR; start them with torchrun or srun")
    if torch.cuda.is_available():
        torch.cuda.set_device(world.local_rank % torch.cuda.device_count())
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, rank=world.rank, world_size=world.size, timeout=timedelta(seconds=timeout_seconds))
    return world


def first_node(nodes: str) -> str:
    """The first name in a Slurm node list: "gpu[03-05,9],login" -> "gpu03"."""
    name, bracket, numbers = nodes.partition("[")
    if not bracket or "," in name:
        return name.split(",")[0]
    return name + re.split("[-,\\]]", numbers)[0] + numbers.partition("]")[2].split(",")[0]


def finish() -> None:
    """Leave the group of processes, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def gather(value: Any) -> list[Any]:
    """The value of every rank, in order of rank, on every rank."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def share(value: Any) -> Any:
    """Rank 0's value on every rank."""
    return gather(value)[0]


def any_rank(flag: bool, device: torch.device) -> bool:
    """True on all ranks if it is on one; cheap enough for every step."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor([int(flag)], device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())


@torch.no_grad()
def broadcast_model(model: nn.Module) -> None:
    """Parameters and buffers of rank 0 on every rank."""
    if dist.is_initialized():
        for tensor in [*model.parameters(), *model.buffers()]:
            dist.broadcast(tensor, src=0)


@torch.no_grad()
def broadcast_buffers(model: nn.Module) -> None:
    """Running statistics of rank 0 on every rank."""
    if dist.is_initialized():
        for tensor in model.buffers():
            dist.broadcast(tensor, src=0)


@torch.no_grad()
def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up the gradients of all ranks; a parameter that no rank used keeps the gradient None."""
    if not dist.is_initialized():
        return
    parameters = list(parameters)
    used = torch.tensor([int(p.grad is not None) for p in parameters], device=parameters[0].device)
    dist.all_reduce(used, op=dist.ReduceOp.MAX)
    kept = [p for p, flag in zip(parameters, used.tolist(), strict=True) if flag]
    for parameter in kept:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets([p.grad for p in kept if p.grad is not None]):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        dist.all_reduce(flat)
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
