"""Mixing clean sources into mixtures by the rules of LibriMix (Cosentino et al., 2020), static and dynamic.

Each source gets a loudness drawn uniformly in [-33, -25] LUFS (ITU-R BS.1770, pyloudnorm); a source that would reach
full scale is scaled to a peak of 0.9 instead; a mixture whose peak is above 0.9 is scaled down, its sources with it.
Mode "max" pads the shorter sources with zeros at their end, "min" cuts all to the shortest. `max_offset`, a delay of
the speakers after the first, is an extension of ours: LibriMix starts all sources at 0.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codecsep.data.audio import AudioError, check_signal
from codecsep.data.datadir import DataDir, DataDirError
from codecsep.errors import CodecsepError

MODES = ("max", "min")
MAX_PEAK = 0.9
GATING_BLOCK = 0.4  # s, BS.1770
FRAME = 0.02  # s, frame of the onset rule and grid of the delays
ONSET_RANGE = 1e-4  # energy ratio of -40 dB


class MixingError(CodecsepError):
    """Sources or options that cannot be mixed."""


@dataclass(frozen=True)
class Config:
    """How mixtures are drawn."""

    num_speakers: int = 2
    mode: str = "max"
    min_loudness: float = -33.0  # LUFS
    max_loudness: float = -25.0  # LUFS
    max_offset: float = 0.0  # s; the speakers after the first start at a time drawn in [0, max_offset]

    def __post_init__(self):
        if self.num_speakers < 1:
            raise MixingError("E803", f"num_speakers is {self.num_speakers}", "mixing", "give 1 or more")
        if self.min_loudness > self.max_loudness:
            what = f"min_loudness {self.min_loudness} is above max_loudness {self.max_loudness}"
            raise MixingError("E803", what, "mixing", "give a range in LUFS, the lower end first")
        if self.max_offset < 0:
            raise MixingError("E803", f"max_offset is {self.max_offset} s", "mixing", "give 0 or more")
        check_mode(self.mode)


@dataclass(frozen=True)
class Draw:
    """One mixture to be made: which utterances, how loud, how late. All lists run over the speakers."""

    ids: list[str]
    gains: list[float]  # linear, before the clipping guard of `mix`
    offsets: list[float]  # s, multiples of 20 ms
    order: list[int]  # speaker indices from 0 in SOT order


def check_mode(mode: str) -> None:
    """Raise MixingError unless `mode` is one of MODES."""
    if mode not in MODES:
        raise MixingError("E803", f"mode is {mode!r}", "mixing", f"choose one of {', '.join(MODES)}")


def loudness(samples: np.ndarray, rate: int) -> float:
    """Integrated loudness in LUFS of [L] samples (ITU-R BS.1770-4, pyloudnorm).

    A signal shorter than the gating block of 400 ms is repeated up to it, which keeps its level.
    Raises AudioError when nothing is louder than the gate at -70 LUFS (digital silence).
    """
    check_signal(samples, "loudness: signal")
    needed = int(np.ceil(GATING_BLOCK * rate))
    if len(samples) < needed:
        samples = np.tile(samples, -(-needed // len(samples)))
    with np.errstate(divide="ignore"):
        value = float(_meter(rate).integrated_loudness(samples))
    if not np.isfinite(value):
        fix = "leave it out: it cannot be a source of a mixture"
        raise AudioError("E211", "the signal is silent (below -70 LUFS)", "loudness", fix)
    return value


def source_gain(lufs: float, peak: float, target: float) -> float:
    """Linear gain that brings a source from `lufs` to `target` LUFS, or to a peak of 0.9 when it would clip."""
    gain = 10 ** ((target - lufs) / 20)
    return MAX_PEAK / peak if peak * gain >= 1 else gain


def combine(
    sources: Sequence[np.ndarray], gains: Sequence[float], mode: str = "max", offsets: Sequence[int] = ()
) -> np.ndarray:
    """Scale and align the sources: list of [L_j] -> float32 [N, L]; their sum is the mixture.

    offsets: delay of each source in samples (none when empty). L is that of the longest (max) or shortest (min) delayed
    source. Raises MixingError on an unknown mode or lists of different lengths.
    """
    check_mode(mode)
    offsets = list(offsets) or [0] * len(sources)
    if not sources or not len(sources) == len(gains) == len(offsets):
        what = f"{len(sources)} sources, {len(gains)} gains, {len(offsets)} offsets"
        raise MixingError("E231", what, "mixture", "one each is needed, and at least one source")
    ends = [offset + len(source) for source, offset in zip(sources, offsets, strict=True)]
    length = max(ends) if mode == "max" else min(ends)
    if length <= max(offsets):
        what = f"a source starts at sample {max(offsets)}, the {mode} mixture ends at {length}"
        raise MixingError("E231", what, "mixture", "delay it less")
    scaled = np.zeros((len(sources), length), np.float32)
    for row, source, gain, offset in zip(scaled, sources, gains, offsets, strict=True):
        part = source[: max(0, length - offset)]
        row[offset : offset + len(part)] = np.asarray(part, np.float32) * np.float32(gain)
    return scaled


def clipping_weight(mixture: np.ndarray) -> float:
    """The factor that brings a mixture [L] with a peak above 0.9 down to 0.9; 1.0 for a quieter one."""
    peak = float(np.abs(mixture).max())
    return MAX_PEAK / peak if peak > MAX_PEAK else 1.0


def mix(
    sources: Sequence[np.ndarray], gains: Sequence[float], mode: str = "max", offsets: Sequence[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Mixture [L] and scaled sources [N, L], float32, after the clipping guard; the sources sum to the mixture.

    As in LibriMix the guard looks at the mixture of the full lengths, so both modes share their gains.
    """
    full = combine(sources, gains, "max", offsets)
    weight = clipping_weight(full.sum(axis=0))
    scaled = combine(sources, [gain * weight for gain in gains], mode, offsets)
    return scaled.sum(axis=0), scaled


