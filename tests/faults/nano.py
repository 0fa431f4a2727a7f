"""The recipe egs/prompts2mix/slm_ss at nano size: the very commands that its run.sh gives, run one by one.

The commands are written down by a recorder in place of Python (as in tests/test_recipes.py), so that what is killed
here is what the recipe does. A few seconds of made-up sounds, networks of one layer, two steps of training.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from nursery import Nursery

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path("egs/prompts2mix")
RATE = 16000
STAGES = range(8)
STAGE_OF = {
    "prepare": 0, "validate_data": 0, "get_codec": 1, "tokenise": 2, "build_sequences": 3, "train": 4, "separate": 6,
    "score": 7, "report": 7,
}  # fmt: skip
OPTIONS = {
    "--conf_dir": "conf/toy",
    "--decode_seeds": "1",
    "--nj": "1",
    "--num_threads": "1",
    "--local_data_opts": "--num_train 3 --num_dev 2 --num_test 3",
    "--train_args": "--train.max_steps 4 --train.valid_interval 2 --data.epoch_size 4 --batch.max_frames 200",
    "--decode_args": "--batch_size 2",
    "--score_args": "--without asr,dnsmos,speaker,pesq --max_asr 0 --max_dnsmos 0",
}
# Files that need not be the same when a stage is run again, and why.
MAY_DIFFER = {
    r".*\.lock": "holds the number of the process",
    r".*\.stamps": "a cache of times of change",
    r".*/timing\.json": "seconds: all that stage 6 writes about the clock",
    r".*/log/.*|.*\.log": "logs tell what was done again",
    r".*/events\.out\..*|.*/tensorboard/.*": "named after time and process",
}


def make_corpus(folder: Path) -> Path:
    """What the packages unpack to: four voices, four prompts of a little more than a second each."""
    sys.path.insert(0, str(ROOT / CORPUS / "local"))
    try:
        from voices import VOICES
    finally:
        sys.path.pop(0)
    for number, voice in enumerate(VOICES):
        lines = []
        for index in range(4):
            seconds = 1.02 + 0.04 * index
            write_prompt(folder / "usr/share/asterisk/sounds" / voice.folder / f"p{index}.g722", seconds, number, index)
            lines.append(f"p{index}: {voice.language} sentence number {index}\n")
        text = folder / "usr/share/doc" / f"asterisk-core-sounds-{voice.language}"
        text.mkdir(parents=True)
        (text / f"core-sounds-{voice.language}.txt.gz").write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
    return folder


def write_prompt(path: Path, seconds: float, voice: int, index: int) -> None:
    """Harmonics of a pitch that rises and falls, in syllables: the mini codec hears speech of a kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * (110 + 45 * voice) * (times + 0.01 * np.sin(3 * times + index))
    voiced = sum(np.sin(k * phase + k * index) / k for k in range(1, 9))
    signal = 0.15 * voiced * (0.25 + np.clip(np.sin(2 * np.pi * (3 + 0.3 * index) * times + voice), 0, None))
    with av.open(str(path), "w", format="g722") as container:
        stream = container.add_stream("g722", rate=RATE, layout="mono")
        samples = (np.clip(signal, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def record(folder: Path, corpus: Path) -> dict[int, list[list[str]]]:
    """{stage: commands} of the recipe, each [module or script, *words]; nothing of it is done."""
    generated = shutil.ignore_patterns("data", "dump", "exp", "log", "downloads", "__pycache__", "weights")
    for name in ("egs", "utils", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=generated)
    recorder, record_file = folder / "recorder", folder / "record.jsonl"
    recorder.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {ROOT}/tests/recorder.py "$@"\n')
    recorder.chmod(0o755)
    words = [word for option in OPTIONS.items() for word in option]
    result = subprocess.run(
        [folder / CORPUS / "slm_ss/run.sh", *words, "--corpus", corpus, "--python", recorder],
        capture_output=True, text=True, timeout=120, env={**os.environ, "RECORD": str(record_file)},
    )  # fmt: skip
    if result.returncode:
        raise RuntimeError(result.stderr)
    commands: dict[int, list[list[str]]] = {stage: [] for stage in STAGES}
    for line in record_file.read_text().splitlines():
        program, *rest = (word.replace(str(folder), str(ROOT)) for word in json.loads(line))
        name = Path(program).stem if program.endswith(".py") else program.rsplit(".", 1)[-1]
        if name == "fetch_weights":  # would ask the network
            continue
        stage = 5 if name == "train" and "exp/nar" in rest else STAGE_OF[name]
        commands[stage].append([program, *rest])
    return commands


@dataclass
class Outcome:
    """How the commands of a stage ended: statuses up to the first that failed, and all that they said."""

    statuses: list[int]
    text: str

    @property
    def status(self) -> int:
        return self.statuses[-1]


@dataclass
class Nano:
    """Commands, the process that runs them, and what the recipe's directory was before each stage of a clean run."""

    nursery: Nursery
    commands: dict[int, list[list[str]]]
    folder: Path
    passed: dict[int, list[dict[str, int]]] = field(default_factory=dict)  # fault points, per command of a stage
    durations: dict[int, list[float]] = field(default_factory=dict)  # seconds, per command of a stage
    asked: list[str] = field(default_factory=list)  # hosts and addresses that the clean run wanted

    def before(self, stage: int) -> Path:
        """What there was before a stage of the clean run; 8: what there was in the end."""
        return self.folder / f"before{stage}"

    def copy(self, stage: int, to: Path) -> Path:
        """A copy, with its times of change, of what there was before a stage."""
        shutil.copytree(self.before(stage), to, symlinks=True)
        return to

    def run(self, place: Path, stage: int, faults: dict[int, str] | None = None, **extra) -> Outcome:
        """The commands of a stage in a copy, up to the first that fails. faults: CODECSEP_FAULT by command (from 0)."""
        log = place.with_name(place.name + ".log")
        start = log.stat().st_size if log.exists() else 0
        statuses = []
        for number, words in enumerate(self.commands[stage]):
            statuses.append(self.command(place, words, (faults or {}).get(number), log, **extra))
            if statuses[-1]:
                break
        return Outcome(statuses, log.read_text(errors="replace")[start:])

    def command(
        self, place: Path, words: list[str], fault: str | None, log: Path, kill_after: float | None = None, **variables
    ) -> int:
        environment = environment_of(**variables)
        if fault:
            environment["CODECSEP_FAULT"] = fault
        return self.nursery.run(words, place / "slm_ss", environment, log, kill_after)


def environment_of(**variables: str) -> dict[str, str]:
    """What every command of the recipe sees; the day is fixed, so that pages are the same tomorrow."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    fixed = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "SOURCE_DATE_EPOCH": "86400"}
    return {**kept, **fixed, **variables}


def hashes(place: Path) -> dict[str, str]:
    """{file: SHA-256} of all that is in a copy, save MAY_DIFFER."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = f"/{path.relative_to(place)}"
        if path.is_file() and not any(re.fullmatch(pattern, name) for pattern in MAY_DIFFER):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def leftovers(place: Path) -> list[str]:
    """What must not be there once a stage is done: files that were written beside, directories that were swapped."""
    names = (str(path.relative_to(place)) for path in place.rglob("*"))
    return sorted(name for name in names if re.search(r"\.tmp(/|$)|/\.[^/]*\.old(/|$)|/\.parts(/|$)|/kept/parts", name))


def difference(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Names of the files that are missing, too many, or other than expected."""
    missing = [f"missing: {name}" for name in expected.keys() - found.keys()]
    extra = [f"extra: {name}" for name in found.keys() - expected.keys()]
    changed = [f"differs: {name}" for name in expected.keys() & found.keys() if expected[name] != found[name]]
    return sorted(missing + extra + changed)
