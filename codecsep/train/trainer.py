"""The training loop. It knows a model by `fields`, `collate` and `loss`, and nothing of any paper.

One step = `accum` batches on every rank; each batch counts by its number of examples, so that accumulation, several
ranks and one big batch give the same gradient. All that changes from step to step is in the checkpoint: a training
that was stopped goes on with the very numbers of one that was not.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codecsep.data import buckets
from codecsep.train import checkpoint, distributed, optim
from codecsep.train.batches import TrainingSet, choose_device, load_batches, set_epoch, to_device
from codecsep.train.checkpoint import CheckpointError, Checkpoints
from codecsep.train.distributed import World
from codecsep.train.ema import MovingAverage
from codecsep.train.report import Clock, Report, parts_text
from codecsep.train.settings import TrainConfig
from codecsep.train.state import Meter, State, random_state, seed_everything, seeded, set_random_state
from codecsep.train.stop import StopFlag

MAX_FAILED_SAVES = 3


class TrainingError(RuntimeError):
    """A training that cannot go on; the last good checkpoint is kept."""


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
        self.exp_dir = Path(exp_dir)
        self.report = Report(self.exp_dir, world.is_main, self.loop.tensorboard)
        self.checkpoints = Checkpoints(self.exp_dir / "checkpoints", self.report.say)
        self.device = choose_device(self.loop.device, world.local_rank)
        self.model = model.to(self.device)
        distributed.broadcast_model(self.model)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = optim.make_optimizer(self.model, settings.optim)
        self.amp = distributed.mixed_precision(self.loop.amp, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp == "fp16")
        self.ema = MovingAverage(self.model, self.loop.ema_decay) if self.loop.ema_decay else None
        self.state, self.recent, self.clock, self.failed_saves = State(), Meter(), Clock(), 0

    # -- the loop

    def run(self) -> bool:
        """Train to max_steps (True), or until asked to stop (False: saved, the same call goes on)."""
        seed_everything(self.loop.seed + self.world.rank)
        self._resume()
        self._say_hello()
        while self.state.step < self.loop.max_steps and not self._is_out_of_patience():
            for batches, examples in self._steps_of_epoch():
                self._step(batches, examples)
                if self._after_step():
                    self.report.close()
                    return False
                if self.state.step >= self.loop.max_steps or self._is_out_of_patience():
                    break
            else:
                self.state.epoch, self.state.position = self.state.epoch + 1, 0
        self._finish()
        return True

    def _steps_of_epoch(self) -> Iterator[tuple[list[list[dict]], int]]:
        """From the position in the epoch on: (this rank's batches of one step, examples of all ranks)."""
        optim.train_mode(self.model, self.settings.freeze)
        set_epoch(self.train_set, self.state.epoch)
        lengths = self.train_set.lengths
        data, ranks, accum = self.settings.data, self.world.size, self.loop.accum
        steps = buckets.plan(lengths, self.settings.batch, data.seed, self.state.epoch, ranks, accum)
        steps = steps[self.state.position :]
        mine = [batch for step in steps for batch in step[self.world.rank]]
        batches = load_batches(self.train_set, mine, data.num_workers)
        for step in steps:
            indices = [index for rank in step for batch in rank for index in batch]
            self.clock.add(sum(lengths[index] for index in indices))
            yield [next(batches) for _ in step[self.world.rank]], len(indices)

    def _step(self, batches: list[list[dict]], examples: int) -> None:
        """One optimiser step over this rank's batches; `examples` counts those of all ranks."""
        self.optimizer.zero_grad(set_to_none=True)
        seen = Meter()
        for batch in batches:
            loss, parts = self._loss(batch)
            self.scaler.scale(loss * (len(batch) / examples)).backward()
            seen.add(parts, len(batch))
        norm = self._update()
        if math.isfinite(norm):
            self.state.window = Meter.union([self.state.window, seen])
            self.recent = Meter.union([self.recent, seen])
            self.recent.add({"grad_norm": norm}, 1.0)
            self.state.skipped_in_row = 0
        else:
            self._count_skip([example["id"] for batch in batches for example in batch], seen.means())

    def _loss(self, examples: list[dict]) -> tuple[Tensor, dict[str, float]]:
        batch = to_device(self.model.collate(examples), self.device)
        with self._autocast():
            loss, parts = self.model.loss(batch)
        return loss, {"loss": float(loss.detach())} | {k: float(v) for k, v in parts.items()}

    def _autocast(self) -> AbstractContextManager:
        dtype = torch.float16 if self.amp == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.amp != "no")

    def _update(self) -> float:
        """Sum the gradients of all ranks, clip, step. Returns their norm; when it is not finite nothing is changed."""
        distributed.sum_gradients(self.trained)
        self.scaler.unscale_(self.optimizer)  # after the sum: all ranks see the same overflow
        limit = self.settings.optim.clip or math.inf
        norm = float(nn.utils.clip_grad_norm_(self.trained, limit))
        if math.isfinite(norm):
            lr = optim.learning_rate(self.state.step, self.loop.max_steps, self.settings.optim)
            optim.set_learning_rate(self.optimizer, lr)
            self.scaler.step(self.optimizer)
            if self.ema is not None:
                self.ema.update(self.model)
        self.scaler.update()
        self.state.step += 1
        self.state.position += 1
        return norm

    def _count_skip(self, ids: list[str], parts: dict[str, float]) -> None:
        """A step with NaN or Inf gradients was left out on all ranks: name the batch, stop when it goes on."""
        self.state.skipped += 1
        self.state.skipped_in_row += 1
        shown = ", ".join(ids[:8])
        self.report.say(f"step {self.state.step}: gradient not finite, skipped ({parts_text(parts)}; {shown})")
        if self.state.skipped_in_row >= self.loop.nonfinite_patience:
            raise TrainingError(
                f"{self.state.skipped_in_row} steps in a row had no finite gradient (last batch: {shown}); "
                "lower optim.lr, or look at these examples; the last good checkpoint is kept"
            )

    # -- what happens between steps

    def _after_step(self) -> bool:
        """Log, validate, save. True when the training was asked to stop."""
        state, loop = self.state, self.loop
        at_end = state.step >= loop.max_steps
        if state.step % loop.log_interval == 0 or at_end:
            self._log()
        is_due = state.step % loop.valid_interval == 0 or at_end
        if is_due:
            self._validate()
        is_stopped = distributed.any_rank(self.stop.received is not None, self.device)
        if is_due or is_stopped:
            self._save()
        if is_stopped and not at_end:
            self.report.say(f"stopped by {self.stop.received or 'another rank'} at step {state.step}; state saved")
        return is_stopped and not at_end

    def _log(self) -> None:
        means = Meter.union(distributed.gather(self.recent)).means()
        self.recent = Meter()
        state, lr = self.state, self.optimizer.param_groups[0]["lr"]
        skipped = f", {state.skipped} skipped" if state.skipped else ""
        speed = self.clock.text(self.loop.max_steps - state.step)
        where = f"step {state.step}/{self.loop.max_steps} epoch {state.epoch}"
        self.report.say(f"{where}: {parts_text(means)} lr {lr:.3g}{skipped}, {speed}")
        self.report.scalars("train", means | {"lr": lr}, state.step)

    def _validate(self) -> None:
        """Mean of the named parts over the valid set; a row of the history; the best list."""
        distributed.broadcast_buffers(self.model)
        train = Meter.union(distributed.gather(self.state.window)).means()
        self.state.window = Meter()
        valid = Meter.union(distributed.gather(self._validation_meter())).means()
        if self.loop.criterion not in valid:
            raise TrainingError(f"train.criterion '{self.loop.criterion}' is none of the parts {sorted(valid)}")
        row = {"step": self.state.step, "epoch": self.state.epoch, "lr": self.optimizer.param_groups[0]["lr"]}
        row |= {f"train_{k}": v for k, v in train.items()} | {f"valid_{k}": v for k, v in valid.items()}
        self.state.history.append(row)
        self._rank_best(valid[self.loop.criterion])
        self.report.say(f"validation at step {self.state.step}: {parts_text(valid)}")
        self.report.scalars("valid", valid, self.state.step)

    @torch.no_grad()
    def _validation_meter(self) -> Meter:
        """This rank's share of the valid set, always with the same random numbers."""
        lengths, config = self.valid_set.lengths, self.settings.batch
        budget = buckets.BatchConfig(max(config.max_frames, max(lengths)), config.max_examples)
        mine = buckets.pack(lengths, budget)[self.world.rank :: self.world.size]
        meter, swap = Meter(), self.ema.in_place_of(self.model) if self.ema is not None else nullcontext()
        self.model.eval()
        with swap, seeded(self.loop.seed):
            for batch in load_batches(self.valid_set, mine, self.settings.data.num_workers):
                meter.add(self._loss(batch)[1], len(batch))
        optim.train_mode(self.model, self.settings.freeze)
        return meter

    def _rank_best(self, value: float) -> None:
        value = value if math.isfinite(value) else math.inf
        entries = [*self.state.best, {"step": self.state.step, "value": value}]
        self.state.best = sorted(entries, key=lambda entry: (entry["value"], entry["step"]))[: self.loop.keep_best]
        self.state.stale = 0 if self.state.best[0]["step"] == self.state.step else self.state.stale + 1

    def _is_out_of_patience(self) -> bool:
        return self.loop.patience > 0 and self.state.stale >= self.loop.patience

    # -- checkpoints

    def _save(self) -> None:
        """Checkpoint on rank 0; the random generators of all ranks go into it."""
        generators = distributed.gather(random_state())
        self.state.window = Meter.union(distributed.gather(self.state.window))
        if self.world.is_main:
            self._try_to_write(generators)
        else:
            self.state.window = Meter()
        distributed.barrier()

    def _try_to_write(self, generators: list[dict[str, Any]]) -> None:
        """A full disk does not end a training at once: the earlier checkpoints are kept, the third failure is final."""
        try:
            self._write(generators)
            self.failed_saves = 0
        except CheckpointError as error:
            self.failed_saves += 1
            if self.failed_saves >= MAX_FAILED_SAVES:
                raise
            self.report.say(f"warning: {error}; training goes on")

    def _write(self, generators: list[dict[str, Any]]) -> None:
        tensors = {checkpoint.MODEL: self.model.state_dict()}
        if self.ema is not None:
            tensors[checkpoint.EMA] = self.ema.weights
        optimizer = {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
        state = asdict(self.state) | {"random": generators, "threads": torch.get_num_threads()}
        self.checkpoints.save(self.state.step, tensors, optimizer, state)
        self.report.history(self.state.history)
        best = [entry["step"] for entry in self.state.best]
        if best and best[0] == self.state.step:
            checkpoint.write_best(self.exp_dir, tensors.get(checkpoint.EMA, tensors[checkpoint.MODEL]))
        self.checkpoints.prune(best)

    def _resume(self) -> None:
        """Go on from the newest whole checkpoint, if there is one."""
        folder = distributed.share(self.checkpoints.latest() if self.world.is_main else None)
        if folder is None:
            return
        checkpoint.load_weights(self.model, folder / checkpoint.MODEL)
        if self.ema is not None:
            self.ema.load(checkpoint.load_file(folder / checkpoint.EMA))
        optimizer = checkpoint.read_optimizer(folder)
        self.optimizer.load_state_dict(optimizer["optimizer"])
        self.scaler.load_state_dict(optimizer["scaler"])
        values = checkpoint.read_state(folder)
        generators, threads = values.pop("random"), values.pop("threads", None)
        if len(generators) != self.world.size:
            raise TrainingError(f"{folder} was written by {len(generators)} processes; resume with as many")
        self.state = State.from_json(values)
        if not self.world.is_main:
            self.state.window = Meter()
        set_random_state(generators[self.world.rank])
        exact = "" if threads == torch.get_num_threads() else f" (written with {threads} threads: last bits may differ)"
        self.report.say(f"going on from {folder}{exact}")

    def _finish(self) -> None:
        """Average the best checkpoints into best.safetensors."""
        if self.world.is_main:
            folders = [self.checkpoints.folder(entry["step"]) for entry in self.state.best[: self.loop.average]]
            whole = list(self.checkpoints.whole(folders))
            checkpoint.write_best(self.exp_dir, checkpoint.average(whole))
            steps = ", ".join(folder.name for folder in whole)
            self.report.say(f"done at step {self.state.step}: best.safetensors is the mean of {steps}")
        self.report.close()
        distributed.barrier()

    def _say_hello(self) -> None:
        size, trained = (sum(p.numel() for p in ps) for ps in (self.model.parameters(), self.trained))
        sets = f"{len(self.train_set)} training and {len(self.valid_set)} validation examples"
        self.report.say(
            f"{self.settings.model}: {size / 1e6:.2f} M parameters, {trained / 1e6:.2f} M trained, "
            f"{sets}, {self.world.size} x {self.device}, amp {self.amp}, "
            f"step {self.state.step} of {self.loop.max_steps}"
        )
