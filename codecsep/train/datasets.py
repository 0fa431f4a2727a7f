"""The datasets that a training's `data` and `paths` name."""

from pathlib import Path
from typing import Any

from codecsep.data import audio
from codecsep.data.ark import read_codec_info, require_codec
from codecsep.data.datadir import DataDir
from codecsep.train.batches import TrainingSet
from codecsep.train.settings import DataConfig, SettingsError, TrainConfig


def make_sets(model: Any, settings: TrainConfig) -> tuple[TrainingSet, TrainingSet]:
    """Training and validation set, with the fields that the model reads. Validation examples are never cropped.

    Raises SettingsError without data or with audio of another rate than the model reads, ArkError when the sets
    hold codes or latents of different codecs, or of another one than --codec.
    """
    data, paths = settings.data, settings.paths
    places = (paths.train, paths.train_dump), (paths.valid, paths.valid_dump)
    for (directory, _), flag in zip(places, ("--train", "--valid"), strict=True):
        if not directory:
            fix = f"give {flag} data/<set> (and {flag}_dump dump/<set> for tokens)"
            raise SettingsError("E851", f"no data directory is given for {flag}", "", fix)
    require_one_codec([paths.codec, paths.train_dump, paths.valid_dump])
    require_rate(model, [path for path in (paths.train, paths.valid) if path])
    train = MAKERS[data.train](model, *places[0], data, data.epoch_size, data.max_frames, data.seed)
    valid = MAKERS[data.valid](model, *places[1], data, data.valid_size, None, data.seed + 1)
    for made, (directory, _) in zip((train, valid), places, strict=True):
        if len(made) == 0:
            fix = "look at skipped.tsv of its dump directory (stage 2)"
            raise SettingsError("E851", "gives no examples", directory, fix)
    return train, valid


def require_one_codec(directories: list[str]) -> None:
    """Raise ArkError unless those that are given (not "") name the same codec."""
    given = [directory for directory in directories if directory]
    for directory in given[1:]:
        require_codec(directory, read_codec_info(given[0]))


def require_rate(model: Any, directories: list[str]) -> None:
    """Raise SettingsError when the audio of a directory is not at the model's `sample_rate`: a network learns from
    audio of any rate, and separates the right one worse without a word."""
    wanted = getattr(model, "sample_rate", None)
    waves = {"mixture", "sources", "wav"} & set(model.fields)
    for directory in directories if wanted and waves else []:
        path = next(iter(DataDir(directory).table("wav.scp").values()))
        found = audio.sample_rate(path)
        if found != wanted:
            what = f"is at {found} Hz, the model reads {wanted} Hz"
            fix = "set network.sample_rate where the model has it, or make data of that rate (stage 0)"
            raise SettingsError("E851", what, directory, fix)


def _static(
    model: Any, path: str, dump: str, data: DataConfig, size: int, max_frames: int | None, seed: int
) -> TrainingSet:
    from codecsep.data.examples import Dataset

    cropped = max_frames is not None and "sequence" in model.fields  # stored sequences cannot be cropped
    return Dataset(
        Path(path), Path(dump) if dump else None, model.fields, max_frames, model.sequence if cropped else None
    )


def _dynamic(
    model: Any, path: str, dump: str, data: DataConfig, size: int, max_frames: int | None, seed: int
) -> TrainingSet:
    from codecsep.data import mixing
    from codecsep.data.examples import DynamicConfig, DynamicDataset

    mix = mixing.Config(data.num_speakers, data.mode, data.min_loudness, data.max_loudness, data.max_offset)
    config = DynamicConfig(size, max_frames, data.level_jitter, mix)
    sequence = model.sequence if "sequence" in model.fields else None
    return DynamicDataset(Path(path), Path(dump) if dump else None, model.fields, config, seed, sequence)


def _crops(
    model: Any, path: str, dump: str, data: DataConfig, size: int, max_frames: int | None, seed: int
) -> TrainingSet:
    from codecsep.data.crops import CropDataset

    return CropDataset(Path(path), data.crop_seconds, size, seed)


MAKERS = {"static": _static, "dynamic": _dynamic, "crops": _crops}
