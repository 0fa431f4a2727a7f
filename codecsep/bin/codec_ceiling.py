"""The codec's ceiling: clean sources encoded and decoded, as one more directory of estimates."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from codecsep.codecs import base
from codecsep.data import atomic, audio, datadir, manifest
from codecsep.data.ark import read_codec_info
from codecsep.metrics.systems import References
from codecsep.tokens.padding import pad_sequences

VERSION = 1  # counts changes of the code that change what is written
BATCH = 8  # sources at a time; they are sorted by length first


def delay_at(codec: Path, rate: int) -> int:
    """The codec's measured delay in samples at another rate, rounded."""
    info = read_codec_info(codec)
    return round(info.delay_samples * rate / info.output_rate)


def make(codec: Path, references: References, out: Path) -> Path:
    """Write <out>/spk<j>.scp and wavs of the resynthesised sources, unless they are there from the same inputs."""
    origin = {"codec": asdict(read_codec_info(codec)), "references": references.digest(), "version": VERSION}
    work = manifest.Work(stage="7", values=origin)
    if manifest.current(out, work) is None:
        return out
    coder = base.load(codec)
    with atomic.replacing_dir(out) as beside:
        for index, speaker in enumerate(references.speakers):
            _resynthesise_all(coder, references, index, beside / "wav")
            paths = {one: out / "wav" / f"{one}_{speaker}.wav" for one in references.ids}
            datadir.write_table(beside / f"{speaker}.scp", paths)
    count = len(references.ids)
    files = [path for path in out.rglob("*") if path.is_file()]
    manifest.finish(out, work, files, manifest.Counts(count, count))
    return out


def _resynthesise_all(coder: base.Codec, references: References, index: int, folder: Path) -> None:
    """All sources of one speaker number, in batches of similar length."""
    speaker = references.speakers[index]
    sizes = {one: audio.num_samples(references.data.table(f"{speaker}.scp")[one]) for one in references.ids}
    order = sorted(references.ids, key=sizes.get)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        signals = [references.sources(one)[index] for one in batch]
        for one, samples in zip(batch, resynthesise(coder, signals, references.rate), strict=True):
            audio.write_audio(folder / f"{one}_{speaker}.wav", samples, references.rate)


@torch.inference_mode()
def resynthesise(coder: base.Codec, signals: list[np.ndarray], rate: int) -> list[np.ndarray]:
    """Signals [L_i] at `rate` through encoder, quantiser and decoder; same lengths and rate."""
    inputs = [torch.from_numpy(audio.resample(x, rate, coder.info.sample_rate)) for x in signals]
    wav, lengths = pad_sequences(inputs, 0.0)
    codes, frames = coder.encode(wav, lengths)
    decoded = coder.decode(codes, frames).numpy()
    outputs = [
        audio.resample(row[: coder.num_samples(int(n))], coder.info.output_rate, rate)
        for row, n in zip(decoded, frames, strict=True)
    ]
    return [np.pad(y[: x.size], (0, max(0, x.size - y.size))) for x, y in zip(signals, outputs, strict=True)]


@torch.inference_mode()
def level_zero(coder: base.Codec, samples: np.ndarray, rate: int) -> np.ndarray:
    """Level-0 tokens [T] of one signal [L] at `rate`."""
    wav = torch.from_numpy(audio.resample(samples, rate, coder.info.sample_rate))[None]
    codes, frames = coder.encode(wav, torch.tensor([wav.shape[1]]))
    return codes[0, 0, : int(frames[0])].numpy()
