"""Do codes and audio last equally long? A codec may round to whole frames, up or down; more is a mix-up of files."""

from codecsep.data.ark import ArkError, CodecInfo

TOLERANCE = 1  # frame


def check_span(num_frames: int, shortest: float, longest: float, info: CodecInfo, where: str, fix: str) -> None:
    """Raise ArkError (E305) unless `num_frames` fit a signal of `shortest` to `longest` samples at the codec's rate."""
    most = longest / info.hop + max(TOLERANCE, info.chunk)
    if shortest / info.hop - TOLERANCE <= num_frames <= most and num_frames >= 1:
        return
    wanted = f"{longest:g}" if shortest == longest else f"{shortest:g} to {longest:g}"
    what = f"{num_frames} frames of {info.hop} samples; the audio has {wanted} samples at {info.sample_rate} Hz"
    raise ArkError("E305", what, where, fix)
