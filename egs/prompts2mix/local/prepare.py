#!/usr/bin/env python3
"""Stage 0 of prompts2mix: packages -> wav -> data/*_sources -> data/{train,dev,test}. Run in the recipe directory.

Each directory is written beside and renamed, with manifest.json (of what it was made, SHA-256 of every file) and .done:
the same options again do nothing, other options make it anew, and so does damage. Metadata of the mixtures and the list
of the prompts that were left out are in data/metadata.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import decode_prompts
from voices import SETS, VOICES, sentence_key

from codecsep import config
from codecsep.data import atomic, manifest, splits
from codecsep.data.datadir import DataDir, DataDirError, read_table
from codecsep.data.lock import locked

LAYOUT = 1  # counts changes of these scripts that change what they write
SOURCES = "sources"  # of the manifest in data/metadata that belongs to the choice of the prompts
REPAIR = "use another --split-seed, or mend local/sources.py"


@config.command("data preparation")
def main() -> int:
    options = parse()
    if options.only_check_wav:
        return 0 if manifest.current(options.wav, wav_work(options)) is None else 1
    prepare_wavs(options)
    prepare_sources(options)
    for index, name in enumerate(SETS):
        prepare_mixtures(options, name, options.seed + 1000 * index)
    check_splits(options)
    return 0


def parse() -> argparse.Namespace:
    """The options; whatever is wrong with one is said here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--corpus", type=Path, required=True, help="the eight packages, or the tree they unpack to")
    add("--wav", type=Path, required=True, help="directory of the decoded prompts")
    add("--only-check-wav", action="store_true", help="do nothing; status 0 when the prompts are decoded, else 1")
    add("--out", type=Path, default=Path("data"), help="made: <set>_sources, <set> and metadata/<set>.csv in it")
    add("--seed", type=count, default=72, help="of the mixtures")
    add("--split-seed", type=count, default=72, help="of the split of the sentences into sets")
    add("--num-spk", type=count, default=2, help="speakers in a mixture, 2 to 4")
    add("--mode", choices=("max", "min"), default="max", help="pad to the longest or cut to the shortest source")
    add("--max-offset", type=float, default=0.0, help="the speakers after the first start up to so many s later")
    add("--num-train", type=count, default=120, help="static mixtures (training can mix anew from train_sources)")
    add("--num-dev", type=count, default=60, help="mixtures")
    add("--num-test", type=count, default=120, help="mixtures")
    add("--min-duration", type=float, default=1.0, help="of a prompt, s")
    add("--max-duration", type=float, default=8.0, help="of a prompt, s")
    add("--max-prompts", type=lambda text: count(text) if text else 0, default=0, help="of each voice; 0: all")
    options = parser.parse_args()
    if not 2 <= options.num_spk <= len(VOICES):
        parser.error(f"--num-spk is {options.num_spk}; the corpus has 4 voices: give 2, 3 or 4")
    if not 0 < options.min_duration < options.max_duration:
        parser.error(f"--min-duration {options.min_duration:g} must be above 0, below --max-duration")
    if not 0 <= options.max_offset < options.min_duration:
        parser.error(f"--max-offset {options.max_offset:g} must be at least 0 and below --min-duration")
    return options


