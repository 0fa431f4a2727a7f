"""The training loop. It knows a model by `fields`, `collate` and `loss`, and nothing of any paper.

One step = `accum` batches on every rank; each batch counts by its number of examples, so that accumulation, several
ranks and one big batch give the same gradient. All that changes from step to step is in the checkpoint: a training
that was stopped goes on with the very numbers of one that was not.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codecsep.data import buckets
from codecsep.faults import faultpoint
from codecsep.train import distributed, flags, gradient, optim, validation
from codecsep.train.batches import TrainingSet, choose_device, load_batches, set_epoch, to_device
from codecsep.train.distributed import World
from codecsep.train.ema import MovingAverage
from codecsep.train.flags import Vote
from codecsep.train.gradient import Buffers, Gradient
from codecsep.train.guard import Guard
from codecsep.train.keeper import Keeper, Parts
from codecsep.train.report import Clock, Report, parts_text
from codecsep.train.settings import TrainConfig
from codecsep.train.state import Meter, State, seed_everything
from codecsep.train.stop import StopFlag
from codecsep.train.validation import Validation

Examples = list[dict[str, Any]]


class Trainer:
    """Trains `model` in `exp_dir`. Freeze and initialise the model before; `run` resumes by itself."""

    def __init__(
        self,
        model: nn.Module,
        sets: tuple[TrainingSet, TrainingSet],
        settings: TrainConfig,
        exp_dir: Path,
        world: World = World(),  # noqa: B008 -- frozen
        stop: StopFlag | None = None,
    ):
        self.settings, self.loop, self.world, self.stop = settings, settings.train, world, stop or StopFlag()
        self.train_set, self.valid_set = sets
        self.report = Report(exp_dir, world.is_main, self.loop.tensorboard)
        self.keeper = Keeper(exp_dir, settings, world, self.report)
        self.guard = Guard(exp_dir, settings, self.report)
        self.validation = Validation(self.valid_set, settings, world, self.report)
        self.device = choose_device(self.loop.device, world.local_rank)
        self.model = model.to(self.device)
        distributed.broadcast_model(self.model)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.amp = distributed.mixed_precision(self.loop.amp, self.device)
        self.parts = self._make_parts()
        self.recent, self.clock, self.is_stopping, self.steps_in_epoch = Meter(), Clock(), False, 0

    def _make_parts(self) -> Parts:
        optimizer = optim.make_optimizer(self.model, self.settings.optim)
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp == "fp16")
        ema = MovingAverage(self.model, self.loop.ema_decay) if self.loop.ema_decay else None
        return Parts(self.model, optimizer, scaler, ema, State())

    @property
    def state(self) -> State:
        return self.parts.state

    # -- the loop

    def run(self) -> bool:
        """Train to max_steps (True), or until asked to stop (False: saved, the same call goes on)."""
        seed_everything(self.loop.seed + self.world.rank)
        self.keeper.resume(self.parts)
        self._say_hello()
        is_finished = self._epochs()
        if is_finished:
            self.keeper.finish(self.parts)
        self.report.close()
        return is_finished

    def _epochs(self) -> bool:
        """False when asked to stop before the end."""
        while not self._is_at_end():
            with closing(self._steps_of_epoch()) as steps:
                for batches, examples in steps:
                    self._step(batches, examples)
                    self._after_step()
                    if self._is_at_end():
                        return True
                    if self.is_stopping:
                        return False
            self.state.next_epoch()
            faultpoint("train.epoch_end")
        return True

    def _is_at_end(self) -> bool:
        is_out_of_patience = self.loop.patience > 0 and self.state.stale >= self.loop.patience
        return self.state.step >= self.loop.max_steps or is_out_of_patience

    def _steps_of_epoch(self) -> Iterator[tuple[list[Examples] | None, int]]:
        """From the position in the epoch on: (this rank's batches of one step, examples of all ranks).

        The batches are None where they end before the plan does; the ranks then tell each other.
        """
        optim.train_mode(self.model, self.settings.freeze)
        set_epoch(self.train_set, self.state.epoch)
        lengths, data, rank = self.train_set.lengths, self.settings.data, self.world.rank
        ranks, accum = self.world.size, self.loop.accum
        plan = buckets.plan(lengths, self.settings.batch, data.seed, self.state.epoch, ranks, accum)
        self.steps_in_epoch, first = len(plan), self.state.position
        with closing(load_batches(self.train_set, plan.share(rank, first), data)) as loaded:
            for step in plan.steps(first):
                indices = [index for share in step for batch in share for index in batch]
                self.clock.add(sum(lengths[index] for index in indices))
                batches = [next(loaded, None) for _ in step[rank]]
                is_short = faultpoint("train.batches") or None in batches
                yield None if is_short else batches, len(indices)

    def _step(self, batches: list[list[Any]] | None, examples: int) -> None:
        """One optimiser step over this rank's batches; `examples` counts those of all ranks, as planned."""
        state = self.state
        distributed.at(f"step {state.step + 1}")
        faultpoint("train.step")
        distributed.broadcast_buffers(self.model)
        buffers = Buffers(self.model)
        good = [self.guard.readable(batch, state) for batch in batches or []]
        backward = partial(self._backward, examples)
        result = gradient.compute(self.model, buffers, good, self._loss, backward)
        missing = sum(map(len, batches or [])) - sum(map(len, good))
        votes, used = flags.exchange(self._vote(result, batches is None, missing), self.trained, self.world)
        self.is_stopping = any(vote.is_stopping for vote in votes)
        self.guard.count_missing(votes, state, len(self.train_set))
        self.guard.count_memory(votes, state)
        reason, norm = self.guard.reason(votes), math.nan
        if not reason:
            left_out = sum(vote.missing for vote in votes)
            norm = self._update(used, examples / (examples - left_out))
            reason = "" if math.isfinite(norm) else "the gradient is not finite"
        state.step += 1
        state.position += 1
        self.report.loss(state.step, state.epoch, flags.mean_loss(votes), self._lr())
        if not reason:
            self._count(result, norm)
            return
        buffers.put_back()
        if self._is_scale_too_large(votes):
            self.guard.count_overflow(state, self.parts.scaler.get_scale())
        else:
            ids = [example["id"] for batch in good for example in batch]
            self.guard.skip(reason, ids, result.parts, state, self.steps_in_epoch)

    def _vote(self, result: Gradient, has_no_batch: bool, missing: int) -> Vote:
        return Vote(
            step=self.state.step + 1,
            is_stopping=self.stop.received is not None,
            has_no_batch=has_no_batch,
            is_nonfinite=any(not math.isfinite(parts["loss"]) for parts in result.parts),
            too_large=result.too_large,
            is_given_up=result.is_given_up,
            missing=missing,
            loss=result.seen.sums.get("loss", 0.0),
            weight=result.seen.weights.get("loss", 0.0),
        )

    def _loss(self, examples: Examples) -> tuple[Tensor, dict[str, float]]:
        batch = to_device(self.model.collate(examples), self.device)
        with self._autocast():
            loss, parts = self.model.loss(batch)
        if self.model.training and faultpoint("train.loss"):
            loss = loss * math.nan
        return loss, {"loss": float(loss.detach())} | {k: float(v) for k, v in parts.items()}

    def _autocast(self) -> AbstractContextManager:
        dtype = torch.float16 if self.amp == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.amp != "no")

    def _backward(self, examples: int, loss: Tensor, size: int) -> None:
        self.parts.scaler.scale(loss * (size / examples)).backward()

    def _update(self, used: list[bool], factor: float) -> float:
        """Sum the gradients of all ranks, scale, clip, step. Returns their norm; when it is not finite nothing is
        changed but the loss scale of fp16."""
        parts = self.parts
        if faultpoint("train.gradient"):
            self.trained[0].grad.fill_(math.inf)
        distributed.sum_gradients(self.trained, used)
        parts.scaler.unscale_(parts.optimizer)  # after the sum: all ranks see the same overflow
        if factor != 1.0:
            torch._foreach_mul_([p.grad for p in self.trained if p.grad is not None], factor)
        norm = float(nn.utils.clip_grad_norm_(self.trained, self.settings.optim.clip or math.inf))
        if math.isfinite(norm):
            lr = optim.learning_rate(self.state.step, self.loop.max_steps, self.settings.optim)
            optim.set_learning_rate(parts.optimizer, lr)
            parts.scaler.step(parts.optimizer)
            if parts.ema is not None:
                parts.ema.update(self.model)
        parts.scaler.update()
        return norm

    def _is_scale_too_large(self, votes: list[Vote]) -> bool:
        """Did only the gradient overflow, as it does now and then in fp16? `GradScaler` has lowered its scale."""
        return self.amp == "fp16" and not self.guard.reason(votes) and self.parts.scaler.get_scale() >= 1

    def _count(self, result: Gradient, norm: float) -> None:
        self.state.window = Meter.union([self.state.window, result.seen])
        self.recent = Meter.union([self.recent, result.seen])
        self.recent.add({"grad_norm": norm}, 1.0)
        self.state.skipped_in_row = 0

    def _lr(self) -> float:
        return self.parts.optimizer.param_groups[0]["lr"]

    # -- what happens between steps

    def _after_step(self) -> None:
        """Log, validate, save."""
        state, loop = self.state, self.loop
        at_end = state.step >= loop.max_steps
        if state.step % loop.log_interval == 0 or at_end:
            self._log()
        is_due = state.step % loop.valid_interval == 0 or at_end
        if is_due:
            self._validate()
        if is_due or self.is_stopping or (loop.save_interval and state.step % loop.save_interval == 0):
            self.keeper.save(self.parts)
        if self.is_stopping and not self._is_at_end():
            self.report.say(f"stopped by {self.stop.received or 'another rank'} at step {state.step}; state saved")

    def _log(self) -> None:
        means = Meter.union(distributed.gather(self.recent)).means()
        self.recent = Meter()
        skipped = f", {self.state.skipped} skipped" if self.state.skipped else ""
        speed = self.clock.text(self.loop.max_steps - self.state.step)
        where = f"step {self.state.step}/{self.loop.max_steps} epoch {self.state.epoch}"
        self.report.say(f"{where}: {parts_text(means)} lr {self._lr():.3g}{skipped}, {speed}")
        self.report.scalars("train", means | {"lr": self._lr()}, self.state.step)

    def _validate(self) -> None:
        """Mean of the named parts over the valid set; a row of the history; the best list."""
        state = self.state
        distributed.broadcast_buffers(self.model)
        train = Meter.union(distributed.gather(state.window)).means()
        state.window = Meter()
        valid = Meter.union(distributed.gather(self._validation_meter())).means()
        value = validation.criterion(self.loop.criterion, valid)
        row = {"step": state.step, "epoch": state.epoch, "lr": self._lr(), "skipped": state.skipped_in_window}
        row |= {f"train_{k}": v for k, v in train.items()} | {f"valid_{k}": v for k, v in valid.items()}
        state.history.append(row)
        state.skipped_in_window = 0
        validation.rank_best(state, value, self.loop.keep_best)
        self.report.say(f"validation at step {state.step}: {parts_text(valid)}")
        self.report.scalars("valid", valid, state.step)

    def _validation_meter(self) -> Meter:
        meter = self.validation.meter(self.model, self.parts.ema, lambda examples: self._loss(examples)[1])
        optim.train_mode(self.model, self.settings.freeze)
        return meter

    def _say_hello(self) -> None:
        size, trained = (sum(p.numel() for p in ps) for ps in (self.model.parameters(), self.trained))
        sets = f"{len(self.train_set)} training and {len(self.valid_set)} validation examples"
        self.report.say(
            f"{self.settings.model}: {size / 1e6:.2f} M parameters, {trained / 1e6:.2f} M trained, "
            f"{sets}, {self.world.size} x {self.device}, amp {self.amp}, "
            f"step {self.state.step} of {self.loop.max_steps}"
        )
