"""A separator and a codec that are exact on two tones: "speaker" 0 hums at 250 Hz, "speaker" 1 at 1000 Hz."""

import json

import numpy as np
import torch

from codecsep.data.ark import CodecInfo
from codecsep.models.base import Separation

RATE, HOP, TONES, LEVELS = 16000, 320, (250, 1000), 200
INFO = CodecInfo("toy", "0" * 64, RATE, 50.0, HOP, num_codebooks=2, codebook_size=LEVELS)


class ToySeparator:
    """Codes [2, T] per speaker: level 0 how loud the tone is in each frame, level 1 which tone. Every other call of a
    mixture's window gives the speakers the other way round."""

    sample_rate = RATE

    def __init__(self, num_speakers=2):
        self.num_speakers, self.calls = num_speakers, []

    def separate(self, mixtures, options, keys):
        self.calls.append(list(keys))
        return [self.one(mixture, key) for mixture, key in zip(mixtures, keys, strict=True)]

    def one(self, mixture, key):
        assert mixture.dtype == np.float32
        frames = np.pad(mixture, (0, -len(mixture) % HOP)).reshape(-1, HOP)
        spectra = np.abs(np.fft.rfft(frames)) / (HOP / 2)
        codes = []
        for which, tone in enumerate(TONES[: self.num_speakers]):
            loud = np.clip(np.round(spectra[:, tone * HOP // RATE] * LEVELS), 0, LEVELS - 1)
            codes.append(torch.tensor(np.stack([loud, np.full_like(loud, which)]), dtype=torch.int64))
        start = int(key.partition("@")[2] or 0)
        swapped = (start // (6 * RATE)) % 2
        return Separation(codes[::-1] if swapped else codes, {"loop_blocks": 3.0, "eos_missing": 0})


class ToyCodec:
    info = INFO

    def num_samples(self, num_frames):
        return num_frames * HOP

    def decode(self, codes, frame_lengths):
        times = torch.arange(HOP) / RATE
        loud, which = codes[:, 0].float() / LEVELS, codes[:, 1]
        tones = torch.stack([torch.sin(2 * torch.pi * tone * times) for tone in TONES])[which]
        return 0.1 * (loud[..., None] * tones).flatten(1)  # a codec of its own level


def make_experiment(folder):
    """Directories that look trained: ar, nar and codec."""
    for name in ("ar", "nar"):
        (folder / name).mkdir(parents=True)
        (folder / name / "best.safetensors").write_bytes(name.encode())
    (folder / "codec").mkdir()
    (folder / "codec" / "codec.json").write_text(json.dumps(INFO.__dict__))
    return folder


def tones(seconds, rate=RATE, gains=(0.3, 0.2)):
    """Two sources [2, L] that are loud in turns."""
    times = np.arange(round(seconds * rate)) / rate
    shape = np.stack([0.6 + 0.4 * np.sign(np.sin(3 * times)), 0.6 - 0.4 * np.sign(np.sin(3 * times))])
    waves = np.stack([np.sin(2 * np.pi * tone * times) for tone in TONES])
    return (np.array(gains)[:, None] * shape * waves).astype(np.float32)
