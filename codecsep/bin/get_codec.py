"""Put a codec into a recipe's directory: `python -m codecsep.bin.get_codec --out exp/codec`.

Without `--from` the committed weights of the mini codec are copied; `--from exp/codec_train` exports a training as
float16 safetensors, config.yaml and codec.json with the weights' SHA-256 and the measured delay.

    ... --codec dac --weights dac_16khz.pth --sample_rate 16000 --data data/dev_sources --out exp/codec

converts official weights (a path, or the name of a download; `--<key> value` sets a size of the codec's Config); where
codebooks are fitted apart, `--centres` names them (codecsep.bin.train_kmeans).  The directory appears whole,
manifest.json and .done with it; what is there and made from the same weights is not made again (unless --force).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from codecsep import config
from codecsep.bin import codec_export
from codecsep.bin.codec_folder import make, require_data
from codecsep.codecs.base import CodecError, check_fingerprint
from codecsep.data import manifest
from codecsep.data.ark import CodecInfo, read_codec_info
from codecsep.data.digest import file_sha256
from codecsep.faults import faultpoint

PROG = "codecsep-get-codec"
COMMITTED = Path(__file__).resolve().parents[2] / "egs" / "prompts2mix" / "codec" / "weights"


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__ or "")
    parser.add_argument("--out", type=Path, required=True, help="where the codec goes, such as exp/codec")
    parser.add_argument("--from", dest="source", type=Path, help="a codec directory or a training")
    parser.add_argument("--codec", help="convert official weights: a file of codecs/, such as encodec, dac, melrvq")
    parser.add_argument("--weights", help="of --codec: a file or directory, or the name of a download")
    parser.add_argument("--sha256", help="which the file of --weights must have")
    parser.add_argument("--centres", type=Path, help="codebooks fitted apart (melrvq, units): file or directory")
    parser.add_argument("--data", type=Path, help="sources directory on whose speech the delay is measured")
    parser.add_argument("--force", action="store_true", help="make it again even when it is up to date")
    return parser


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    args, overrides = config.parse(make_parser(), argv)
    work, fill = conversion(args, overrides) if args.codec else taken_over(args, overrides)
    state = "is up to date" if make(args.out, work, fill, args.force) else "made"
    info = read_codec_info(args.out)
    print(f"{PROG}: {args.out} {state}: {info.name}, {info.num_codebooks} x {info.codebook_size} at "
          f"{info.frame_rate:g} Hz, delay {info.delay_samples} samples, SHA-256 {info.fingerprint[:12]}...",
          file=sys.stderr)  # fmt: skip
    return 0


def conversion(args: argparse.Namespace, overrides: list[str]) -> tuple[manifest.Work, Callable[[Path], None]]:
    """What is to be done for `--codec`: official weights become a codec directory."""
    if args.source:
        raise CodecError("E855", "--from and --codec were both given", "command line", "give one of them")
    official = codec_export.Conversion(args, overrides)
    centres = codec_export.centres_file(official.module, args.centres)
    files = [*centres, *require_data(args.data)]
    return official.work(files), lambda folder: official.run(centres[0] if centres else None, args.data, folder)


def taken_over(args: argparse.Namespace, overrides: list[str]) -> tuple[manifest.Work, Callable[[Path], None]]:
    """What is to be done for `--from`: a copy of a codec directory, or the export of a training."""
    alien = {"--weights": args.weights, "--sha256": args.sha256, "--centres": args.centres, "--config": args.config}
    if given := [*overrides, *(name for name, value in alien.items() if value)]:
        raise CodecError("E855", f"not understood without --codec: {' '.join(given)}", "command line", "see --help")
    source = args.source or COMMITTED
    if (source / "codec.json").is_file():
        return work_of_copy(source), lambda folder: copy(source, folder)
    if (source / "best.safetensors").is_file():
        work = codec_export.work_of_training(source, args.data)
        return work, lambda folder: codec_export.export_training(source, args.data, folder)
    raise CodecError("E350", "holds neither codec.json nor best.safetensors", source, "run the codec's stage 1")


def work_of_copy(source: Path) -> manifest.Work:
    """A copy depends on what is copied, wherever that lies. Raises CodecError when a file is missing or changed."""
    info = read_codec_info(source)
    names = files_of(info)
    check_fingerprint(source / names[0], info.fingerprint)
    for name in names[1:]:
        if not (source / name).is_file():
            raise CodecError("E350", "missing", source / name, "run the codec's stage 1")
    return manifest.Work("1", values={name: file_sha256(source / name) for name in names})


def copy(source: Path, folder: Path) -> None:
    """Copy the files of a codec directory, codec.json last."""
    *others, description = files_of(read_codec_info(source))
    for name in others:
        shutil.copyfile(source / name, folder / name)
    faultpoint("codec.mid")
    shutil.copyfile(source / description, folder / description)


def files_of(info: CodecInfo) -> list[str]:
    """The files of a codec directory, the weights first."""
    return [f"{info.name}.safetensors", "config.yaml", "codec.json"]


if __name__ == "__main__":
    sys.exit(main())
