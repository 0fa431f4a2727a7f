"""Small pictures as PNG bytes: spectrograms, and strips of level-0 tokens."""

from __future__ import annotations

import colorsys
import io

import numpy as np

from codecsep.metrics.weights import no_package

HEIGHT = 96  # pixels of a spectrogram: frequency up to half the rate
RANGE = 60.0  # dB that are shown below the loudest point
ANCHORS = ((0, 0, 12), (58, 16, 96), (150, 40, 110), (222, 80, 62), (250, 170, 40), (252, 250, 170))


def spectrogram(samples: np.ndarray, rate: int, pixels_per_second: int = 100) -> bytes:
    """dB spectrogram of [L] as a PNG with one column per 10 ms; black where 60 dB below the loudest point."""
    n_fft, hop = 2 * HEIGHT * 2, max(1, rate // pixels_per_second)
    padded = np.pad(samples.astype(np.float32), (n_fft // 2, n_fft))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[: samples.size + 1 : hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(n_fft), axis=-1)[:, : 2 * HEIGHT]) ** 2
    power = power.reshape(len(power), HEIGHT, 2).mean(-1)
    decibel = 10 * np.log10(power + 1e-10)
    level = np.clip((decibel - max(float(decibel.max()), -40.0)) / RANGE + 1, 0, 1)
    return _png(_palette()[np.round(level.T[::-1] * 255).astype(np.uint8)])


def tokens(ids: np.ndarray, reference: np.ndarray | None = None, cell: int = 4, height: int = 18) -> bytes:
    """Strip of token ids [T], one colour per id, `cell` pixels a frame; with a reference a line of agreement below.

    The line is green where the id equals the reference's at the same frame, grey elsewhere.
    """
    colours = np.array([_colour(int(i)) for i in ids], dtype=np.uint8).reshape(1, -1, 3)
    rows = [np.repeat(colours, height, axis=0)]
    if reference is not None:
        fitted = np.full(len(ids), -1)
        fitted[: min(len(ids), len(reference))] = reference[: len(ids)]
        agree = np.where((fitted == ids)[:, None], (40, 160, 70), (205, 205, 205)).astype(np.uint8)
        rows.append(np.repeat(agree[None], 6, axis=0))
    return _png(np.repeat(np.concatenate(rows), cell, axis=1))


def _colour(token: int) -> tuple[int, int, int]:
    """Neighbouring ids get far hues (golden ratio), so that equal ids are seen as equal and others as different."""
    hue = (token * 0.61803398875) % 1.0
    lightness = 0.35 + 0.3 * ((token * 7) % 11) / 10
    return tuple(round(255 * channel) for channel in colorsys.hls_to_rgb(hue, lightness, 0.65))


def _palette() -> np.ndarray:
    """256 colours [256, 3], dark to bright."""
    positions = np.linspace(0, 1, len(ANCHORS))
    grid = np.linspace(0, 1, 256)
    return np.stack([np.interp(grid, positions, [a[c] for a in ANCHORS]) for c in range(3)], -1).astype(np.uint8)


def _png(pixels: np.ndarray) -> bytes:
    try:
        from PIL import Image
    except ImportError as error:
        raise no_package("pictures", "pillow") from error
    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.quantize(128).save(stream, "PNG", optimize=True)
    return stream.getvalue()
