"""What a training tells: lines on stderr and in train.log, history.tsv, TensorBoard when it is installed."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codecsep.data import atomic


class Report:
    """Writes for rank 0 (`enabled`), is silent elsewhere."""

    def __init__(self, exp_dir: Path, enabled: bool, tensorboard: bool):
        self.exp_dir, self.enabled = Path(exp_dir), enabled
        self.writer = self._writer() if enabled and tensorboard else None

    def _writer(self) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.say("no TensorBoard curves: the package tensorboard is not installed")
            return None
        return SummaryWriter(str(self.exp_dir / "tensorboard"))

    def say(self, text: str) -> None:
        """One line with the time of day, on stderr and in train.log."""
        if not self.enabled:
            return
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"
        print(line, file=sys.stderr, flush=True)
        with open(self.exp_dir / "train.log", "a", encoding="utf-8") as log:
            log.write(line + "\n")

    def scalars(self, prefix: str, values: Mapping[str, float], step: int) -> None:
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(f"{prefix}/{name}", value, step)

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
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"


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
