"""What the codec transmits: clean sources (its ceiling) and mixtures, coded, as further directories of estimates."""

from __future__ import annotations

from collections.abc import Callable
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

    def write(coder: base.Codec, beside: Path) -> None:
        for speaker in references.speakers:
            names = _code_all(coder, references, speaker, beside)
            datadir.write_table(beside / f"{speaker}.scp", {one: out / name for one, name in names.items()})

    return _made(codec, references, out, "sources", write)


def make_mixture(codec: Path, references: References, out: Path) -> Path:
    """Write <out>/spk<j>.scp, all of them naming the resynthesised mixtures, unless they are there."""

    def write(coder: base.Codec, beside: Path) -> None:
        names = _code_all(coder, references, "wav", beside)
        for speaker in references.speakers:
            datadir.write_table(beside / f"{speaker}.scp", {one: out / name for one, name in names.items()})

    return _made(codec, references, out, "mixtures", write)


def _made(codec: Path, references: References, out: Path, what: str, write: Callable[[base.Codec, Path], None]) -> Path:
    """The directory `out` that `write` fills, made when it is not there from the same codec and references."""
    origin = {"codec": asdict(read_codec_info(codec)), "references": references.digest(), "version": VERSION}
    work = manifest.Work(stage="7", values=origin | {"what": what})
    if manifest.current(out, work) is None:
        return out
    coder = base.load(codec)
    with atomic.replacing_dir(out) as beside:
        write(coder, beside)
    count = len(references.ids)
    files = [path for path in out.rglob("*") if path.is_file()]
    manifest.finish(out, work, files, manifest.Counts(count, count))
    return out


def _code_all(coder: base.Codec, references: References, table: str, folder: Path) -> dict[str, str]:
    """What <table>.scp of the data names, in batches of similar length -> wav files in `folder`; their names there."""
    paths, names = references.data.table(f"{table}.scp"), {one: f"wav/{one}_{table}.wav" for one in references.ids}
    sizes = {one: audio.num_samples(paths[one]) for one in references.ids}
    order = sorted(references.ids, key=sizes.get)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        signals = [audio.read_audio(paths[one], references.rate)[0] for one in batch]
        for one, samples in zip(batch, resynthesise(coder, signals, references.rate), strict=True):
            audio.write_audio(folder / names[one], samples, references.rate)
    return names


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
