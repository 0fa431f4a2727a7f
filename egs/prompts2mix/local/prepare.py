#!/usr/bin/env python3
"""Stage 0 of prompts2mix: packages -> wav -> data/*_sources -> data/{train,dev,test}. Run in the recipe directory.

Each directory is written beside and renamed, with the options that made it in options.json: the same options again do
nothing, other options make it anew.
"""

import argparse
import json
import sys
from pathlib import Path

import decode_prompts

LAYOUT = 1  # counts changes of these scripts that change what they write
SETS = ("train", "dev", "test")


def main() -> None:
    options = parse()
    if options.only_check_wav:
        sys.exit(0 if up_to_date(options.wav, wav_options(options)) else 1)
    try:
        source_options = prepare_sources(options, prepare_wavs(options))
        for index, name in enumerate(SETS):
            prepare_mixtures(options, source_options, name, options.seed + 1000 * index)
    except (ValueError, OSError) as error:
        sys.exit(f"data preparation: {error}")


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
    if not 2 <= options.num_spk <= len(decode_prompts.VOICES):
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


def up_to_date(directory: Path, options: dict) -> bool:
    """Was `directory` made whole, with these very options?"""
    kept = directory / "options.json"
    return kept.is_file() and json.loads(kept.read_text(encoding="utf-8")) == options


def keep(directory: Path, options: dict) -> None:
    """Store what made `directory` in it, before it gets its name."""
    (directory / "options.json").write_text(json.dumps(options, indent=1) + "\n", encoding="utf-8")


def wav_options(options: argparse.Namespace) -> dict:
    """What decides about the decoded prompts."""
    return {"layout": LAYOUT, **decode_prompts.describe(options.corpus)}


def prepare_wavs(options: argparse.Namespace) -> dict:
    """Decode all prompts once; every recipe of the corpus shares them."""
    wanted = wav_options(options)
    if up_to_date(options.wav, wanted):
        print(f"{options.wav}: up to date")
        return wanted
    from codecsep.data import atomic

    with atomic.replacing_dir(options.wav) as beside:
        decode_prompts.decode(options.corpus, beside)
        keep(beside, wanted)
    return wanted


def prepare_sources(options: argparse.Namespace, decoded: dict) -> dict:
    """Filter, split and list the prompts."""
    durations = [options.min_duration, options.max_duration]
    wanted = {**decoded, "wav": str(options.wav), "split_seed": options.split_seed, "durations": durations}
    wanted["max_prompts"] = options.max_prompts
    if all(up_to_date(options.out / f"{name}_sources", wanted) for name in SETS):
        print(f"{options.out}/*_sources: up to date")
        return wanted
    import sources

    from codecsep.data import atomic

    kept, dropped = sources.select(sources.read_prompts(options.wav), *durations)
    sets = sources.split(kept, options.split_seed)
    if options.max_prompts:
        sets = sources.quick_look(sets, options.max_prompts, options.split_seed)
    print(sources.report(sets, dropped))
    for name, selected in sets.items():
        with atomic.replacing_dir(options.out / f"{name}_sources") as beside:
            sources.write_tables(selected, beside)
            keep(beside, wanted)
    return wanted


def prepare_mixtures(options: argparse.Namespace, source_options: dict, name: str, seed: int) -> None:
    """Draw and make the mixtures of one set; none are made when 0 are asked for."""
    number = getattr(options, f"num_{name}")
    out, metadata = options.out / name, options.out / "metadata" / f"{name}.csv"
    wanted = {**source_options, "seed": seed, "number": number, "num_spk": options.num_spk, "mode": options.mode}
    wanted["max_offset"] = options.max_offset
    if number == 0 or (metadata.is_file() and up_to_date(out, wanted)):
        print(f"{out}: {'up to date' if number else 'no mixtures asked for'}")
        return
    import simulate

    from codecsep.data import atomic, mixing

    sources_dir = options.out / f"{name}_sources"
    config = mixing.Config(num_speakers=options.num_spk, mode=options.mode, max_offset=options.max_offset)
    with atomic.replacing_dir(out) as beside:
        rows = simulate.draw(sources_dir, config, number, seed)
        simulate.write_metadata(rows, metadata)
        simulate.build(simulate.read_metadata(metadata), sources_dir, beside, out)
        keep(beside, wanted)
    short = "" if len(rows) == number else f" ({number} were asked for; there are no more different ones)"
    print(f"{out}: {len(rows)} mixtures of {options.num_spk}, mode {options.mode}{short}")


if __name__ == "__main__":
    main()
