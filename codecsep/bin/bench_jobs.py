"""Several jobs of stage 2 beside one, on files of noise of different lengths and the mini codec."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from codecsep.bin.bench_timing import Ratio, ratio
from codecsep.bin.get_codec import COMMITTED
from codecsep.data import audio
from codecsep.data.datadir import write_table

ROOT = Path(__file__).resolve().parents[2]


def nj_ratio(jobs: int = 2, corpus_seconds: float = 3600.0, rounds: int = 5) -> dict[str, Ratio]:
    """{"clock": ..., "processor time": ...}: how many times as fast several jobs of stage 2 are as one.

    By the clock on this machine as it is; by processor time as on a core for each job, with nothing else running and
    memory fast enough for all.
    """
    clock, busy = [], []
    with tempfile.TemporaryDirectory() as folder:
        data = corpus(Path(folder) / "data" / "train_bench", corpus_seconds)
        for turn in range(rounds):
            out = Path(folder) / f"dump{turn}"
            walls = [wall_seconds(data, out / f"{count}", count) for count in (1, jobs)]
            clock.append(walls)
            alone = cpu_seconds(data, out / "alone", 1, 1)
            shares = [cpu_seconds(data, out / "shares", job, jobs) for job in range(1, jobs + 1)]
            busy.append([alone, max(shares)])
    return {name: ratio(*zip(*pairs, strict=True)) for name, pairs in (("clock", clock), ("processor time", busy))}


def corpus(folder: Path, seconds: float) -> Path:
    """A data directory of noise at 16 kHz, files of 1 to 16 s."""
    generator, rows, lengths = np.random.default_rng(0), {}, {}
    while sum(lengths.values()) < seconds * 16000:
        key = f"u{len(rows):05d}"
        lengths[key] = int(generator.integers(16000, 16 * 16000))
        rows[key] = folder / "wav" / f"{key}.wav"
        audio.write_audio(rows[key], 0.1 * generator.standard_normal(lengths[key]).clip(-3, 3), 16000)
    write_table(folder / "wav.scp", rows)
    write_table(folder / "utt2num_samples", lengths)
    return folder


def wall_seconds(data: Path, out: Path, jobs: int) -> float:
    """Of stage 2 as a recipe runs it, through run.pl, with all jobs at once."""
    launcher = [sys.executable, str(ROOT / "utils" / "run.pl"), "--num-threads", "1", "--max-jobs-run", str(jobs)]
    began = time.monotonic()
    subprocess.run([*launcher, f"JOB=1:{jobs}", f"{out}/log/JOB.log", *command(data, out, f"JOB/{jobs}")], check=True,
                   env=environment())  # fmt: skip
    return time.monotonic() - began


def cpu_seconds(data: Path, out: Path, job: int, jobs: int) -> float:
    """Processor time of one job, run alone."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command(data, out, f"{job}/{jobs}"), check=True, env=environment(), stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def command(data: Path, out: Path, job: str) -> list[str]:
    places = ["--codec", COMMITTED, "--data", data, "--out", out, "--job", job]
    return [sys.executable, "-m", "codecsep.bin.tokenise", *map(str, places)]


def environment() -> dict[str, str]:
    """That of path.sh."""
    kept = {name: "8589934592" for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")}
    return {**os.environ, **kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
