"""What stages 6 and 7 ask of the directories that they are given: finished, whole, made from what is still there."""

from __future__ import annotations

from pathlib import Path

from codecsep.data import manifest


def require(folder: Path, stage: str) -> None:
    """Raise StageError unless `folder` is the finished result of a stage. A directory that no stage of ours has made,
    such as weights that were downloaded, has neither a manifest nor traces of a training: it is taken as it is."""
    if manifest.manifest_file(folder).is_file() or (folder / "checkpoints").is_dir():
        manifest.require(folder, stage, is_deep=True)


def lists(folder: Path) -> list[Path]:
    """The tables of a data directory: what hashes of it are made of; the audio behind them counts by its stamps."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def audio_stamps(table: dict[str, str]) -> str:
    """One digest of the sizes and times of change of the files that a table names."""
    from codecsep.data.digest import text_sha256

    return text_sha256("".join(f"{key} {path} {manifest.stamp(path)}\n" for key, path in table.items()))
