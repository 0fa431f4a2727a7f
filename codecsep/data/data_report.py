"""What a listener would find odd in the audio of a data directory: `data_report.tsv`, one line per finding.

    code <tab> table <tab> id <tab> path <tab> what        W210: look at it; E211: a source that cannot be scored

Nothing in it stops a recipe; files that cannot be read are listed with the code of their error.
"""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from codecsep.data import atomic
from codecsep.data.audio import AudioError, read_audio
from codecsep.data.datadir import DataDir
from codecsep.data.wave_file import is_streamed

FULL_SCALE = 0.999
MAX_CLIPPED = 0.01  # share of samples at full scale
MAX_OFFSET = 0.02  # mean of a signal, full scale 1
QUIET = -60.0  # dB of the root mean square below full scale
FILE = "data_report.tsv"
COLUMNS = "code\ttable\tid\tpath\twhat\n"


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    code: str
    table: str
    id: str
    path: str
    what: str


def write_report(directory: DataDir) -> list[Finding]:
    """Read all audio of a data directory and write its data_report.tsv (only the head line when all is well)."""
    found = list(findings(directory))
    lines = ["\t".join(" ".join(str(field).split()) for field in astuple(finding)) + "\n" for finding in found]
    atomic.write_text(directory.path / FILE, COLUMNS + "".join(lines))
    return found


def findings(directory: DataDir) -> Iterator[Finding]:
    """What is odd in the files of wav.scp and of spk1.scp, spk2.scp ..., in the order of these tables."""
    lengths = directory.integers("utt2num_samples") if directory.has("utt2num_samples") else {}
    for table in ("wav.scp", *(f"{speaker}.scp" for speaker in directory.speakers())):
        for key, path in directory.table(table).items():
            for code, what in _of_file(path, table != "wav.scp", lengths.get(key)):
                yield Finding(code, table, key, path, what)


def _of_file(path: str, is_source: bool, declared: int | None) -> Iterator[tuple[str, str]]:
    try:
        samples, _ = read_audio(Path(path), declared=declared)
    except AudioError as error:
        yield error.code, error.what
        return
    if is_streamed(Path(path)):
        yield "W210", "its header gives no length (it was written into a pipe): a cut would not be noticed"
    yield from oddities(samples, is_source)


def oddities(samples: np.ndarray, is_source: bool = False) -> Iterator[tuple[str, str]]:
    """(code, sentence) of what is odd in samples [L]; `is_source`: of a mixture, so that silence has no SI-SDR."""
    if not samples.any():
        yield ("E211" if is_source else "W210"), "digital silence"
        return
    clipped = float(np.mean(np.abs(samples) >= FULL_SCALE))
    if clipped > MAX_CLIPPED:
        yield "W210", f"{clipped:.1%} of the samples are at full scale: clipped"
    offset = float(np.mean(samples, dtype=np.float64))
    if abs(offset) > MAX_OFFSET:
        yield "W210", f"a mean of {offset:+.3f}: DC offset"
    level = 10 * float(np.log10(np.mean(np.square(samples, dtype=np.float64))))
    if level < QUIET:
        yield "W210", f"a level of {level:.0f} dB: very quiet"
