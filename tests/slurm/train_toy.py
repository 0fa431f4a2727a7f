"""`codecsep.bin.train` with the toy model of tests/train, as a program that a cluster can start."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "train")]

from codecsep.bin.train import main  # noqa: E402 -- catches signals, so it is imported before torch
from codecsep.train.stop import StopFlag  # noqa: E402

if __name__ == "__main__":
    StopFlag().install()  # until `main` does it: a signal during these imports is no reason to die
    import torch
    import train_toys

    torch.set_num_threads(1)
    train_toys.register()
    sys.exit(main(sys.argv[1:]))
