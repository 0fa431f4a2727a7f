"""Train one network: `python -m codecsep.bin.train --config conf/x.yaml --out exp/x --train data/... --valid data/...`.

Writes exp/x/{config.yaml, inputs.json, best.safetensors, history.tsv, losses.tsv, train.log, checkpoints/} and, as its
last act, manifest.json and .done. The same command goes on where an earlier one stopped (exit status 85: it was asked
to stop and has saved its state), and does nothing once the training is done.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from codecsep import config
from codecsep.bin import upstream
from codecsep.data import atomic, manifest
from codecsep.data.lock import locked
from codecsep.data.manifest import Counts, Work
from codecsep.errors import CodecsepError
from codecsep.train import unchanged
from codecsep.train.stop import EXIT_STOPPED, StopFlag

PROG = "codecsep-train"
FLAGS = ("train", "train_dump", "valid", "valid_dump", "codec")
INTERRUPTED = 130  # what a shell reports for Ctrl-C


class CommandError(CodecsepError):
    """A call of this command that cannot be followed."""


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__ or "")
    parser.add_argument("--out", type=Path, required=True, help="experiment directory, such as exp/ar")
    parser.add_argument("--train", help="data directory to train on (or a directory of sources)")
    parser.add_argument("--train_dump", help="its dump directory with the tokens")
    parser.add_argument("--valid", help="data directory to validate on")
    parser.add_argument("--valid_dump", help="its dump directory with the tokens")
    parser.add_argument("--codec", help="directory of the frozen codec that the model computes in, of stage 1")
    parser.add_argument("--init", help="experiment that the entries of the key `init` start from")
    return parser


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    stop = StopFlag().install()  # before torch is imported: a signal during the import is not lost
    args, overrides = config.parse(make_parser(), argv)
    given = given_settings(args, overrides)
    work = work_of(given)
    reason = manifest.current(args.out, work)
    if reason is None:
        print(f"{PROG}: {args.out} is up to date", file=sys.stderr)
        return 0
    unchanged.check_inputs(args.out, work.values)
    upstream.require_for_training(*inputs_of(given))
    from codecsep.train.settings import TrainConfig

    flags = [part for flag in FLAGS if getattr(args, flag) for part in (f"--paths.{flag}", getattr(args, flag))]
    settings = config.load_model_config(TrainConfig, args.config, [*flags, *overrides])
    if args.init:
        start_from(settings.init, args.init)
    unchanged.check_settings(args.out, settings)
    if manifest.manifest_file(args.out).is_file():
        print(f"{PROG}: {args.out} is finished, but {reason}", file=sys.stderr)
    try:
        return train(args.out, settings, work, stop)
    except KeyboardInterrupt:  # Ctrl-C a second time
        return INTERRUPTED


def given_settings(args: argparse.Namespace, overrides: Sequence[str]) -> dict[str, Any]:
    """What the YAML and the command line say, unchecked; no model is imported for it."""
    given = config.read_yaml(args.config) if args.config is not None else {}
    flags = {flag: getattr(args, flag) for flag in FLAGS if getattr(args, flag)}
    given = config.merge(given, config.merge({"paths": flags}, config.parse_overrides(overrides)))
    return config.merge(given, {"init_from": args.init}) if args.init else given


def work_of(given: Mapping[str, Any]) -> Work:
    """What the result depends on: settings, as far as they change it, and hashes of the data and initial weights."""
    settings = {key: value for key, value in config.flatten(given).items() if key not in unchanged.OF_THE_RUN}
    paths, weights = inputs_of(given)
    every = [paths.get(flag, "") for flag in FLAGS]
    return Work("4", values=unchanged.inputs_of(every, weights), settings=settings)


def inputs_of(given: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """The directories of the data by their flags, and the files or experiments of the initial weights."""
    flat = config.flatten(given)
    paths = {flag: str(flat[f"paths.{flag}"]) for flag in FLAGS if flat.get(f"paths.{flag}")}
    parts = flat.get("init") if isinstance(flat.get("init"), list) else []
    weights = [part.get("file") or flat.get("init_from", "") for part in parts if isinstance(part, Mapping)]
    return paths, [str(path) for path in weights if path]


def start_from(parts: list[Any], experiment: str) -> None:
    """Set the file of every entry of `init` that names none."""
    if not parts:
        fix = "add it, such as init: [{source: encoder, target: encoder}]"
        raise CommandError("E852", "--init needs the key `init` in the configuration", "", fix)
    for part in parts:
        part.file = part.file or experiment


def train(exp_dir: Path, settings: Any, work: Work, stop: StopFlag) -> int:
    """Train in this process, one of those that torchrun, srun or bin/launch started; the exit status."""
    from codecsep.train import distributed

    world = distributed.start(settings.train.group_timeout)
    try:
        with locked(exp_dir) if world.is_main else nullcontext():
            if world.is_main:
                open_experiment(exp_dir, settings, work)
            trainer = make_trainer(exp_dir, settings, world, stop)
            if not trainer.run():
                return EXIT_STOPPED
            if world.is_main:
                close_experiment(exp_dir, trainer, work)
            return 0
    finally:
        distributed.finish()


def open_experiment(exp_dir: Path, settings: Any, work: Work) -> None:
    """Note what the training is made of; it is not done any more."""
    manifest.begin(exp_dir)
    atomic.write_text(exp_dir / "config.yaml", config.dump(settings))
    unchanged.write_inputs(exp_dir, work.values)


def close_experiment(exp_dir: Path, trainer: Any, work: Work) -> None:
    """Write the manifest of the result."""
    names = ("best.safetensors", "config.yaml", "history.tsv", "losses.tsv", "skipped.tsv")
    outputs = [exp_dir / name for name in names if (exp_dir / name).is_file()]
    given, skipped = len(trainer.train_set), len(trainer.state.unreadable)
    manifest.finish(exp_dir, work, outputs, Counts(given, max(0, given - skipped), min(skipped, given)))


def make_trainer(exp_dir: Path, settings: Any, world: Any, stop: StopFlag) -> Any:
    """Model (seeded, initialised, frozen as asked), datasets and trainer."""
    from codecsep.train import datasets, optim
    from codecsep.train.state import seed_everything
    from codecsep.train.trainer import Trainer

    seed_everything(settings.train.seed)
    model = config.find_model(settings.model).Model(settings.network)
    give_codec(model, settings)
    for line in optim.initialise(model, settings.init):
        print(f"{PROG}: {line}", file=sys.stderr)
    optim.freeze(model, settings.freeze)
    return Trainer(model, datasets.make_sets(model, settings), settings, exp_dir, world, stop)


def give_codec(model: Any, settings: Any) -> None:
    """Load the codec of --codec for a model that computes in one. Raises CommandError where it has no use for it."""
    if not settings.paths.codec:
        return
    if not hasattr(model, "use_codec"):
        what = f"the model {settings.model} computes in no codec"
        raise CommandError("E852", what, "--codec", "leave --codec out")
    from codecsep.codecs import base

    model.use_codec(base.load(settings.paths.codec))


if __name__ == "__main__":
    sys.exit(main())