def onset(source: np.ndarray, rate: int) -> float:
    """Start in s of the first 20 ms frame of [L] with an energy above -40 dB of the loudest frame.

    Raises AudioError when the source is silent.
    """
    check_signal(source, "onset: signal")
    size = round(FRAME * rate)
    frames = np.pad(np.asarray(source, np.float64), (0, -len(source) % size)).reshape(-1, size)
    energy = (frames**2).sum(axis=1)
    if energy.max() == 0:
        fix = "leave it out: it cannot be a source of a mixture"
        raise AudioError("E211", "the signal is silent", "onset", fix)
    return int(np.argmax(energy > energy.max() * ONSET_RANGE)) * FRAME


def sot_order(sources: Sequence[np.ndarray], rate: int) -> list[int]:
    """Speaker indices from 0 in the order of serialised output training: earlier onset first, ties to the louder.

    sources: list of [L_j] as they sound in the mixture (scaled, delayed). (first in, first out: Kanda et al., 2020)
    """
    return order_by([onset(source, rate) for source in sources], [loudness(source, rate) for source in sources])


def order_by(onsets: Sequence[float], levels: Sequence[float]) -> list[int]:
    """Indices sorted by onset (s, compared on the grid of 20 ms), then by falling level (LUFS), then by index."""
    keys = [(round(start / FRAME), -level) for start, level in zip(onsets, levels, strict=True)]
    return sorted(range(len(keys)), key=keys.__getitem__)


class DynamicMixer:
    """Seeded endless supply of mixtures out of a directory of single sources; item (epoch, index) is always the same.

    Reads only the tables utt2spk, utt2lufs, utt2peak, utt2onset of `sources_dir`; the audio is the caller's. The
    speakers of a mixture are different persons, drawn uniformly; then an utterance of each, uniformly.
    """

    def __init__(self, sources_dir: str, config: Config, seed: int = 0):
        self.config, self.seed = config, seed
        directory = DataDir(sources_dir)
        self._lufs, self._peak, self._onset = (directory.floats(name) for name in ("utt2lufs", "utt2peak", "utt2onset"))
        self._utterances: dict[str, list[str]] = {}
        for utterance, speaker in sorted(directory.table("utt2spk").items()):
            self._utterances.setdefault(speaker, []).append(utterance)
        if len(self._utterances) < config.num_speakers:
            what = f"holds {len(self._utterances)} speakers, num_speakers is {config.num_speakers}"
            raise DataDirError("E108", what, sources_dir, "lower num_speakers or prepare more voices")

    def item(self, epoch: int, index: int, speakers: Sequence[str] = ()) -> Draw:
        """The mixture `index` of `epoch`; `speakers` fixes the persons (balanced test sets), else they are drawn."""
        generator = np.random.default_rng([self.seed, epoch, index])
        if not speakers:
            speakers = generator.choice(list(self._utterances), self.config.num_speakers, replace=False)
        ids = [str(generator.choice(self._utterances[str(speaker)])) for speaker in speakers]
        targets = generator.uniform(self.config.min_loudness, self.config.max_loudness, len(ids))
        gains = [source_gain(self._lufs[key], self._peak[key], float(t)) for key, t in zip(ids, targets, strict=True)]
        offsets = self._offsets(generator, len(ids))
        onsets = [offset + self._onset[key] for offset, key in zip(offsets, ids, strict=True)]
        levels = [self._lufs[key] + 20 * float(np.log10(gain)) for key, gain in zip(ids, gains, strict=True)]
        return Draw(ids, gains, offsets, order_by(onsets, levels))

    def _offsets(self, generator: np.random.Generator, count: int) -> list[float]:
        """0 for the first speaker, a multiple of 20 ms up to max_offset for the others."""
        steps = generator.integers(0, int(self.config.max_offset / FRAME + 1e-9) + 1, count)
        return [0.0] + [int(step) * FRAME for step in steps[1:]]


def load() -> None:
    """Import what `loudness` and resampling need (0.5 s), before processes are forked that would each do so."""
    import pyloudnorm  # noqa: F401
    import scipy.signal  # noqa: F401


@functools.cache
def _meter(rate: int):
    import pyloudnorm

    return pyloudnorm.Meter(rate)
