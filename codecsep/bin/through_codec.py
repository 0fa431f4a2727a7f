"""What a directory's audio becomes when a codec transmits it: encoded, quantised, decoded.

    python -m codecsep.bin.through_codec --codec exp/codec --in data/test --out exp/coded/test
    python -m codecsep.bin.through_codec --codec exp/codec --in exp/decode/x/test --out exp/decode/x_after/test

--in is a data directory (its wav.scp is coded; the other tables are copied, so that it can be separated) or the
estimates of a system (every spk<j>.scp is coded).  Lengths and rates stay; so does the codec's delay.  Codecformer's
paper compares with a separator on such audio (arXiv 2406.12434; before, after, or on both sides is not said).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from codecsep import config
from codecsep.bin import upstream
from codecsep.data import atomic, audio, datadir, manifest
from codecsep.data.lock import locked
from codecsep.errors import CodecsepError

PROG = "through_codec"
VERSION = 1  # counts changes of the code that change what is written
BATCH = 8  # signals at a time, of similar length


class CodedError(CodecsepError):
    """A directory that holds nothing to be coded."""


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--codec", type=Path, required=True, help="directory of the codec, of stage 1")
    parser.add_argument("--in", dest="given", type=Path, required=True, help="data directory, or estimates of stage 6")
    parser.add_argument("--out", type=Path, required=True, help="directory to make")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (auto: a GPU where there is one)")
    return parser


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    tables = tables_of(args.given)
    upstream.require(args.given, "6" if tables[0] != "wav.scp" else "0")
    upstream.require(args.codec, "1")
    work = work_of(args.given, args.codec, tables)
    with locked(args.out.parent, f".{args.out.name}.lock"):
        if manifest.current(args.out, work) is None:
            print(f"{PROG}: {args.out} is up to date", file=sys.stderr)
            return 0
        code(args, tables, work)
    return 0


def tables_of(folder: Path) -> list[str]:
    """What is coded: the mixtures of a data directory, else all estimates. Raises CodedError."""
    if (folder / "wav.scp").is_file():
        return ["wav.scp"]
    found = sorted(path.name for path in folder.glob("spk*.scp"))
    if not found:
        raise CodedError("E541", "holds neither wav.scp nor spk1.scp", folder, "run --stage 0 (data) or 6 (estimates)")
    return found


def work_of(folder: Path, codec: Path, tables: list[str]) -> manifest.Work:
    """What the result depends on."""
    files = [codec / "codec.json", *(folder / name for name in tables)]
    return manifest.Work("6", files, values={"version": VERSION}, audio=upstream.audio_of(folder, tables))


def code(args: argparse.Namespace, tables: list[str], work: manifest.Work) -> None:
    """Write the directory beside its place, then put it there."""
    import torch

    from codecsep.codecs import base

    device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    coder = base.load(args.codec, device)
    work.described()
    with atomic.replacing_dir(args.out) as beside:
        if tables == ["wav.scp"]:
            copy_tables(args.given, beside)
        for name in tables:
            paths = datadir.read_table(args.given / name)
            coded = {key: args.out / "wav" / f"{Path(name).stem}_{key}.wav" for key in paths}
            for batch in batches(paths):
                code_batch(coder, device, paths, batch, beside / "wav", coded)
            datadir.write_table(beside / name, coded)
    count = len(datadir.read_table(args.out / tables[0]))
    files = sorted(path for path in args.out.rglob("*") if path.is_file())
    manifest.finish(args.out, work, files, manifest.Counts(count, count))
    print(f"{PROG}: {args.out}: {count} utterances through {args.codec}", file=sys.stderr)


def copy_tables(source: Path, target: Path) -> None:
    """The tables of a data directory apart from its mixtures, and from what its stage noted of them; paths in them
    stay."""
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name not in ("wav.scp", "manifest.json") and not path.name.startswith("."):
            shutil.copyfile(path, target / path.name)


def batches(paths: dict[str, str]) -> list[list[str]]:
    """Ids of similar length together."""
    order = sorted(paths, key=lambda key: (audio.num_samples(paths[key]), key))
    return [order[start : start + BATCH] for start in range(0, len(order), BATCH)]


def code_batch(coder, device: str, paths: dict, batch: list[str], folder: Path, coded: dict[str, Path]) -> None:
    """Some signals through the codec, each at its own rate and length."""
    from codecsep.bin.codec_ceiling import resynthesise

    read = {key: audio.read_audio(paths[key]) for key in batch}
    rate = next(iter(read.values()))[1]
    for key, samples in zip(batch, resynthesise(coder, [read[key][0] for key in batch], rate), strict=True):
        audio.write_audio(folder / coded[key].name, samples, rate)


if __name__ == "__main__":
    sys.exit(main())
