"""Mixtures of any rate and length -> estimates of the same rate and length: model, codec, windows and level together.

Level: a codec may forget the level of its input, so the estimates of a mixture are scaled together, by one factor, so
that their sum has the root mean square of the mixture. Where a sample would then exceed full scale all of them are
scaled down further, together (`Separated.attenuation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codecsep.bin.estimates import COUNTS
from codecsep.bin.rendering import Rendered, Renderer
from codecsep.bin.window import SeparationError, Window
from codecsep.codecs import base as codecs
from codecsep.codecs.base import Codec
from codecsep.data import audio
from codecsep.decode.engine_options import EngineOptions
from codecsep.decode.options import DecodeOptions
from codecsep.models import base as models_base
from codecsep.models.base import Separator
from codecsep.signal import stitch
from codecsep.train import checkpoint

WAVES_PER_MIXTURE = 2  # estimates that the codec decodes at a time, for each mixture of a batch
SHORTEST_SECONDS = 0.1  # shorter mixtures are padded for the network: its front end needs a few frames


@dataclass
class Separated:
    """The estimates of one mixture [N, L] at the mixture's rate, and what happened (summed over windows)."""

    estimates: np.ndarray
    frames: list[int]  # codec frames (without a codec: samples) per speaker, each window's speakers one after the other
    counts: dict[str, int] = field(default_factory=dict)  # by their names in decode.tsv; only what the model counts
    attenuation: float = 1.0


@dataclass
class System:
    """Separator, codec and options; called with some mixtures at a time.

    The separator is given mixtures at its own rate, whatever the codec encodes; the codec's audio comes at the codec's
    `output_rate`, at which windows are joined, and goes to the mixture's rate from there.  codec: None for a separator
    that gives waveforms, which come at its own rate.
    """

    separator: Separator
    codec: Codec | None
    options: DecodeOptions
    window: Window = field(default_factory=Window)
    batch_size: int = 8
    device: str = "cpu"

    @property
    def rate(self) -> int:
        """Of the mixtures inside."""
        return self.separator.sample_rate

    @property
    def output_rate(self) -> int:
        """Of the estimates inside."""
        return self.codec.info.output_rate if self.codec else self.rate

    def __call__(self, mixtures: Sequence[tuple[np.ndarray, int]], keys: Sequence[str]) -> list[Separated]:
        """mixtures: (float32 [L], rate in Hz) each. Raises SeparationError, and what the model and the codec raise."""
        inputs = [audio.resample(samples, rate, self.rate) for samples, rate in mixtures]
        spans = [self.window.spans(len(samples), self.rate) for samples in inputs]
        pieces, names = _cut(inputs, spans, keys)
        done = iter(self._in_batches(pieces, names))
        results = []
        for (samples, rate), parts in zip(mixtures, spans, strict=True):
            windows = [next(done) for _ in parts]
            spans_out = [(self._at_output(start), self._at_output(stop)) for start, stop in parts]
            results.append(_join(windows, spans_out, self.output_rate, samples, rate))
        return results

    def _in_batches(self, pieces: list[np.ndarray], names: list[str]) -> list[Separated]:
        """Batches of similar length, or all at once for a separator that queues them; results in the order given."""
        order = sorted(range(len(pieces)), key=lambda index: len(pieces[index]))
        size = len(order) if getattr(self.separator, "queues", False) else self.batch_size
        results: dict[int, Separated] = {}
        for start in range(0, len(order), max(size, 1)):
            batch = order[start : start + size]
            found = self._batch([pieces[index] for index in batch], [names[index] for index in batch])
            results.update(zip(batch, found, strict=True))
        return [results[index] for index in range(len(pieces))]

    def _batch(self, pieces: list[np.ndarray], names: list[str]) -> list[Separated]:
        shortest = int(SHORTEST_SECONDS * self.rate)
        padded = [np.pad(piece, (0, max(shortest - len(piece), 0))) for piece in pieces]
        separations = self.separator.separate(padded, self.options, names)
        if len(separations) != len(pieces):
            what = f"the model gave {len(separations)} results for {len(pieces)} mixtures"
            raise SeparationError("E533", what, names[0], "mend `separate` of the model: one result per mixture")
        render = Renderer(self.codec, WAVES_PER_MIXTURE * self.batch_size, self.device)
        rendered = zip(render(separations, names), separations, pieces, names, strict=True)
        return [self._levelled(one, piece, separation.stats, name) for one, separation, piece, name in rendered]

    def _levelled(self, one: Rendered, piece: np.ndarray, stats: dict[str, Any], name: str) -> Separated:
        """One window: estimates of its own length, at the rate of the estimates, and of its own level."""
        if not one.waves:
            raise SeparationError("E533", "the model gave no speaker", name, "train longer, or give --min_frames 1")
        length = self._at_output(len(piece))
        estimates = match_level(np.stack([fit(wave, length) for wave in one.waves]), piece)
        counts = {name: int(stats[key]) for key, name in COUNTS.items() if key in stats}
        return Separated(estimates, one.frames, counts)

    def _at_output(self, num_samples: int) -> int:
        """A number of samples at the separator's rate, at the rate of the estimates inside."""
        return round(num_samples * self.output_rate / self.rate)


