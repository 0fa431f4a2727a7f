"""What stages 6 and 7 ask of the directories that they are given: finished, whole, made from what is still there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from codecsep.data import datadir, manifest


def require(folder: Path, stage: str) -> None:
    """Raise StageError unless `folder` is the finished result of a stage.

    A directory that no stage of ours has made, such as weights that were downloaded, has neither a manifest nor a
    training that was not finished: it is taken as it is.
    """
    is_begun = (folder / "checkpoints").is_dir() and not (folder / "done.yaml").is_file()
    if manifest.manifest_file(folder).is_file() or is_begun:
        manifest.require(folder, stage, is_deep=True)


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
