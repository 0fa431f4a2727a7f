"""Lists -> wavs in the layout of the official generator, and what the single utterances are like.

<corpus>/Libri2Mix/wav8k/min/train-100/{s1,s2,mix_clean}/<mixture_ID>.wav      (noise, mix_both, mix_single)
<corpus>/Libri2Mix/wav8k/sources/train-100/                                    resampled utterances, measures
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import official
import speech_tree
from mixture_lists import Row

from codecsep.data import audio, mixing, mixture_dir
from codecsep.data.batch import Batch, Item, Made

LAYOUT = 1  # counts changes of these scripts that change what they write


@dataclass(frozen=True)
class Kind:
    """Which version of the mixtures: speakers, clean | both | single, min | max, Hz."""

    num_spk: int
    mixture: str
    mode: str
    rate: int

    def speakers(self) -> list[str]:
        """Folders of the sources that the mixture holds."""
        return [f"s{j}" for j in range(1, (1 if self.mixture == "single" else self.num_spk) + 1)]

    def folder(self, corpus: Path, part: str, list_name: str) -> Path:
        """Where a list goes; the official generator leaves "-clean" out of the names of sets."""
        name = list_name.replace("-clean", "")
        return corpus / f"Libri{self.num_spk}Mix" / f"wav{self.rate // 1000}k" / part / name


@dataclass(frozen=True)
class Trees:
    """Where the recordings are."""

    librispeech: Path
    wham: Path | None


def mixtures(csv: Path, rows: list[Row], trees: Trees, kind: Kind, folder: Path) -> Batch:
    """The work of making the mixtures of a list."""
    settings = {"layout": LAYOUT, **asdict(kind)}
    items = [Item(row.key, asdict(row)) for row in rows]
    inputs, make = partial(files_of, trees, kind), partial(make_mixture, trees, kind)
    return Batch(folder, kind.mixture, [csv], settings, items, inputs, make)


def files_of(trees: Trees, kind: Kind, item: Item) -> list[Path]:
    """The recordings of a mixture: the sources, then the noise where there is one."""
    paths = [trees.librispeech / name for name in item.what["sources"]]
    return paths if kind.mixture == "clean" else [*paths, trees.wham / item.what["noise"]]


def make_mixture(trees: Trees, kind: Kind, item: Item) -> Made:
    """The wavs of one mixture, its length and its SOT order. Raises AudioError."""
    row = Row(**item.what)
    paths, gains = files_of(trees, kind, item), list(row.gains)
    signals = [official.read_source(path) for path in paths[: kind.num_spk]]
    if kind.mixture != "clean":
        signals.append(official.read_noise(paths[-1], max(map(len, signals))))
        gains.append(row.noise_gain)
    signals = official.transformed(signals, gains, kind.rate, kind.mode)
    sources, noise = signals[: kind.num_spk], signals[kind.num_spk :]
    named = {f"s{j}": source for j, source in enumerate(sources, 1)} | ({"noise": noise[0]} if noise else {})
    named[f"mix_{kind.mixture}"] = official.mixed(sources, noise[0] if noise else None, kind.mixture)
    files = {f"{name}/{row.key}.wav": official.wav_bytes(one, kind.rate) for name, one in named.items()}
    order = mixture_dir.order_of(sources[: len(kind.speakers())], kind.rate)
    return Made(files, {"samples": len(sources[0]), "order": order})


def sources(csv: Path, paths: Iterable[str], tree: Path, rate: int, folder: Path) -> Batch:
    """The work of measuring single utterances and, where the rate is another one, of resampling them."""
    items = [Item(speech_tree.utterance(path), path) for path in sorted(set(paths))]
    inputs, make = partial(file_of, tree), partial(make_source, tree, rate)
    return Batch(folder, "sources", [csv], {"layout": LAYOUT, "rate": rate}, items, inputs, make)


def file_of(tree: Path, item: Item) -> list[Path]:
    """The recording of one utterance."""
    return [tree / item.what]


def make_source(tree: Path, rate: int, item: Item) -> Made:
    """Level, peak and onset of one utterance, and its wav when it was resampled. Raises AudioError."""
    samples, files = official.read_source(*file_of(tree, item)), {}
    if rate != official.RATE:
        content = official.wav_bytes(audio.resample(samples, official.RATE, rate), rate)
        files = {f"wav/{item.key}.wav": content}
        samples = official.decoded(content)
    measures = {
        "samples": len(samples),
        "lufs": round(mixing.loudness(samples, rate), 4),
        "peak": round(float(abs(samples).max()), 6),
        "onset": round(mixing.onset(samples, rate), 2),
    }
    return Made(files, measures)
