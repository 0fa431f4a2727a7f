"""Speaker similarity by the GE2E encoder of Resemblyzer 0.1.4 (Wan et al. 2018, arXiv 1710.10467; 256 dimensions).

Cosines of this encoder are high even between strangers of one sex (about 0.5 to 0.75); they are never compared with
those of another encoder, and the column's name carries the encoder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from codecsep.metrics.features import RATE, mel_power

PARTIAL_FRAMES = 160  # frames of 10 ms in one partial utterance
FRAME_STEP = 77  # frames between partial utterances (1.3 a second)
HOP = RATE // 100
MIN_COVERAGE = 0.75  # of a last partial utterance, else it is dropped
TARGET_DBFS = -30.0  # quieter signals are raised to this level, as upstream's preprocessing does


class SpeakerEncoder(nn.Module):
    """Three LSTM layers over 40 mel powers; the last state, projected, rectified and normalised."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """Mel powers [B, 160, 40] -> embeddings [B, 256] of length 1."""
        _, (hidden, _) = self.lstm(mels)
        return nn.functional.normalize(torch.relu(self.linear(hidden[-1])), dim=1)

    @torch.inference_mode()
    def embed(self, samples: np.ndarray) -> np.ndarray | None:
        """Embedding [256] of 16 kHz samples [L], the mean over partial utterances of 1.6 s; None for silence."""
        rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
        if rms < 1e-6:
            return None
        gain = max(1.0, 10 ** (TARGET_DBFS / 20) / rms)
        starts = _partial_starts(len(samples))
        padded = np.zeros(max(len(samples), (starts[-1] + PARTIAL_FRAMES) * HOP), dtype=np.float32)
        padded[: len(samples)] = samples * gain
        mel = mel_power(padded, n_fft=400, num_mels=40)
        partials = torch.from_numpy(np.stack([mel[s : s + PARTIAL_FRAMES] for s in starts]))
        mean = self(partials).mean(0).numpy()
        return mean / max(float(np.linalg.norm(mean)), 1e-12)


def similarity(one: np.ndarray | None, other: np.ndarray | None) -> float:
    """Cosine of two embeddings; 0 when one of them is of silence (no speaker, no likeness)."""
    return 0.0 if one is None or other is None else float(one @ other)


def load(weights: Path) -> SpeakerEncoder:
    """The encoder from Resemblyzer's `pretrained.pt` (weights only), in eval mode on the CPU."""
    state = torch.load(weights, map_location="cpu", weights_only=True)["model_state"]
    encoder = SpeakerEncoder()
    wanted = encoder.state_dict()
    encoder.load_state_dict({name: state[name] for name in wanted})
    return encoder.eval()


def _partial_starts(num_samples: int) -> list[int]:
    """First frames of the partial utterances, at least one (upstream's compute_partial_slices)."""
    num_frames = -(-(num_samples + 1) // HOP)
    starts = list(range(0, max(1, num_frames - PARTIAL_FRAMES + FRAME_STEP + 1), FRAME_STEP))
    covered = (num_samples / HOP - starts[-1]) / PARTIAL_FRAMES
    return starts[:-1] if covered < MIN_COVERAGE and len(starts) > 1 else starts
