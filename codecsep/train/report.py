"""What a training tells: lines on stderr and in train.log, history.tsv, losses.tsv, TensorBoard when it is installed.

    history.tsv   a row per validation; losses.tsv: a row per step, loss and learning rate as exact hexadecimal floats

Both hold no times: they are the same bytes whether the training was interrupted or not.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from codecsep.data import atomic

LOSSES = ("step", "epoch", "loss", "lr", "loss_hex", "lr_hex")


class Report:
    """Writes for rank 0 (`enabled`), is silent elsewhere."""

    def __init__(self, exp_dir: Path, enabled: bool, tensorboard: bool):
        self.exp_dir, self.enabled = Path(exp_dir), enabled
        self.rows: list[str] = []  # of losses.tsv, not written yet
        self.writer = self._writer() if enabled and tensorboard else None

    def _writer(self) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.say("no TensorBoard curves: the package tensorboard is not installed")
            return None
        return SummaryWriter(str(self.exp_dir / "tensorboard"))

    def say(self, text: str) -> None:
        """One line with the time of day, on stderr and in train.log (which a full disk leaves as it is)."""
        if not self.enabled:
            return
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"
        print(line, file=sys.stderr, flush=True)
        with suppress(OSError), open(self.exp_dir / "train.log", "a", encoding="utf-8") as log:
            log.write(line + "\n")

    def scalars(self, prefix: str, values: Mapping[str, float], step: int) -> None:
        if self.writer is None:
            return
        try:
            for name, value in values.items():
                self.writer.add_scalar(f"{prefix}/{name}", value, step)
        except OSError as error:
            self.writer = None
            self.say(f"warning: no more TensorBoard curves ({error})")

    def loss(self, step: int, epoch: int, loss: float, lr: float) -> None:
        """A row of losses.tsv; written with the next `force`."""
        if self.enabled:
            self.rows.append(f"{step}\t{epoch}\t{loss:.6g}\t{lr:.6g}\t{loss.hex()}\t{lr.hex()}\n")

    def force(self) -> None:
        """Append the rows of losses.tsv, to the disk: they belong to the checkpoint that is written next.

        Raises OSError when the disk is full; the rows are kept for the next time.
        """
        if not self.rows:
            return
        path = self.exp_dir / "losses.tsv"
        size = path.stat().st_size if path.exists() else 0
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write("".join(["\t".join(LOSSES) + "\n"] * (size == 0) + self.rows))
            atomic.force(path)
        except OSError:
            os.truncate(path, size)
            raise
        self.rows = []

    def go_on_from(self, step: int) -> None:
        """Drop the rows of losses.tsv behind a step, and what a kill cut: those steps are made again."""
        self.rows = []
        path = self.exp_dir / "losses.tsv"
        if not self.enabled or not path.exists():
            return
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept = [line for line in lines[1:] if line.endswith("\n") and int(line.partition("\t")[0]) <= step]
        atomic.write_text(path, "".join(["\t".join(LOSSES) + "\n", *kept]))

    def history(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write all rows as history.tsv, one per validation; columns in order of first appearance."""
        if not self.enabled:
            return
        columns = list(dict.fromkeys(name for row in rows for name in row))
        lines = ["\t".join(columns)]
        lines += ["\t".join(_cell(row.get(name)) for name in columns) for row in rows]
        atomic.write_text(self.exp_dir / "history.tsv", "\n".join(lines) + "\n")

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def _cell(value: float | None) -> str:
    """Shortest text that reads back as the very number."""
    return "" if value is None else repr(value)


def parts_text(parts: Mapping[str, float]) -> str:
    """{"loss": 1.23456} -> "loss 1.235"."""
    return " ".join(f"{name} {value:.4g}" for name, value in parts.items())


class Clock:
    """Speed and remaining time since the last look."""

    def __init__(self):
        self.since, self.frames, self.steps = time.monotonic(), 0, 0

    def add(self, frames: int) -> None:
        self.frames += frames
        self.steps += 1

    def text(self, remaining_steps: int) -> str:
        """ "1234 frames/s, 0:12:34 left", and start anew."""
        seconds = max(1e-6, time.monotonic() - self.since)
        left = round(remaining_steps * seconds / max(1, self.steps))
        text = f"{self.frames / seconds:.0f} frames/s, {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
        self.since, self.frames, self.steps = time.monotonic(), 0, 0
        return text
