"""What the tests of the verbs share: running one as a user does, and a data directory with real audio."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from places import ERROR, ROOT

from codecsep.data import audio, datadir


@pytest.fixture
def verb(tmp_path):
    """verb("split_scp.pl", words..., stdin=...) -> the finished process, run in tmp_path with the tests' Python."""

    def call(name, *words, stdin="", cwd=tmp_path, **environment):
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            [str(ROOT / "utils" / name), *map(str, words)],
            input=stdin,
            capture_output=True,
            text=not isinstance(stdin, bytes),
            cwd=cwd,
            env={**os.environ, "PATH": path, **environment},
            timeout=120,
        )

    return call


@pytest.fixture
def refused():
    """refused(process): its status is 1 and it said one line; the code in that line."""

    def code(process):
        assert process.returncode == 1, (process.stdout, process.stderr)
        assert process.stderr.count("\n") == 1, process.stderr
        return ERROR.fullmatch(process.stderr.rstrip("\n"))[2]

    return code


@pytest.fixture
def make_dir(tmp_path):
    """make_dir("data/x", ids=4, speakers=2): a valid directory of mixtures of 0.1 s, paths relative to tmp_path."""

    def make(name, ids=4, speakers=2, rate=8000, peak=0.3):
        generator = np.random.default_rng(7)
        tables: dict[str, dict[str, object]] = {}
        for index in range(ids):
            key = f"ä{index % 2}-{index:03d}"
            sources = generator.uniform(-peak, peak, (speakers, 800 + 10 * index))
            signals = {f"spk{j}": source for j, source in enumerate(sources, start=1)}
            for stem, samples in {"wav": sources.sum(0), **signals}.items():
                path = f"audio of {name}/{stem}/{key}.wav"
                audio.write_audio(tmp_path / path, samples, rate)
                tables.setdefault(f"{stem}.scp", {})[key] = path
            for j in range(1, speakers + 1):
                tables.setdefault(f"text_spk{j}", {})[key] = f"слово {index} été"
            values = {"utt2spk": key[:2], "utt2num_samples": 800 + 10 * index, "utt2lang_spk1": "fr"}
            for table, value in {**values, "sot_order": " ".join(map(str, range(speakers, 0, -1)))}.items():
                tables.setdefault(table, {})[key] = value
        tables["spk2utt"] = datadir.invert(tables["utt2spk"])
        for table, content in tables.items():
            datadir.write_table(tmp_path / name / table, content)
        return tmp_path / name

    return make
