"""A small corpus of noise with random codes, in the directories that stages 0 and 2 make: to time trainings on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from codecsep.data import atomic, audio, datadir
from codecsep.data.ark import CodecInfo, TokenWriter, write_codec_info
from codecsep.tokens import sot
from codecsep.tokens.vocab import Vocab

RATE = 16000
SPEAKERS = ("spk1", "spk2")


def write(folder: Path, count: int, seconds: float, info: CodecInfo) -> tuple[Path, Path]:
    """`count` mixtures of so many seconds: (data/<set>, dump/<set>) below `folder`."""
    draw, data, dump = np.random.default_rng(1), folder / "data" / "train", folder / "dump" / "train"
    keys, samples = [f"mix{index:04d}" for index in range(count)], round(RATE * seconds)
    frames = -(-samples // info.hop)
    waves = {key: folder / "wav" / f"{key}.wav" for key in keys}
    for path in waves.values():
        audio.write_audio(path, draw.uniform(-0.1, 0.1, samples), RATE)
    for table in ("wav.scp", *(f"{speaker}.scp" for speaker in SPEAKERS)):
        datadir.write_table(data / table, waves)
    datadir.write_table(data / "utt2num_samples", dict.fromkeys(keys, samples))
    datadir.write_table(data / "sot_order", dict.fromkeys(keys, "1 2"))
    write_codec_info(dump, info)
    codes = draw.integers(0, info.codebook_size, (count, len(SPEAKERS), info.num_codebooks, frames))
    for index, speaker in enumerate(SPEAKERS):
        with TokenWriter(dump / f"{speaker}_codes") as writer:
            for key, matrices in zip(keys, codes, strict=True):
                writer.write(key, matrices[index])
    datadir.write_table(dump / "utt2num_frames", dict.fromkeys(keys, frames))
    write_sequences(dump, dict(zip(keys, codes, strict=True)), Vocab(info.codebook_size))
    return data, dump


def write_sequences(dump: Path, codes: dict[str, np.ndarray], vocab: Vocab) -> None:
    """Both speakers in one sequence, and the list of tokens."""
    with TokenWriter(dump / "seq") as writer:
        for key, matrices in codes.items():
            writer.write(key, sot.build(list(torch.as_tensor(matrices)), vocab).numpy())
    atomic.write_text(dump / "token_list.txt", "".join(f"{name}\n" for name in vocab.names()))
