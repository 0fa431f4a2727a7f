"""What a codec directory is made from: a training of ours, or official weights (`convert`, `describe`)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from codecsep import config
from codecsep.bin import codec_folder
from codecsep.codecs.base import CodecError, codec_module
from codecsep.data import downloads, manifest
from codecsep.data.ark import CodecInfo
from codecsep.data.digest import file_sha256

CENTRES = "centres.safetensors"  # what bin/train_kmeans.py writes


def work_of_training(experiment: Path, data: Path | None) -> manifest.Work:
    """An export depends on the trained weights and on the recordings on which the delay is measured."""
    lists = codec_folder.require_data(data)
    return manifest.Work("1", [experiment / "best.safetensors", experiment / "config.yaml", *lists])


def export_training(experiment: Path, data: Path, folder: Path) -> None:
    """Turn the training of a mini codec into the files of a codec directory, weights as float16."""
    from codecsep.codecs import mini
    from codecsep.train.checkpoint import load_network

    network = load_network(experiment)[1].codec
    dropped = mini.training_state(network)
    state = {name: value.half() for name, value in network.state_dict().items() if name not in dropped}
    sizes = network.config
    info = CodecInfo(
        name="mini",
        fingerprint="0",
        sample_rate=sizes.sample_rate,
        frame_rate=sizes.sample_rate / sizes.hop,
        hop=sizes.hop,
        num_codebooks=sizes.quantizer.num_codebooks,
        codebook_size=sizes.quantizer.codebook_size,
    )
    codec_folder.write(folder, state, sizes, info, data)


class Conversion:
    """The official weights of a codec, its sizes, and (where codebooks are fitted apart) its centres.

    args: with `codec` (its name), `weights` (a path, the name of a download, None: the codec's only download), `sha256`
    (which the file must have, or None), `config` (a YAML file or None). overrides: of the codec's sizes.
    Raises CodecError for a codec that has no such weights, a missing path, another SHA-256.
    """

    def __init__(self, args: argparse.Namespace, overrides: Sequence[str]):
        name = args.codec
        self.name, self.module = name, codec_module(name)
        if not hasattr(self.module, "convert"):
            fix = "give --from with a codec directory or a training"
            raise CodecError("E356", "has no official weights to convert", f"--codec {name}", fix)
        self.sizes = config.load(self.module.Config, args.config, overrides)
        self.weights = find_weights(name, args.weights)
        check_sha256(self.weights, args.sha256)

    def files(self) -> list[Path]:
        """What the weights consist of."""
        if self.weights.is_file():
            return [self.weights]
        return sorted(path for path in self.weights.rglob("*") if path.is_file())

    def work(self, files: Sequence[Path]) -> manifest.Work:
        """A conversion depends on the official files, on further ones (centres, recordings) and on the sizes."""
        values = {"codec": self.name}
        return manifest.Work("1", [*self.files(), *files], values, config.to_dict(self.sizes))

    def run(self, centres: Path | None, data: Path, folder: Path) -> None:
        """Write the files of a codec directory, the delay measured on the recordings of `data`."""
        state = self.module.convert(self.weights, self.sizes)
        if has_centres(self.module):
            from codecsep.codecs.centres import read_centres

            state |= read_centres(centres, self.module.centres_shape(self.sizes))
        codec_folder.write(folder, state, self.sizes, self.module.describe(self.sizes), data)


def centres_file(module: ModuleType, given: Path | None) -> list[Path]:
    """The file of the centres, when the codebooks are fitted apart. Raises CodecError when it was not given."""
    if not has_centres(module):
        return []
    if given is None:
        fix = "fit them (python -m codecsep.bin.train_kmeans) and give --centres"
        raise CodecError("E358", "has codebooks that are fitted to speech", module.__name__, fix)
    return [given / CENTRES if given.is_dir() else given]


def has_centres(module: ModuleType) -> bool:
    """Are this codec's codebooks fitted by k-means, apart from its network?"""
    return hasattr(module, "centres_shape")


def find_weights(codec: str, given: str | None) -> Path:
    """The path of weights that were given by path or by name. Raises CodecError, DownloadError."""
    known = downloads.of_codec(codec)
    names = ", ".join(weight.name for weight in known) or "none"
    if given is None and len(known) == 1:
        return downloads.find(known[0])
    if given is None:
        fix = f"give --weights PATH, or the name of a download ({names})"
        raise CodecError("E359", "which weights?", f"--codec {codec}", fix)
    if Path(given).exists():
        return Path(given)
    if given in downloads.BY_NAME:
        return downloads.find(downloads.BY_NAME[given])
    raise CodecError(
        "E359", f"no such file or directory, and no download of {codec} ({names})", given, "check --weights"
    )


def check_sha256(path: Path, wanted: str | None) -> None:
    """Raise CodecError unless the file has this SHA-256; without one, tell which it has and whether it is pinned."""
    if path.is_dir():
        if wanted:
            raise CodecError("E359", "is a directory, which has no SHA-256", path, "give --weights FILE with --sha256")
        return
    found = file_sha256(path)
    if wanted and found != wanted.lower():
        raise CodecError("E359", f"has the SHA-256 {found}, not {wanted}", path, "get the right file")
    pinned = [weight.name for weight in downloads.WEIGHTS if weight.sha256 == found]
    if not wanted:
        what = f"the pinned {pinned[0]}" if pinned else "not one that is pinned here; to insist on it give --sha256"
        print(f"{path}: SHA-256 {found} ({what})", file=sys.stderr)
