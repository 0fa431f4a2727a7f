"""The tables of a directory of mixtures whose audio lies elsewhere: data/<set>/{wav.scp,spk1.scp,...}."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codecsep.data import datadir, mixing
from codecsep.data.audio import AudioError


@dataclass(frozen=True)
class Mixture:
    """One mixture: its files, its length, and what is known of its sources. Lists run over the speakers."""

    key: str
    wav: str
    sources: Sequence[str]
    samples: int
    order: str  # speaker numbers from 1 in SOT order, e.g. "2 1"
    source_ids: Sequence[str]  # utterances that the sources are
    texts: Sequence[str] = ()  # transcripts; none when they are not known
    noise: str = ""


def write(mixtures: Iterable[Mixture], folder: Path) -> None:
    """Write the tables. Each mixture is a speaker of its own in utt2spk, since several persons speak in it."""
    tables: dict[str, dict[str, object]] = {}
    for one in mixtures:
        row = {"wav.scp": one.wav, "utt2spk": one.key, "utt2num_samples": one.samples, "sot_order": one.order}
        row |= {f"spk{j}.scp": path for j, path in enumerate(one.sources, 1)}
        row |= {f"utt2source_spk{j}": key for j, key in enumerate(one.source_ids, 1)}
        row |= {f"text_spk{j}": text for j, text in enumerate(one.texts, 1)}
        row |= {"noise.scp": one.noise} if one.noise else {}
        for name, value in row.items():
            tables.setdefault(name, {})[one.key] = value
    tables["spk2utt"] = datadir.invert(tables["utt2spk"])
    for name, table in tables.items():
        datadir.write_table(folder / name, table)


def order_of(sources: Sequence[np.ndarray], rate: int) -> str:
    """SOT order of sources [L_j] as they sound in the mixture, as it stands in the table: "2 1".

    A source that is silent (cut away by mode min, say) comes last.
    """
    onsets, levels = [], []
    for source in sources:
        try:
            levels.append(mixing.loudness(source, rate))
            onsets.append(mixing.onset(source, rate))
        except AudioError:
            levels[len(onsets) :] = [-np.inf]
            onsets.append(len(source) / rate)
    return " ".join(str(j + 1) for j in mixing.order_by(onsets, levels))


def relative(path: Path) -> str:
    """A path as lists have it: as it was given, without `.` and `x/..` in it."""
    return os.path.normpath(path)
