"""What hostile files are made of: an object that runs a command when it is unpickled, and the ways to pack it."""

import pickle
import subprocess
from pathlib import Path

import numpy as np
import torch


class Bomb:
    """An object whose unpickling makes the canary."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return subprocess.call, (["touch", str(self.canary)],)


def torch_package(path: Path, canary: Path) -> None:
    """What `DAC.load` tries first: source code inside a file of weights."""
    with torch.package.PackageExporter(path) as exporter:
        exporter.save_source_string("evil", f"import subprocess\nsubprocess.call(['touch', {str(canary)!r}])\n")
        exporter.save_pickle("model", "model.pkl", {"a": 1})


def script(path: Path, canary: Path) -> None:
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))


def numpy_objects(path: Path, canary: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.array([Bomb(canary)], dtype=object), allow_pickle=True)


def state_dict(path: Path, canary: Path) -> None:
    torch.save({"model": torch.zeros(2), "extra": Bomb(canary)}, path)


def old_format(path: Path, canary: Path) -> None:
    torch.save({"extra": Bomb(canary)}, path, _use_new_zipfile_serialization=False)


def bare(path: Path, canary: Path) -> None:
    """What joblib and scikit-learn save: a pickle and nothing else."""
    path.write_bytes(pickle.dumps(Bomb(canary), protocol=2))


def ark_record(path: Path, canary: Path) -> None:
    """A Kaldi ark with a record that kaldiio unpickles."""
    path.write_bytes(b"a \0BPKL" + pickle.dumps(Bomb(canary), protocol=2))


MAKERS = [state_dict, old_format, torch_package, script, numpy_objects]
ALL_MAKERS = [*MAKERS, bare, ark_record]
