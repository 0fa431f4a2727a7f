"""Latents of a codec <-> Kaldi ark/scp: float32 `[T, D]`, on disk as in memory, finite, with checksums (`records`)."""

import numpy as np

from codecsep.data.codec_info import ArkError
from codecsep.data.records import RecordReader, RecordWriter


class LatentWriter(RecordWriter):
    """Writes latents [T, D]."""

    def rows(self, key: str, values: np.ndarray) -> np.ndarray:
        """Floating-point [T, D], as float32. Raises ArkError on another shape or type (E305), on NaN or Inf (E309)."""
        if values.ndim != 2 or 0 in values.shape or values.dtype.kind != "f":
            what = f"latents must be floats [T, D], not empty; got {list(values.shape)} of {values.dtype}"
            raise ArkError("E305", what, key, "give the latents of the codec as they are")
        rows = values.astype("<f4", order="C", copy=False)
        if bad := np.count_nonzero(~np.isfinite(rows)):
            what = f"{bad} of {rows.size} latents are NaN or infinite"
            raise ArkError("E309", what, key, "look at the recording, and at the codec with bin/score_codec")
        return np.ascontiguousarray(rows)


class LatentReader(RecordReader):
    """Read-only mapping utterance id -> float32 [T, D] over an scp file of ours."""

    UNIT = "D"

    def __getitem__(self, key: str) -> np.ndarray:
        """Raises ArkError on every fault in the files, and on NaN or Inf (E309)."""
        rows = self.rows(key)
        if not np.isfinite(rows).all():
            raise self._error("E309", key, "NaN or infinite values")
        return rows.astype(np.float32)  # a copy that is aligned and may be written to
