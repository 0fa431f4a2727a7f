"""A limit on the time that a piece of work may take. Off in every recipe: what it cuts depends on the machine."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class OutOfTimeError(Exception):
    """The work inside `deadline` took too long."""


@contextlib.contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise OutOfTimeError in the block once it has run for so many seconds; None or 0: never.

    By SIGALRM, so in the main thread only; a single call into compiled code is not cut, the loop over tokens is.
    """
    if not seconds:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTimeError(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
