"""What a training does with steps and utterances that cannot be used: name them, leave them out, stop when it goes on.

exp/x/bad_batches/step-000123.json   the ids and losses of every rank in a step that was left out
exp/x/skipped.tsv                    utterances that could not be read: id, stage, code, reason
"""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from codecsep.data import atomic
from codecsep.errors import CodecsepError
from codecsep.train import distributed
from codecsep.train.batches import Failure
from codecsep.train.flags import Vote
from codecsep.train.report import Report, parts_text
from codecsep.train.settings import TrainConfig
from codecsep.train.state import State

MAX_TOO_LARGE = 3  # batches of an epoch, on all ranks, that do not fit into memory
MAX_SHARE = 0.01  # of the steps of an epoch, and of its utterances, that may be left out
SHOWN = 8  # ids in a line of the log
SKIPPED = ("id", "stage", "code", "reason")


class TrainingError(CodecsepError):
    """A training that cannot go on; the last good checkpoint is kept."""


class Guard:
    """Counts and limits of one training. All ranks call it alike; only rank 0 writes."""

    def __init__(self, exp_dir: Path, settings: TrainConfig, report: Report):
        self.exp_dir, self.report = Path(exp_dir), report
        self.data, self.loop, self.batch = settings.data, settings.train, settings.batch

    # -- utterances

    def readable(self, batch: Sequence[Any], state: State) -> list[dict[str, Any]]:
        """The examples of a batch that could be read. Raises the error of one that could not, unless they are to be
        skipped; the skipped ones go into `state.unreadable`."""
        good = []
        for example in batch:
            if not isinstance(example, Failure):
                good.append(example)
            elif self.data.on_bad_data == "fail" or not example.is_bad_data():
                raise example.raised(f"epoch {state.epoch}, step {state.step + 1}")
            else:
                code = getattr(example.error, "code", "E603")
                state.unreadable.setdefault(example.name, [code, " ".join(str(example.error).split())])
        return good

    def count_missing(self, votes: Sequence[Vote], state: State, examples: int) -> None:
        """Write skipped.tsv when utterances of this step could not be read, on any rank; `examples`: of an epoch.

        Raises TrainingError (E605) when there are too many of them in this epoch.
        """
        missing = sum(vote.missing for vote in votes)
        if not missing:
            return
        state.missing_in_epoch += missing
        for found in distributed.gather(state.unreadable):
            state.unreadable |= {key: value for key, value in found.items() if key not in state.unreadable}
        state.unreadable = dict(sorted(state.unreadable.items()))
        self._write_skipped(state)
        self.report.say(f"step {state.step + 1}: {missing} utterances cannot be read and are left out; see skipped.tsv")
        if state.missing_in_epoch > MAX_SHARE * examples:
            what = f"{state.missing_in_epoch} of the {examples} utterances of epoch {state.epoch} cannot be read"
            fix = f"mend those in {self.exp_dir / 'skipped.tsv'}; at most {MAX_SHARE:.0%} may be left out"
            raise TrainingError("E605", what, self.exp_dir, fix)

    def _write_skipped(self, state: State) -> None:
        rows = [SKIPPED, *((key, "train", code, reason) for key, (code, reason) in state.unreadable.items())]
        self._write(self.exp_dir / "skipped.tsv", "".join("\t".join(row) + "\n" for row in rows))

    # -- steps

    def reason(self, votes: Sequence[Vote]) -> str:
        """Why the step cannot be used, before gradients are added up; empty when it can. The same on all ranks."""
        if any(vote.is_given_up for vote in votes):
            return "a batch does not fit into memory, nor do its halves"
        if any(vote.is_nonfinite for vote in votes):
            return "the loss is not finite"
        if all(vote.weight == 0 for vote in votes):
            return "no utterance of it can be read"
        return ""

    def count_memory(self, votes: Sequence[Vote], state: State) -> None:
        """Count batches that did not fit into memory. Raises TrainingError (E520) when an epoch has too many."""
        too_large = sum(vote.too_large for vote in votes)
        if not too_large:
            return
        state.too_large_in_epoch += too_large
        ranks = ", ".join(str(rank) for rank, vote in enumerate(votes) if vote.too_large)
        self.report.say(f"step {state.step + 1}: out of memory on rank {ranks}; a batch is taken in halves")
        if state.too_large_in_epoch > MAX_TOO_LARGE:
            what = f"{state.too_large_in_epoch} batches of epoch {state.epoch} did not fit into memory"
            fix = f"lower batch.max_frames (now {self.batch.max_frames}) and raise train.accum in return"
            raise TrainingError("E520", what, f"step {state.step + 1}", fix)

    def skip(self, reason: str, ids: list[str], parts: Sequence[Mapping[str, float]], state: State, steps: int) -> None:
        """A step was left out on all ranks: name its utterances, write them down, stop when it goes on.

        parts: of each batch of this rank; steps: of the epoch. Raises TrainingError (E501, or E520 for memory).
        """
        state.skipped += 1
        state.skipped_in_row += 1
        state.skipped_in_epoch += 1
        state.skipped_in_window += 1
        everyone = distributed.gather({"ids": ids, "parts": [_speakable(part) for part in parts]})
        content = {"step": state.step, "epoch": state.epoch, "reason": reason, "ranks": everyone}
        self._write(self.exp_dir / "bad_batches" / f"step-{state.step:06d}.json", json.dumps(content, indent=1) + "\n")
        shown = [f"rank {rank}: {_some(one['ids'])}" for rank, one in enumerate(everyone)]
        losses = "; ".join(parts_text(part) for part in parts)
        self.report.say(f"step {state.step}: {reason}, skipped ({losses or 'no loss'}; {'; '.join(shown)})")
        self._check_patience(reason, _some(everyone[0]["ids"]), state, steps)

    def count_overflow(self, state: State, scale: float) -> None:
        """A step was left out because the loss scale of fp16 was too large: nothing is wrong with its utterances."""
        state.skipped += 1
        state.skipped_in_window += 1
        self.report.say(f"step {state.step}: fp16 overflow, skipped; the loss scale is now {scale:g}")

    def _check_patience(self, reason: str, shown: str, state: State, steps: int) -> None:
        patience = self.loop.nonfinite_patience
        limit = max(patience, math.floor(MAX_SHARE * steps))
        if state.skipped_in_row >= patience:
            what = f"{state.skipped_in_row} steps in a row could not be used: {reason} (last batch: {shown})"
        elif state.skipped_in_epoch > limit:
            what = f"{state.skipped_in_epoch} of {steps} steps of epoch {state.epoch} could not be used: {reason}"
        else:
            return
        fix = f"lower optim.lr, or look at {self.exp_dir / 'bad_batches'}; the last good checkpoint is kept"
        raise TrainingError("E501", what, f"step {state.step}", fix)

    def _write(self, path: Path, text: str) -> None:
        """Evidence: a full disk does not end the training for its sake."""
        if self.report.enabled:
            with suppress(OSError, atomic.DiskError):
                atomic.write_text(path, text)


def _speakable(parts: Mapping[str, float]) -> dict[str, float | str]:
    """Parts as JSON has them: it knows no NaN."""
    return {name: value if math.isfinite(value) else str(value) for name, value in parts.items()}


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")
