#!/usr/bin/env python3
"""Stage 0 of wsj0_2mix: data/{train,dev,test} that point to the mixtures of 2speakers/wav8k/min/{tr,cv,tt}.

The audio is read once, for lengths and the order of the speakers; what was measured is kept in data/measures, so a run
that was killed goes on. Nothing is copied. data/*/wav.scp holds the paths as they were given.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from codecsep import config
from codecsep.data import atomic, audio, manifest, mixing, mixture_dir, splits
from codecsep.data.batch import Batch, Item, Made
from codecsep.data.digest import text_sha256
from codecsep.data.lock import locked
from codecsep.errors import CodecsepError

LAYOUT = 1  # counts changes of this script that change what it writes
FOLDERS = {"train": "tr", "dev": "cv", "test": "tt"}
PUBLISHED = {"train": 20000, "dev": 5000, "test": 3000}  # mixtures; Hershey et al., 2016
FIX = "make the mixtures again with the scripts that egs/wsj0_2mix/README.md names"


class CorpusError(CodecsepError):
    """Mixtures that are missing or incomplete."""


@dataclass(frozen=True)
class Place:
    """One set of the corpus: its folder with mix, s1, s2, ... and what is expected of the files."""

    folder: Path
    num_spk: int
    rate: int

    def wav(self, name: str, key: str) -> Path:
        return self.folder / name / f"{key}.wav"

    def signals(self) -> list[str]:
        return ["mix", *(f"s{j}" for j in range(1, self.num_spk + 1))]


@config.command("data preparation")
def main() -> int:
    options = parse()
    top = options.wsj0_mix / f"{options.num_spk}speakers" / f"wav{options.sample_rate // 1000}k" / options.mode
    places = {name: Place(top / part, options.num_spk, options.sample_rate) for name, part in FOLDERS.items()}
    keys = {name: found(place) for name, place in places.items()}
    report(keys)
    check_speakers(keys)
    for name, place in places.items():
        prepare(options, name, place, keys[name])
    return 0


def parse() -> argparse.Namespace:
    """The options; whatever is wrong with one is said here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--wsj0-mix", type=Path, required=True, help="directory that holds 2speakers")
    add("--out", type=Path, default=Path("data"), help="made in it: train, dev, test")
    add("--num-spk", type=int, default=2, help="speakers in a mixture")
    add("--mode", choices=("min", "max"), default="min", help="which version of the mixtures")
    add("--sample-rate", type=int, choices=(8000, 16000), default=8000, help="Hz")
    add("--nj", type=int, default=1, help="processes")
    options = parser.parse_args()
    if options.num_spk < 2 or options.nj < 1:
        parser.error("--num-spk must be at least 2, --nj at least 1")
    return options


def found(place: Place) -> list[str]:
    """Ids of the mixtures of a set. Raises CorpusError (E126): no mixtures, or sources that do not go with them."""
    files = {name: {path.stem for path in (place.folder / name).glob("*.wav")} for name in place.signals()}
    if not files["mix"]:
        what = f"holds no mix/*.wav; {len(files)} folders {', '.join(files)} with the same names are needed"
        raise CorpusError("E126", what, place.folder, f"give --wsj0_mix DIR, or {FIX}")
    for name, keys in files.items():
        if odd := sorted(keys ^ files["mix"]):
            what = f"{len(odd)} of {len(files['mix'])} mixtures have no {name}, or the other way round, first {odd[:3]}"
            raise CorpusError("E126", what, place.folder / name, FIX)
    return sorted(files["mix"], key=str.encode)


def report(keys: dict[str, list[str]]) -> None:
    """Say how many mixtures there are, and where that is not the published corpus."""
    for name, number in PUBLISHED.items():
        have = len(keys[name])
        other = "" if have == number else f" -- NOT the published corpus, which has {number}: figures do not compare"
        print(f"{name}: {have} mixtures{other}", flush=True)


def utterances(key: str, num_spk: int) -> list[str]:
    """The sources in a name <utterance>_<dB>_<utterance>_<dB>; [] when the name is of another form."""
    parts = key.split("_")
    return parts[::2] if len(parts) == 2 * num_spk else []


def check_speakers(keys: dict[str, list[str]]) -> None:
    """Nobody of the test set speaks in training or validation, which share speakers. Raises LeakError (E130)."""
    heard = {}
    for name, names in (("train or dev", keys["train"] + keys["dev"]), ("test", keys["test"])):
        heard[name] = {one[:3] for key in names for one in key.split("_")[::2]}
    splits.check_disjoint(heard, "speaker", FIX)


def prepare(options: argparse.Namespace, name: str, place: Place, keys: list[str]) -> None:
    """Measure what was not measured yet, then write the tables, unless they stand."""
    out = options.out / name
    settings = {"num_spk": place.num_spk, "mode": options.mode, "sample_rate": place.rate}
    names = text_sha256("\n".join(keys))
    items = [Item(key, key) for key in keys]
    decisive = {"layout": LAYOUT, "names": names, **settings}
    inputs, make = partial(files_of, place), partial(measure, place)
    batch = Batch(options.out / "measures", name, [], decisive, items, inputs, make)
    if why := batch.pending():
        print(f"{out}: {len(items)} mixtures to measure: {why}", flush=True)
        mixing.load()
        batch.build(options.nj)
    records = batch.records()
    noted = {path: one for record in records.values() for path, one in record["inputs"].items()}
    work = manifest.Work("0", [manifest.manifest_file(batch.folder, name)], {"layout": LAYOUT}, settings, noted)
    if manifest.current(out, work) is None:
        print(f"{out}: up to date")
        return
    with locked(options.out, f".{name}.lock"), atomic.replacing_dir(out) as beside:
        mixture_dir.write((mixture(place, key, records[key]["measures"]) for key in keys), beside)
        atomic.write_text(beside / "options.json", json.dumps(settings, indent=1) + "\n")
        manifest.finish(beside, work, sorted(beside.iterdir()), manifest.Counts(len(keys), len(keys)))
    print(f"{out}: {len(keys)} mixtures", flush=True)


def files_of(place: Place, item: Item) -> list[Path]:
    """The mixture and its sources."""
    return [place.wav(name, item.key) for name in place.signals()]


def measure(place: Place, item: Item) -> Made:
    """Length and SOT order of one mixture. Raises AudioError: unreadable, of another rate, of different lengths."""
    signals = {}
    for name, path in zip(place.signals(), files_of(place, item), strict=True):
        signals[name], rate = audio.read_audio(path)
        if rate != place.rate:
            raise audio.AudioError("E221", f"has {rate} Hz, its folder says {place.rate} Hz", path, FIX)
    audio.check_same_length({name: len(signal) for name, signal in signals.items()}, place.wav("mix", item.key))
    order = mixture_dir.order_of(list(signals.values())[1:], place.rate)
    return Made({}, {"samples": len(signals["mix"]), "order": order})


def mixture(place: Place, key: str, measures: dict) -> mixture_dir.Mixture:
    """The line of a mixture in the tables."""
    paths = [mixture_dir.relative(place.wav(name, key)) for name in place.signals()]
    ids = utterances(key, place.num_spk)
    return mixture_dir.Mixture(key, paths[0], paths[1:], measures["samples"], measures["order"], ids)


if __name__ == "__main__":
    sys.exit(main())
