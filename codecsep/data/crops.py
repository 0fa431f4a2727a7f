"""Random crops of single-source audio, for training a codec: the field `wav`, held as int16 in memory."""

from pathlib import Path

import numpy as np

from codecsep.data import audio
from codecsep.data.datadir import read_table
from codecsep.errors import CodecsepError

FRAME_SECONDS = 0.02  # the unit of `lengths`; all crops are equally long, so only the batch budget depends on it


class CropError(CodecsepError):
    """A directory from which no crops can be taken; the message says which stage makes it."""


class CropDataset:
    """`epoch_size` crops per epoch of the prompts in `sources_dir/wav.scp`.

    Item i of epoch e is a pure function of (seed, e, i), whatever the number of workers. A prompt is drawn in
    proportion to its length; one that is too short is followed by further prompts until the crop is full.
    """

    def __init__(self, sources_dir: Path, crop_seconds: float, epoch_size: int, seed: int):
        """Reads all audio at once. Raises CropError without wav.scp or audio; rates must agree."""
        if crop_seconds <= 0 or epoch_size <= 0:
            what = f"crop_seconds is {crop_seconds}, epoch_size is {epoch_size}"
            raise CropError("E803", what, "data", "both must be above 0")
        scp = Path(sources_dir) / "wav.scp"
        if not scp.is_file():
            raise CropError("E106", "no such file", scp, "run --stage 0 to make the data directories")
        self.ids, self.signals, self.rate = _read_all(scp)
        self.size = round(crop_seconds * self.rate)
        self.epoch_size, self.seed, self.epoch = epoch_size, seed, 0
        sizes = np.array([len(signal) for signal in self.signals], dtype=np.float64)
        self.cumulative = np.cumsum(sizes / sizes.sum())

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.epoch_size

    @property
    def lengths(self) -> list[int]:
        """Frames of 20 ms of each crop."""
        return [round(self.size / self.rate / FRAME_SECONDS)] * self.epoch_size

    def __getitem__(self, index: int) -> dict:
        """{"id": prompt and start sample, "wav": float32 [crop_seconds * rate]}."""
        random = np.random.default_rng((self.seed, self.epoch, index))
        first = self._draw(random)
        start = int(random.integers(0, max(1, len(self.signals[first]) - self.size + 1)))
        pieces = [self.signals[first][start : start + self.size]]
        while (missing := self.size - sum(map(len, pieces))) > 0:
            pieces.append(self.signals[self._draw(random)][:missing])
        wav = np.concatenate(pieces).astype(np.float32) / audio.FULL_SCALE
        return {"id": f"{self.ids[first]}@{start}", "wav": wav}

    def _draw(self, random: np.random.Generator) -> int:
        return min(int(np.searchsorted(self.cumulative, random.random(), side="right")), len(self.ids) - 1)


def _read_all(scp: Path) -> tuple[list[str], list[np.ndarray], int]:
    """Ids, int16 signals and their common rate."""
    table = read_table(scp)
    audio.require_readable(table, scp)
    signals: list[np.ndarray] = []
    rate = None
    for key, path in table.items():
        samples, own = audio.read_audio(path)
        if rate not in (None, own):
            raise CropError("E221", f"'{key}' has {own} Hz, earlier ones {rate} Hz", scp, "resample in stage 0")
        rate = own
        signals.append(audio.to_int16(samples))
    return list(table), signals, rate
