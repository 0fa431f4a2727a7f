"""What stages 4 to 7 ask of the directories that they are given: finished, whole, made from what is still there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from codecsep.data import datadir, manifest


def require(folder: Path, stage: str, name: str = "", is_deep: bool = True) -> None:
    """Raise StageError unless `folder` is the finished result of a stage.

    A directory that no stage of ours has made, such as weights that were downloaded, has neither a manifest nor a
    training that was not finished: it is taken as it is. name, is_deep: as in manifest.require.
    """
    is_begun = (folder / "checkpoints").is_dir() and not (folder / "done.yaml").is_file()
    if manifest.manifest_file(folder, name).is_file() or is_begun:
        manifest.require(folder, stage, name, is_deep)


def require_for_training(paths: Mapping[str, str], weights: Iterable[str]) -> None:
    """Raise StageError when data, tokens, sequences or initial weights are not finished, damaged, or outdated.

    paths: {"train": directory, "train_dump": directory, "valid": ..., "codec": directory}; weights: files, or
    experiments. Large files are hashed only when their size or time of change differs from the noted ones: a training
    starts often.
    """
    for flag, path in paths.items():
        if flag == "codec":
            require(Path(path), "1", is_deep=False)
            continue
        if not flag.endswith("_dump"):
            require(Path(path), "0", is_deep=False)
            continue
        require(Path(path), "2", is_deep=False)
        require(Path(path), "3", "seq", is_deep=False)
    for path in map(Path, weights):
        require(path.parent if path.is_file() else path, "1 (a codec) or --stage 4")
        if not path.exists():
            raise manifest.StageError("E120", "does not exist", path, "run --stage 1 (a codec) or --stage 4")


def lists(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """The files of a directory that match one of the patterns."""
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def audio_of(folder: Path, tables: Iterable[str]) -> dict[str, dict[str, Any]]:
    """{path: {"size", "sha256"}} of the audio that tables of a directory name, as its manifest has noted it.

    What no manifest has noted is hashed now; a file that is missing counts as such.
    """
    noted = {}
    if manifest.manifest_file(folder).is_file():
        outputs = manifest.read(folder)["outputs"]
        noted = {manifest.name_of(folder / output): entry for output, entry in outputs.items()}
    found = {}
    for table in tables:
        for path in datadir.read_table(folder / table).values():
            name = manifest.name_of(path)
            found[name] = noted.get(name) or _described(Path(path))
    return found


def _described(path: Path) -> dict[str, Any]:
    return manifest.describe(path) if path.is_file() else {"size": 0, "sha256": "missing"}
