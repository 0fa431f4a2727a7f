"""Examples for steps of training: a mixture of two noises on the disk, read as a training reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codecsep.data import audio
from codecsep.data.latent_ark import LatentReader, LatentWriter
from codecsep.train.batches import to_device

Read = Callable[[], dict[str, Any]]
SPEAKERS = 2
LEVEL = 0.1  # root mean square of a noise: both together stay below full scale


def stored(model: Any, seconds: float, folder: Path, device: str) -> Read:
    """What reads the example that `model` asks for: waveforms from WAV files at its rate, or latents from arks.

    model: of `models/base.py`; where it reads latents, a `LatentSeparator` that has its codec and is on `device`.
    """
    waves = noises(round(seconds * model.sample_rate))
    if "mixture_latents" in model.fields:
        return stored_latents(model, waves, folder, device)
    paths = [folder / f"{index}.wav" for index in range(len(waves))]
    for path, wave in zip(paths, waves, strict=True):
        audio.write_audio(path, wave, model.sample_rate)

    def read() -> dict[str, Any]:
        mixture, *sources = (audio.read_audio(path)[0] for path in paths)
        return {"id": "noise", "mixture": mixture, "sources": np.stack(sources)}

    return read


def noises(samples: int) -> np.ndarray:
    """Mixture and sources, float32 [1 + SPEAKERS, samples]."""
    sources = np.random.default_rng(0).normal(0.0, LEVEL, (SPEAKERS, samples)).clip(-4 * LEVEL, 4 * LEVEL)
    return np.concatenate([sources.sum(0, keepdims=True), sources]).astype(np.float32)


def stored_latents(model: Any, waves: np.ndarray, folder: Path, device: str) -> Read:
    """The same for latents: as stage 2 writes them, one ark for each signal."""
    wav = torch.from_numpy(waves)
    batch = {"wav": wav[:1], "lengths": torch.tensor([wav.shape[1]]), "sources": wav[None, 1:]}
    made = model.with_latents(to_device(batch, torch.device(device)))
    rows = torch.cat([made["latents"], made["targets"][0]]).cpu().numpy()
    for index, row in enumerate(rows):
        with LatentWriter(folder / f"latents{index}") as writer:
            writer.write("noise", row)
    readers = [LatentReader(folder / f"latents{index}.scp") for index in range(len(rows))]

    def read() -> dict[str, Any]:
        mixture, *sources = (reader["noise"] for reader in readers)
        return {"id": "noise", "mixture_latents": mixture, "source_latents": np.stack(sources)}

    return read
