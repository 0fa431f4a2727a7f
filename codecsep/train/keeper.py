"""What of a training goes into its checkpoints, and taking it up again; its result, best.safetensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codecsep.faults import faultpoint
from codecsep.train import checkpoint, distributed, store
from codecsep.train.checkpoint import EMA, MODEL
from codecsep.train.distributed import World
from codecsep.train.ema import MovingAverage
from codecsep.train.report import Report
from codecsep.train.settings import TrainConfig
from codecsep.train.state import Meter, State, random_state, seed_everything, set_random_state
from codecsep.train.store import CheckpointError, Checkpoints
from codecsep.train.unchanged import ResumeError

MAX_FAILED_SAVES = 3


@dataclass
class Parts:
    """All that changes from step to step, besides the random generators."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: MovingAverage | None
    state: State


class Keeper:
    """Writes checkpoints, goes on from them, writes the result. All ranks call it alike; only rank 0 writes."""

    def __init__(self, exp_dir: Path, settings: TrainConfig, world: World, report: Report):
        self.exp_dir, self.loop, self.world, self.report = Path(exp_dir), settings.train, world, report
        self.checkpoints = Checkpoints(self.exp_dir / "checkpoints", settings.model, report.say)
        self.failed_saves = 0

    def save(self, parts: Parts) -> None:
        """Checkpoint on rank 0; the random generators and sums of all ranks go into it."""
        state = parts.state
        generators = distributed.gather(random_state())
        state.window = Meter.union(distributed.gather(state.window))
        if self.world.is_main:
            self._try_to_write(parts, generators)
        else:
            state.window = Meter()
        distributed.barrier()

    def _try_to_write(self, parts: Parts, generators: list[dict[str, Any]]) -> None:
        """A full disk does not end a training at once: the earlier checkpoints are kept, the third failure is final."""
        try:
            self._write(parts, generators)
            self.failed_saves = 0
        except CheckpointError as error:
            self.failed_saves += 1
            if self.failed_saves >= MAX_FAILED_SAVES:
                what = f"{self.failed_saves} checkpoints in a row could not be written: {error.what}"
                raise CheckpointError("E411", what, error.where, error.fix) from error
            self.report.say(f"warning: {error}; training goes on with the earlier checkpoints")

    def _write(self, parts: Parts, generators: list[dict[str, Any]]) -> None:
        """Raises CheckpointError (E410). What tables tell is written before the checkpoint that it leads to."""
        state, best = parts.state, [int(entry["step"]) for entry in parts.state.best]
        tensors = {MODEL: parts.model.state_dict()}
        if parts.ema is not None:
            tensors[EMA] = parts.ema.weights
        optimizer = {"optimizer": parts.optimizer.state_dict(), "scaler": parts.scaler.state_dict()}
        values = asdict(state) | {"random": generators, "threads": torch.get_num_threads()}
        with _named(self.exp_dir):
            self.report.force()
        self.checkpoints.save(state.step, tensors, optimizer, values)
        with _named(self.exp_dir):
            faultpoint("ckpt.before_best")
            self.report.history(state.history)
            if best and best[0] == state.step:
                checkpoint.write_best(self.exp_dir, tensors.get(EMA, tensors[MODEL]))
        self.checkpoints.prune(best, self.loop.keep_last)

    def resume(self, parts: Parts) -> None:
        """Go on from the newest whole checkpoint, if there is one. Fills `parts`.

        Raises CheckpointError (E402, E412, E430), WeightsError (E440), ResumeError (E421).
        """
        folder = distributed.share(self._newest() if self.world.is_main else None)
        if isinstance(folder, Exception):
            raise folder
        if folder is None:
            self.report.go_on_from(0)
            return
        values = store.read_state(folder)
        generators, threads = values.pop("random"), values.pop("threads")
        self._check_same_machine(folder, len(generators), threads, parts)
        checkpoint.load_weights(parts.model, folder / MODEL)
        if parts.ema is not None:
            parts.ema.load(checkpoint.read_weights(folder / EMA))
        optimizer = store.read_optimizer(folder)
        parts.optimizer.load_state_dict(optimizer["optimizer"])
        parts.scaler.load_state_dict(optimizer["scaler"])
        parts.state = State.from_json(values)
        if not self.world.is_main:
            parts.state.window = Meter()
        self._set_generators(generators, parts.state)
        self.report.go_on_from(parts.state.step)
        self.report.say(f"going on from {folder}")

    def _newest(self) -> Path | CheckpointError | None:
        """Errors are handed on, so that all ranks raise them."""
        try:
            self.checkpoints.probe()
            return self.checkpoints.newest()
        except CheckpointError as error:
            return error

    def _check_same_machine(self, folder: Path, ranks: int, threads: int, parts: Parts) -> None:
        """Sums run in another order on other numbers of processes or (CPU) threads: other bits, after some steps other
        numbers."""
        changed = [f"{ranks} processes, now {self.world.size}"] if ranks != self.world.size else []
        on_cpu = next(parts.model.parameters()).device.type == "cpu"
        if on_cpu and threads != torch.get_num_threads():
            changed.append(f"{threads} threads, now {torch.get_num_threads()}")
        if not changed:
            return
        what = f"was written by {' and '.join(changed)}: the numbers would not be those of an uninterrupted run"
        fix = "start as many (OMP_NUM_THREADS sets the threads), or allow it: --train.allow_inexact_resume true"
        error = ResumeError("E421", what, folder, fix)
        if not self.loop.allow_inexact_resume:
            raise error
        self.report.say(f"warning: {error}")

    def _set_generators(self, generators: list[dict[str, Any]], state: State) -> None:
        """Each rank's own. With another number of ranks new ones are seeded, and the place in the epoch is scaled."""
        if len(generators) == self.world.size:
            set_random_state(generators[self.world.rank])
            return
        seed_everything(self.loop.seed + self.world.rank + 1000003 * state.step)
        state.position = state.position * len(generators) // self.world.size

    def finish(self, parts: Parts) -> None:
        """Average the best checkpoints into best.safetensors, and write the tables."""
        if self.world.is_main:
            folders = [self.checkpoints.folder(int(entry["step"])) for entry in parts.state.best[: self.loop.average]]
            whole = self.checkpoints.whole(folders)
            if self.failed_saves and not whole:
                what = "none of the best checkpoints could be written, so there is no result"
                raise CheckpointError("E411", what, self.exp_dir, "free some space and run the same command again")
            checkpoint.write_best(self.exp_dir, checkpoint.average([store.weights_file(folder) for folder in whole]))
            self.report.history(parts.state.history)
            self.report.force()
            steps = ", ".join(folder.name for folder in whole)
            self.report.say(f"done at step {parts.state.step}: best.safetensors is the mean of {steps}")
        distributed.barrier()


@contextmanager
def _named(exp_dir: Path) -> Iterator[None]:
    """What cannot be written into `exp_dir` is a CheckpointError (E410)."""
    try:
        yield
    except store.WRITING_FAILS as error:
        raise store.not_written(exp_dir / checkpoint.BEST, error) from error
