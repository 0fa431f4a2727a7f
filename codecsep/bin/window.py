"""How long recordings are cut; apart from `separation`, so that a finished stage 6 says so without loading networks."""

from __future__ import annotations

from dataclasses import dataclass

from codecsep.errors import CodecsepError


class SeparationError(CodecsepError):
    """Networks, codec and windows that do not fit together, or a model that gave no speaker."""


@dataclass(frozen=True)
class Window:
    """Mixtures longer than `seconds` are cut into windows of this length; None: never."""

    seconds: float | None = None
    overlap_seconds: float = 2.0

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 <= self.overlap_seconds < self.seconds:
            what = f"windows of {self.seconds} s cannot overlap by {self.overlap_seconds} s"
            raise SeparationError("E860", what, "--window", "--window must be longer than --overlap")

    def spans(self, num_samples: int, rate: int) -> list[tuple[int, int]]:
        """(start, stop) in samples of the windows of a recording."""
        from codecsep.signal import stitch

        if self.seconds is None:
            return [(0, num_samples)]
        return stitch.windows(num_samples, round(self.seconds * rate), round(self.overlap_seconds * rate))
