"""What the ranks tell each other in every step, all in one sum over one tensor."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import torch
from torch import nn

from codecsep.train import distributed
from codecsep.train.distributed import DistributedError, World


@dataclass
class Vote:
    """How the step went on one rank, before gradients are added up.

    is_stopping: a signal came. has_no_batch: its batches ended before the plan. is_nonfinite: a loss is NaN or Inf.
    too_large: batches that did not fit into memory at once. is_given_up: one did not fit in halves either.
    missing: examples that could not be read. loss, weight: weighted sum of the losses, and the weight.
    """

    step: int
    is_stopping: bool = False
    has_no_batch: bool = False
    is_nonfinite: bool = False
    too_large: int = 0
    is_given_up: bool = False
    missing: int = 0
    loss: float = 0.0
    weight: float = 0.0


def exchange(vote: Vote, parameters: Sequence[nn.Parameter], world: World) -> tuple[list[Vote], list[bool]]:
    """(the vote of every rank, has any rank a gradient for each parameter?), the same on all ranks.

    Raises DistributedError (E611) on all ranks when one has no batch left, or is at another step.
    """
    width = len(fields(Vote))
    table = torch.zeros(world.size * width + len(parameters), dtype=torch.float64)
    table[world.rank * width : (world.rank + 1) * width] = torch.tensor(astuple(vote), dtype=torch.float64)
    table[world.size * width :] = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float64)
    table = table.to(parameters[0].device)
    distributed.add_up(table)
    values = table.tolist()
    votes = [_vote(values[i : i + width]) for i in range(0, world.size * width, width)]
    _check(votes)
    return votes, [value > 0 for value in values[world.size * width :]]


def _vote(values: list[float]) -> Vote:
    step, *flags, loss, weight = values
    stopping, no_batch, nonfinite, too_large, given_up, missing = (round(flag) for flag in flags)
    return Vote(
        round(step), bool(stopping), bool(no_batch), bool(nonfinite), too_large, bool(given_up), missing, loss, weight
    )


def _check(votes: list[Vote]) -> None:
    steps = [vote.step for vote in votes]
    if len(set(steps)) > 1:
        what = f"the ranks are at different steps: {', '.join(map(str, steps))}"
        raise DistributedError("E611", what, "", "start them again with one and the same configuration and data")
    for rank, vote in enumerate(votes):
        if vote.has_no_batch:
            what = f"rank {rank} has no batch left, though the plan of the epoch has one"
            fix = "see that all ranks read the same data; the same command goes on from the last checkpoint"
            raise DistributedError("E611", what, f"step {vote.step}", fix)


def mean_loss(votes: list[Vote]) -> float:
    """Over the examples of all ranks; NaN when there were none."""
    weight = sum(vote.weight for vote in votes)
    return sum(vote.loss for vote in votes) / weight if weight else float("nan")
