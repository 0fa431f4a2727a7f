"""Stages 2 and 3 on a toy codec and five utterances: what their tests share. The fixtures are in conftest.py."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from codecsep.bin import build_sequences, tokenise
from codecsep.data import audio, datadir
from codecsep.data.ark import CodecInfo, TokenReader

RATE, HOP, LEVELS, SIZE = 8000, 160, 3, 64
SAMPLES = {"a": 1000, "b": 1600, "c": 161, "d": 2400, "e": 1601}


class ToyCodec:
    """Codes of a frame: three quantised statistics of its own samples, so padding and neighbours change nothing."""

    def __init__(self, info: CodecInfo):
        self.info = info
        self.encoded: list[int] = []

    def num_frames(self, num_samples: int) -> int:
        return -(-num_samples // HOP)

    def encode(self, wav, lengths):
        self.encoded.append(len(wav))
        padded = torch.nn.functional.pad(wav, (0, -wav.shape[1] % HOP)).reshape(len(wav), -1, HOP)
        values = torch.stack([padded.mean(-1), padded.abs().mean(-1), padded[..., 0]], 1)
        return ((values + 1) / 2 * (SIZE - 1)).long(), -(-lengths // HOP)


def write_set(tmp_path, name: str, tables: list[str]):
    generator = np.random.default_rng(5)
    for table in tables:
        rows = {}
        for key, size in SAMPLES.items():
            rows[key] = tmp_path / "wav" / f"{name}-{table}-{key}.wav"
            audio.write_audio(rows[key], generator.uniform(-0.5, 0.5, size), RATE)
        datadir.write_table(tmp_path / "data" / name / table, rows)
    datadir.write_table(tmp_path / "data" / name / "utt2num_samples", SAMPLES)
    datadir.write_table(tmp_path / "data" / name / "sot_order", {key: "2 1" for key in SAMPLES})
    return tmp_path / "data" / name


def run(tmp_path, data, *options: str) -> int:
    fixed = ["--codec", str(tmp_path / "codec"), "--data", str(data), "--out", str(tmp_path / "dump" / data.name)]
    return tokenise.main([*fixed, *options])


def content(dump, name: str) -> dict[str, np.ndarray]:
    reader = TokenReader(dump / f"{name}.scp", SIZE, LEVELS)
    return {key: reader[key] for key in reader}


SMALL = """
model: slm_ss
optim: {lr: 0.001}
network:
  codebook_size: 64
  num_codebooks: 3
"""


def build(tmp_path, text: str, *overrides: str) -> int:
    (tmp_path / "ar.yaml").write_text(text)
    place = ["--data", str(tmp_path / "data" / "train"), "--dump", str(tmp_path / "dump" / "train")]
    return build_sequences.main(["--config", str(tmp_path / "ar.yaml"), *place, *overrides])


def forked(action: Callable[[], int], fault: str = "") -> int:
    """Run `action` in a forked child with CODECSEP_FAULT; its exit status, -9 when it was killed."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.environ["CODECSEP_FAULT"] = fault
            status = action()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed(action: Callable[[], int], fault: str) -> bool:
    """Was the child killed at that point?"""
    return forked(action, f"{fault}:kill") == -signal.SIGKILL


def snapshot(folder: Path) -> dict[str, bytes]:
    """All files but those that name processes and times: locks and the cache of times of change."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    compared = [path for path in files if path.suffix != ".lock" and not path.name.endswith(".stamps")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in compared}


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, its size and time of change as they were."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
