"""How far a job is, for its log: utterances, audio, how many times faster than it is heard, time left."""

import sys
import time

FIRST, EVERY = 10.0, 60.0  # s: a short job says only how it ended


class Progress:
    """Lines on standard error, now and then. name: of the work; utterances, seconds: all that there is to do."""

    def __init__(self, name: str, utterances: int, seconds: float):
        self.name, self.total, self.seconds = name, utterances, seconds
        self.done, self.heard = 0, 0.0
        self.began = time.monotonic()
        self.due = self.began + FIRST

    def add(self, utterances: int, seconds: float) -> None:
        """So many utterances, and seconds of audio, more; a part of a long one counts as audio only."""
        self.done, self.heard = self.done + utterances, self.heard + seconds
        if (now := time.monotonic()) >= self.due:
            self.due = now + EVERY
            left = max(0.0, self.seconds - self.heard) / max(self.heard, 1e-9) * (now - self.began)
            self._say(f"{self.done} of {self.total} utterances, {hours(self.heard)} of {hours(self.seconds)} of audio, "
                      f"{self.speed(now):.1f} x real time, {left / 60:.0f} min left")  # fmt: skip

    def finish(self) -> None:
        """The last line."""
        now = time.monotonic()
        self._say(f"{self.done} utterances, {hours(self.heard)} of audio in {now - self.began:.1f} s: "
                  f"{self.speed(now):.1f} x real time")  # fmt: skip

    def speed(self, now: float) -> float:
        """Seconds of audio in a second."""
        return self.heard / max(now - self.began, 1e-9)

    def _say(self, text: str) -> None:
        print(f"{self.name}: {text}", file=sys.stderr, flush=True)


def hours(seconds: float) -> str:
    """12.3 s, 4.5 min or 6.78 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.2f} h"
