"""Long signals in overlapping windows: where to cut, whose estimate continues whose, and how to join them."""

from __future__ import annotations

import numpy as np

from codecsep.signal.permute import best_permutation, unassigned

FFT_SIZE = 512


def windows(num_samples: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Spans (start, stop) of `size` samples that cover a signal, neighbours sharing at least `overlap` samples.

    The last window ends with the signal and is as long as the others, so it may overlap more. A signal of at most
    `size` samples is one span. ValueError unless 0 <= overlap < size.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"windows of {size} samples cannot overlap by {overlap}; 0 <= overlap < size is needed")
    if num_samples <= size:
        return [(0, num_samples)]
    starts = list(range(0, num_samples - size, size - overlap)) + [num_samples - size]
    return [(start, start + size) for start in starts]


def similarity(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Correlation of STFT magnitudes, [N, M], of the signals [N, L] with the signals [M, L]; 0 where one is silent.

    Magnitudes, because two decodings of the same speech by a codec agree in their spectrum and not in their phase.
    """
    first, second = _normalised(before), _normalised(after)
    return first @ second.T


def stitch(pieces: list[np.ndarray], spans: list[tuple[int, int]]) -> np.ndarray:
    """Join the estimates of neighbouring windows to [N, L], L the end of the last span.

    pieces: per window [N_i, stop - start]. Speakers are matched on the overlap by `similarity`, and cross-faded there
    (linearly: the two sides are the same speech). A window with fewer speakers leaves the others silent; with more, it
    opens new ones.
    """
    joined = np.zeros((max(len(piece) for piece in pieces), spans[-1][1]), np.float32)
    count, end = 0, 0
    for piece, (start, stop) in zip(pieces, spans, strict=True):
        shared = max(end - start, 0)
        order = _continue(joined[:count, end - shared : end], piece[:, :shared])
        joined, count = _room(joined, len(order)), len(order)
        fade = np.linspace(0, 1, shared + 2, dtype=np.float32)[1:-1]
        joined[:, start:end] *= 1 - fade
        for row, source in enumerate(order):
            if source >= 0:
                joined[row, start:end] += piece[source, :shared] * fade
                joined[row, end:stop] = piece[source, shared:]
        end = stop
    return joined[:count]


def _continue(before: np.ndarray, after: np.ndarray) -> list[int]:
    """For each speaker so far the row of the new window that continues it (-1: none); new speakers follow."""
    assigned = best_permutation(similarity(before, after)) if len(before) else []
    return assigned + unassigned(assigned, len(after))


def _room(joined: np.ndarray, count: int) -> np.ndarray:
    missing = count - len(joined)
    return np.pad(joined, ((0, max(missing, 0)), (0, 0)))


def _normalised(signals: np.ndarray) -> np.ndarray:
    """[N, L] -> magnitudes [N, F * T] of zero mean and unit norm; silence stays zero."""
    size = -(-max(signals.shape[1], 1) // FFT_SIZE) * FFT_SIZE
    padded = np.pad(signals, ((0, 0), (0, size - signals.shape[1]))).astype(np.float64)
    frames = padded.reshape(len(signals), -1, FFT_SIZE) * np.hanning(FFT_SIZE)
    spectra = np.abs(np.fft.rfft(frames, axis=-1)).reshape(len(signals), -1)
    spectra -= spectra.mean(axis=1, keepdims=True)
    return spectra / np.maximum(np.linalg.norm(spectra, axis=1, keepdims=True), 1e-9)