def load_separator(exp_dirs: Sequence[Path], device: str, how: EngineOptions, codec: Codec | None) -> Separator:
    """The separator of one or more experiments of one model; `how` it decodes token by token, if it does.

    Raises SeparationError, ModelError, CheckpointError, ConfigError.
    """
    modules, networks = zip(*(checkpoint.load_network(path) for path in exp_dirs), strict=True)
    names = sorted({module.__name__.rpartition(".")[2] for module in modules})
    if len(names) > 1:
        what = f"--models are of different kinds: {', '.join(names)}"
        raise SeparationError("E535", what, "", "decode them one after the other, each into its own --out")
    for network in networks:
        network.to(device)
        if codec is not None and hasattr(network, "use_codec"):
            network.use_codec(codec)
    return models_base.join(modules[0], networks, how)


def load_system(
    exp_dirs: Sequence[Path],
    codec: Path | None,
    options: DecodeOptions,
    window: Window,
    how: EngineOptions,
    device: str,
) -> System:
    """Load networks and codec (None: the separator gives waveforms), for `how.slots` mixtures at a time; device is
    "cpu", "cuda", ... or "auto": a GPU where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = codecs.load(codec, device) if codec else None
    separator = load_separator(exp_dirs, device, how, loaded)
    if getattr(separator, "gives_waves", False) == (codec is not None):
        what = "needs a codec" if codec is None else "gives waveforms at its own rate, which pass no codec"
        fix = "give --codec DIR" if codec is None else "leave --codec out (through_codec passes audio through one)"
        raise SeparationError("E532", f"the model of {exp_dirs[0]} {what}", "--codec", fix)
    return System(separator, loaded, options, window, how.slots, device)


def fit(samples: np.ndarray, length: int) -> np.ndarray:
    """Cut [.., L] or pad it with zeros at the end to exactly `length` samples."""
    kept = samples[..., :length]
    return np.pad(kept, [(0, 0)] * (kept.ndim - 1) + [(0, length - kept.shape[-1])])


def match_level(estimates: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """Scale the estimates [N, L] by one factor so that their sum has the RMS of the mixture [L]; a silent sum stays."""
    wanted, given = _rms(mixture), _rms(estimates.sum(axis=0))
    return estimates * np.float32(wanted / given) if given > 0 else estimates


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if samples.size else 0.0


def _cut(
    inputs: list[np.ndarray], spans: list[list[tuple[int, int]]], keys: Sequence[str]
) -> tuple[list[np.ndarray], list[str]]:
    """All windows of all mixtures, and a name for each: the key, with the first sample when there are several."""
    pieces, names = [], []
    for samples, parts, key in zip(inputs, spans, keys, strict=True):
        for start, stop in parts:
            pieces.append(samples[start:stop])
            names.append(key if len(parts) == 1 else f"{key}@{start}")
    return pieces, names


def _join(
    windows: list[Separated], spans: list[tuple[int, int]], inner_rate: int, mixture: np.ndarray, rate: int
) -> Separated:
    """Windows at the rate inside -> one result at the mixture's own rate, length and level."""
    estimates = windows[0].estimates
    if len(windows) > 1:
        estimates = stitch.stitch([window.estimates for window in windows], spans)
    rows = [fit(audio.resample(row, inner_rate, rate), len(mixture)) for row in estimates]
    levelled = match_level(np.stack(rows), mixture)
    peak = float(np.abs(levelled).max())
    attenuation = min(1.0, 1.0 / peak) if peak > 0 else 1.0
    return Separated(
        levelled * np.float32(attenuation),
        [frames for window in windows for frames in window.frames],
        {name: sum(window.counts[name] for window in windows) for name in windows[0].counts},
        attenuation,
    )
