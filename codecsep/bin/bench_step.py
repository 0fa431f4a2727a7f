"""Steps of training as a loop of five lines: collate, loss, backward, clipping and AdamW."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from codecsep.train import optim
from codecsep.train.batches import to_device


class Steps:
    """Calling it takes one step on the examples that `read` gives. The model stays on its device, in training mode."""

    def __init__(self, model: nn.Module, read: Callable[[], Sequence[dict]], settings: optim.OptimConfig, device: str):
        self.model, self.read, self.device = model.to(device).train(), read, torch.device(device)
        self.optimizer, self.clip = optim.make_optimizer(model, settings), settings.clip or float("inf")

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss, _ = self.model.loss(to_device(self.model.collate(list(self.read())), self.device))
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
