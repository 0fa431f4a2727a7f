"""Separate a data directory, or single recordings: `codecsep separate mix.wav -o out/`.

Recordings of any rate, length and number of channels; writes out/<name>_spk1.wav, out/<name>_spk2.wav, ... with the
rate and length of the recording. With --data data/<set>: reads wav.scp alone (never the references) and writes
out/wav/<id>_spk<j>.wav, out/spk<j>.scp, out/decode.tsv, out/decode.json and out/timing.json; a run that was killed goes
on at the part that it was in. The estimates of a mixture are scaled together so that their sum is as loud as it.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from codecsep import config
from codecsep.decode.engine_options import EngineOptions
from codecsep.decode.options import DecodeOptions
from codecsep.errors import CodecsepError

PROG = "codecsep-separate"
FILE_WINDOW_SECONDS, FILE_OVERLAP_SECONDS = 8.0, 2.0
RECIPE_EXP = Path("egs/prompts2mix/slm_ss/exp")
MADE_BY = "4 or --stage 5"
NETWORKS = ("ar", "nar")  # what an experiment directory of the recipe holds


class CommandError(CodecsepError):
    """A call of this command that cannot be followed."""


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("recordings", nargs="*", type=Path, help="audio files to separate (instead of --data)")
    parser.add_argument("-o", "--out", type=Path, required=True, help="directory to write to")
    parser.add_argument("--data", type=Path, help="data directory to separate: its wav.scp")
    parser.add_argument("--exp", type=Path, help=f"directory with {', '.join(NETWORKS)} and codec ({RECIPE_EXP})")
    parser.add_argument("--models", type=Path, nargs="+", help="experiment directories of the networks (--exp's)")
    parser.add_argument(
        "--codec", type=Path, help="directory of the codec (--exp's; with --models the one beside them)"
    )
    parser.add_argument("--batch_size", type=int, default=8, help="mixtures at a time (8); the result is the same")
    parser.add_argument(
        "--part_size", type=int, default=0, help="--data: mixtures that are saved together (0: 8 times batch_size)"
    )
    parser.add_argument(
        "--window", type=float, help="seconds; longer recordings are cut (files: 8, --data: not cut unless given)"
    )
    parser.add_argument("--overlap", type=float, default=FILE_OVERLAP_SECONDS, help="seconds shared by windows (2)")
    parser.add_argument("--max_missing_eos", type=float, default=0.5, help="share of cut mixtures allowed (0.5)")
    parser.add_argument("--max_seconds", type=float, default=0, help="--data: s that a mixture may take (0: any time)")
    parser.add_argument("--force", action="store_true", help="--data: decode once more although it is up to date")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (auto: a GPU where there is one)")
    _add_options(parser, "decoding options (they override --config)", DecodeOptions)
    _add_options(parser, "engine: how fast, at which precision", EngineOptions, leave_out="slots")
    return parser


def _add_options(parser: argparse.ArgumentParser, title: str, kind: type, leave_out: str = "") -> None:
    group = parser.add_argument_group(title)
    for field in dataclasses.fields(kind):
        if field.name != leave_out:
            group.add_argument(f"--{field.name}", metavar="X", help=f"default {field.default}")


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    _check(args)
    models, codec = experiments(args)
    options = config.load(DecodeOptions, args.config or _recipe_config(args, models), _overrides(args, DecodeOptions))
    how = config.load(EngineOptions, None, ["--slots", str(args.batch_size), *_overrides(args, EngineOptions)])
    if args.data is not None:
        from codecsep.bin.separate_data import separate_data

        return separate_data(args, models, codec, options, how)
    from codecsep.bin.separate_files import separate_files

    if args.window is None:
        args.window = FILE_WINDOW_SECONDS
    return separate_files(args, models, codec, options, how)


def experiments(args: argparse.Namespace) -> tuple[list[Path], Path | None]:
    """The directories of the networks and of the codec: as given, else those of --exp, else the recipe's.

    No codec: where --models are given and --codec is not, as for separators that give waveforms.
    """
    exp = args.exp or default_exp()
    models = args.models or [exp / name for name in NETWORKS]
    codec = args.codec or (None if args.models and not args.exp else exp / "codec")
    wanted = [(model / "best.safetensors", MADE_BY) for model in models]
    for path, made_by in [*wanted, *([(codec / "codec.json", "1")] if codec else [])]:
        if not path.is_file():
            fix = f"train a system in {RECIPE_EXP.parent} with ./run.sh (--stage {made_by}), or give --exp DIR"
            raise CommandError("E861", "no such file", path, fix)
    return models, codec


def default_exp() -> Path:
    """exp/ of the recipe prompts2mix/slm_ss, in the repository of this package or below the working directory."""
    repository = Path(__file__).resolve().parents[2]
    return repository / RECIPE_EXP if (repository / "egs").is_dir() else RECIPE_EXP


def _check(args: argparse.Namespace) -> None:
    if bool(args.recordings) == (args.data is not None):
        raise CommandError("E860", "give either audio files or --data data/<set>", "", "see --help")
    at_least = {"batch_size": 1, "part_size": 0, "max_seconds": 0}
    for name, low, high in [*((name, low, None) for name, low in at_least.items()), ("max_missing_eos", 0, 1)]:
        value = getattr(args, name)
        if value < low or (high is not None and value > high):
            allowed = f"from {low} to {high}" if high is not None else f"at least {low}"
            raise CommandError("E860", f"--{name} is {value}; it must be {allowed}", "", f"give --{name} {low} or more")


def _recipe_config(args: argparse.Namespace, models: list[Path]) -> Path | None:
    """For single files, the conf/decode.yaml of the recipe that the networks come from, when there is one."""
    path = models[0].parent.parent / "conf" / "decode.yaml"
    return path if args.data is None and path.is_file() else None


def _overrides(args: argparse.Namespace, kind: type) -> list[str]:
    """The options of this kind given on the command line, as `config.load` takes them."""
    given = ((field.name, getattr(args, field.name, None)) for field in dataclasses.fields(kind))
    return [word for name, value in given if value is not None for word in (f"--{name}", value)]


if __name__ == "__main__":
    sys.exit(main())