def count(text: str) -> int:
    """A whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 0")
    return int(text)


def wav_work(options: argparse.Namespace) -> manifest.Work:
    """What decides about the decoded prompts. The packages may be deleted afterwards: their SHA-256 are known."""
    return manifest.Work("0", values={"layout": LAYOUT, **decode_prompts.describe(options.corpus)})


def prepare_wavs(options: argparse.Namespace) -> None:
    """Decode all prompts once; every recipe of the corpus shares them."""
    work, out = wav_work(options), options.wav
    pending = manifest.current(out, work)
    if pending is None:
        print(f"{out}: up to date")
        return
    tell(out, pending)
    with locked(out.parent, f".{out.name}.lock"), atomic.replacing_dir(out) as beside:
        number = decode_prompts.decode(options.corpus, beside)
        files = [path for path in beside.rglob("*") if path.is_file()]
        manifest.finish(beside, work, files, manifest.Counts(number, number))


def prepare_sources(options: argparse.Namespace) -> None:
    """Filter, split and list the prompts; only the sets that do not stand are written."""
    decoded = noted_wavs(options.wav)
    pending = {name: pending_sources(options, name, decoded) for name in SETS}
    listed = manifest.current(options.out / "metadata", sources_work(options), SOURCES)
    if not any(pending.values()) and listed is None:
        print(f"{options.out}/*_sources: up to date")
        return
    with locked(options.out, ".sources.lock"):
        make_sources(options, {name: why for name, why in pending.items() if why}, decoded)


def make_sources(options: argparse.Namespace, pending: dict[str, str], decoded: dict[str, dict]) -> None:
    """Choose the prompts; write the sets that are pending (and why), and the list of what was left out."""
    import sources

    from codecsep.data import skipped

    prompts = sources.read_prompts(options.wav)
    kept, dropped = sources.select(prompts, options.min_duration, options.max_duration)
    sets = sources.split(kept, options.split_seed)
    if options.max_prompts:
        sets = sources.quick_look(sets, options.max_prompts, options.split_seed)
    print(sources.report(sets, dropped))
    for name, why in pending.items():
        tell(options.out / f"{name}_sources", why)
        write_sources(options, name, decoded, lambda folder, rows=sets[name]: sources.write_tables(rows, folder))
    metadata = options.out / "metadata"
    manifest.begin(metadata, SOURCES)
    skipped.write(metadata / skipped.NAME, dropped)
    counts = manifest.Counts(len(prompts), len(kept), len(dropped))
    manifest.finish(metadata, sources_work(options), [metadata / skipped.NAME], counts, SOURCES)


def noted_wavs(wav: Path) -> dict[str, dict]:
    """Path of each decoded prompt -> {"size", "sha256"}."""
    return {manifest.name_of(wav / file): noted for file, noted in manifest.read(wav)["outputs"].items()}


def source_settings(options: argparse.Namespace) -> dict:
    """What decides about the choice of the prompts."""
    durations = [options.min_duration, options.max_duration]
    return {"split_seed": options.split_seed, "durations": durations, "max_prompts": options.max_prompts}


def sources_work(options: argparse.Namespace, audio: dict[str, dict] | None = None) -> manifest.Work:
    """What a set of single sources depends on; `audio`: the prompts in it."""
    files = [manifest.manifest_file(options.wav)]
    return manifest.Work("0", files, {"layout": LAYOUT}, source_settings(options), audio or {})


def listed_audio(folder: Path, decoded: dict[str, dict]) -> dict[str, dict]:
    """What is known of the files that wav.scp of a folder lists. Raises DataDirError, KeyError (of an unknown file)."""
    paths = (manifest.name_of(path) for path in read_table(folder / "wav.scp").values())
    return {path: decoded[path] for path in paths}


def pending_sources(options: argparse.Namespace, name: str, decoded: dict[str, dict]) -> str | None:
    """Why a set of single sources must be made; None when it stands."""
    folder = options.out / f"{name}_sources"
    try:
        return manifest.current(folder, sources_work(options, listed_audio(folder, decoded)))
    except (DataDirError, KeyError) as error:
        return f"its wav.scp cannot be used: {error}"


def write_sources(
    options: argparse.Namespace, name: str, decoded: dict[str, dict], fill: Callable[[Path], None]
) -> None:
    """Let `fill` write the tables of one set of single sources."""
    with atomic.replacing_dir(options.out / f"{name}_sources") as beside:
        fill(beside)
        keep(beside, source_settings(options))
        audio = listed_audio(beside, decoded)
        counts = manifest.Counts(len(audio), len(audio))
        manifest.finish(beside, sources_work(options, audio), sorted(beside.iterdir()), counts)


def prepare_mixtures(options: argparse.Namespace, name: str, seed: int) -> None:
    """Draw and make the mixtures of one set; none are made when 0 are asked for."""
    number = getattr(options, f"num_{name}")
    out, metadata = options.out / name, options.out / "metadata" / f"{name}.csv"
    if number == 0:
        print(f"{out}: no mixtures asked for")
        return
    import simulate

    sources_dir = options.out / f"{name}_sources"
    wanted = {"seed": seed, "number": number, "num_spk": options.num_spk, "mode": options.mode}
    wanted["max_offset"] = options.max_offset
    drawn = manifest.Work("0", [manifest.manifest_file(sources_dir)], {"layout": LAYOUT}, wanted)
    if manifest.current(metadata.parent, drawn, name):
        draw(options, name, drawn)
    pending = manifest.current(out, simulate.work_of(metadata, sources_dir, wanted))
    if pending is None:
        print(f"{out}: up to date")
        return
    tell(out, pending)
    made = simulate.make(metadata, sources_dir, out, wanted)
    short = "" if made == number else f" ({number} were asked for; there are no more different ones)"
    print(f"{out}: {made} mixtures of {options.num_spk}, mode {options.mode}{short}")


def draw(options: argparse.Namespace, name: str, work: manifest.Work) -> None:
    """Write metadata/<set>.csv, from which the mixtures are made."""
    import simulate

    from codecsep.data import mixing

    wanted, folder = work.settings, options.out / "metadata"
    rule = mixing.Config(num_speakers=wanted["num_spk"], mode=wanted["mode"], max_offset=wanted["max_offset"])
    rows = simulate.draw(options.out / f"{name}_sources", rule, wanted["number"], wanted["seed"])
    with locked(folder, f".{name}.lock"):
        manifest.begin(folder, name)
        simulate.write_metadata(rows, folder / f"{name}.csv")
        counts = manifest.Counts(len(rows), len(rows))
        manifest.finish(folder, work, [folder / f"{name}.csv"], counts, name)


def check_splits(options: argparse.Namespace) -> None:
    """No utterance, recording, sentence or source is in two sets. Raises LeakError (E130)."""
    folders = {name: [options.out / f"{name}{kind}" for kind in ("_sources", "")] for name in SETS}
    splits.check_folders({name: [path for path in paths if path.is_dir()] for name, paths in folders.items()}, REPAIR)
    sentences = {name: DataDir(options.out / f"{name}_sources").table("text").values() for name in SETS}
    splits.check_disjoint({name: map(sentence_key, texts) for name, texts in sentences.items()}, "sentence", REPAIR)


def keep(directory: Path, options: dict) -> None:
    """Store what made `directory` in it, for people and for reports."""
    (directory / "options.json").write_text(json.dumps(options, indent=1) + "\n", encoding="utf-8")


def tell(folder: Path, pending: str) -> None:
    """Say why a directory that is there is made again."""
    if folder.exists():
        print(f"{folder}: made again: {pending}")


if __name__ == "__main__":
    sys.exit(main())
