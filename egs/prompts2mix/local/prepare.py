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


def main() -> None:
    options = parse()
    try:
        source_options = prepare_sources(options, prepare_wavs(options))
        if not options.only_sources:
            prepare_mixtures(options, source_options)
    except (ValueError, OSError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="the eight packages, or the tree they unpack to")
    parser.add_argument("--downloads", type=Path, required=True, help="the wavs go to wav/ in it")
    parser.add_argument("--data", type=Path, default=Path("data"), help="made: <set>_sources and <set>")
    parser.add_argument("--seed", type=int, default=72, help="of the split and the mixtures")
    parser.add_argument("--min-duration", type=float, default=1.0, help="of a prompt, s")
    parser.add_argument("--max-duration", type=float, default=8.0, help="of a prompt, s")
    parser.add_argument("--only-sources", action="store_true", help="make no mixtures")
    return parser.parse_args()


def up_to_date(directory: Path, options: dict) -> bool:
    """Was `directory` made whole, with these very options?"""
    kept = directory / "options.json"
    return kept.is_file() and json.loads(kept.read_text(encoding="utf-8")) == options


def keep(directory: Path, options: dict) -> None:
    (directory / "options.json").write_text(json.dumps(options, indent=1) + "\n", encoding="utf-8")


def prepare_wavs(options: argparse.Namespace) -> dict:
    """Decode all prompts once per corpus; every recipe shares them."""
    wanted = {"layout": LAYOUT, **decode_prompts.describe(options.corpus)}
    wavs = options.downloads / "wav"
    if up_to_date(wavs, wanted):
        print(f"{wavs}: up to date")
        return wanted
    from codecsep.data import atomic

    with atomic.replacing_dir(wavs) as beside:
        decode_prompts.decode(options.corpus, beside)
        keep(beside, wanted)
    return wanted


def prepare_sources(options: argparse.Namespace, wav_options: dict) -> dict:
    """Filter, split and list the prompts."""
    wanted = {**wav_options, "seed": options.seed, "duration": [options.min_duration, options.max_duration]}
    names = [f"{name}_sources" for name in ("train", "dev", "test")]
    if all(up_to_date(options.data / name, wanted) for name in names):
        print(f"{options.data}/*_sources: up to date")
        return wanted
    import sources

    from codecsep.data import atomic

    rows = sources.read_prompts(options.downloads / "wav")
    kept, dropped = sources.select(rows, options.min_duration, options.max_duration)
    sets = sources.split(kept, options.seed)
    print(sources.report(sets, dropped))
    for name, selected in sets.items():
        with atomic.replacing_dir(options.data / f"{name}_sources") as beside:
            sources.write_tables(selected, beside)
            keep(beside, wanted)
    return wanted


def prepare_mixtures(options: argparse.Namespace, source_options: dict) -> None:
    raise SystemExit("mixtures: later")


if __name__ == "__main__":
    main()
