"""Train one network: `python -m codecsep.bin.train --config conf/x.yaml --out exp/x --train data/... --valid data/...`.

Writes exp/x/{config.yaml, best.safetensors, history.tsv, train.log, checkpoints/}. The same command goes on where an
earlier one stopped, and does nothing once the training is done.
"""

import argparse
import fcntl
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codecsep import config
from codecsep.train.stop import EXIT_STOPPED, StopFlag

PROG = "codecsep-train"
FLAGS = ("train", "train_dump", "valid", "valid_dump")


class CommandError(ValueError):
    """A call of this command that cannot be followed."""


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__ or "")
    parser.add_argument("--out", type=Path, required=True, help="experiment directory, such as exp/ar")
    parser.add_argument("--train", help="data directory to train on (or a directory of sources)")
    parser.add_argument("--train_dump", help="its dump directory with the tokens")
    parser.add_argument("--valid", help="data directory to validate on")
    parser.add_argument("--valid_dump", help="its dump directory with the tokens")
    parser.add_argument("--init", help="experiment that the entries of the key `init` start from")
    return parser


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    stop = StopFlag().install()  # before torch is imported: a signal during the import is not lost
    args, overrides = config.parse(make_parser(), argv)
    from codecsep.train.settings import TrainConfig, check_unchanged

    given = [part for flag in FLAGS if getattr(args, flag) for part in (f"--paths.{flag}", getattr(args, flag))]
    settings = config.load_model_config(TrainConfig, args.config, [*given, *overrides])
    if args.init:
        start_from(settings, args.init)
    check_unchanged(args.out, settings)
    if is_done(args.out, settings):
        print(f"{PROG}: {args.out} is already trained ({settings.train.max_steps} steps)", file=sys.stderr)
        return 0
    return train(args.out, settings, stop)


def start_from(settings: Any, experiment: str) -> None:
    """Set the file of every entry of `init` that names none."""
    if not settings.init:
        raise CommandError(
            "--init needs the key `init` in the configuration, such as [{source: encoder, target: encoder}]"
        )
    for part in settings.init:
        part.file = part.file or experiment


def is_done(exp_dir: Path, settings: Any) -> bool:
    """True when `exp_dir` holds the result of at least as many steps as asked for, or ran out of patience."""
    marker = exp_dir / "done.yaml"
    if not marker.is_file() or not (exp_dir / "best.safetensors").is_file():
        return False
    done = config.read_yaml(marker)
    return done["step"] >= settings.train.max_steps or done["patience"] == settings.train.patience > 0


def train(exp_dir: Path, settings: Any, stop: StopFlag) -> int:
    """Train in this process, one of those that torchrun or srun started; the exit status."""
    from codecsep.train import distributed

    world = distributed.start()
    lock = open_experiment(exp_dir, settings) if world.is_main else None
    try:
        trainer = make_trainer(exp_dir, settings, world, stop)
        if not trainer.run():
            return EXIT_STOPPED
        if world.is_main:
            done = f"step: {trainer.state.step}\npatience: {settings.train.patience}\n"
            (exp_dir / "done.yaml").write_text(done, encoding="utf-8")
        return 0
    finally:
        distributed.finish()
        if lock is not None:
            lock.close()


def open_experiment(exp_dir: Path, settings: Any) -> Any:
    """Take the lock of an experiment directory and write config.yaml. Raises CommandError when another run has it."""
    from codecsep.data import atomic

    exp_dir.mkdir(parents=True, exist_ok=True)
    lock = open(exp_dir / ".lock", "a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        raise CommandError(f"{exp_dir} is in use by {lock.read().strip()}; wait for it or stop it") from error
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {os.uname().nodename}")
    lock.flush()
    atomic.write_text(exp_dir / "config.yaml", config.dump(settings))
    return lock


def make_trainer(exp_dir: Path, settings: Any, world: Any, stop: StopFlag) -> Any:
    """Model (seeded, initialised, frozen as asked), datasets and trainer."""
    from codecsep.train import datasets, optim
    from codecsep.train.state import seed_everything
    from codecsep.train.trainer import Trainer

    seed_everything(settings.train.seed)
    model = config.find_model(settings.model).Model(settings.network)
    for line in optim.initialise(model, settings.init):
        print(f"{PROG}: {line}", file=sys.stderr)
    optim.freeze(model, settings.freeze)
    return Trainer(model, datasets.make_sets(model, settings), settings, exp_dir, world, stop)


if __name__ == "__main__":
    sys.exit(main())
