"""A request to stop, by signal. Imports nothing heavy, so that the handler stands before torch is loaded."""

import signal
import types

EXIT_STOPPED = 85  # a cluster script requeues the job on this status; the same command goes on where it stopped


class StopFlag:
    """SIGTERM, SIGUSR1 (Slurm's `--signal`) and Ctrl-C set a flag; the trainer looks at it once per step."""

    def __init__(self):
        self.received: str | None = None

    def install(self) -> "StopFlag":
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: types.FrameType | None) -> None:
        if number == signal.SIGINT and self.received == "SIGINT":
            raise KeyboardInterrupt  # Ctrl-C a second time: do not wait for the end of the step
        self.received = signal.Signals(number).name
