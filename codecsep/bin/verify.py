"""Check finished results again, byte by byte: `python -m codecsep.bin.verify exp dump data` in a recipe directory.

Below the given directories every folder with a manifest is checked: the SHA-256 of each output and input, the counts,
every record of token arks, the header of every audio file against utt2num_samples, the fingerprint of codecs. One line
per folder on stdout; status 1 when any is damaged, unfinished, or was made from what has changed since.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from codecsep import config
from codecsep.codecs.base import check_fingerprint
from codecsep.data import audio, manifest, skipped
from codecsep.data.ark import TokenReader, read_codec_info
from codecsep.data.datadir import DataDir, read_table
from codecsep.data.digest import text_sha256
from codecsep.data.latent_ark import LatentReader
from codecsep.errors import CodecsepError

PROG = "verify"
ENDING = "manifest.json"
OF_RESULT = re.compile(r"((?P<name>[^.].*)\.)?manifest\.json|\.((?P<mark>.+)\.)?done")


class VerifyError(CodecsepError):
    """A call that finds nothing to check, or a result that is damaged."""


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__ or "")
    parser.add_argument("folders", nargs="+", type=Path, metavar="exp/... dump/... data/...", help="where to look")
    return parser


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    args, rest = config.parse(make_parser(), argv)
    if rest:
        raise VerifyError("E855", f"not understood: {' '.join(rest)}", "command line", "see --help")
    found = {folder: names for root in args.folders for folder, names in results(root)}
    if not found:
        where = ", ".join(map(str, args.folders))
        raise VerifyError("E857", "no finished result below", where, "give directories that stages have made")
    num_bad = 0
    for folder in sorted(found, key=os.fsencode):
        problems = problems_of(folder, found[folder])
        num_bad += bool(problems)
        print(f"{problems[0]}{more(problems)}" if problems else f"{folder}: whole: {size_of(folder, found[folder])}")
    print(f"{PROG}: {len(found) - num_bad} of {len(found)} results are whole", file=sys.stderr)
    return 1 if num_bad else 0


def more(problems: list[str]) -> str:
    return f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""


def results(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """(folder, names of its manifests) of every folder below `root` that a stage has made, or began to make."""
    for path, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = {match["name"] or match["mark"] or "" for file in files if (match := OF_RESULT.fullmatch(file))}
        if names:
            yield Path(path), sorted(names)


def size_of(folder: Path, names: list[str]) -> str:
    """How much was checked, in words."""
    sizes: dict[str, int] = {}
    made = []
    for name in names:
        content = json.loads(manifest.manifest_file(folder, name).read_text(encoding="utf-8"))
        sizes |= {file: noted["size"] for file, noted in outputs_of(content).items()}
        made.append(content.get("counts", {}).get("made", 0))
    return f"{max(made)} made, {len(sizes)} files, {sum(sizes.values()) / 2**20:.1f} MiB"


def outputs_of(content: dict) -> dict[str, dict]:
    """The files of a manifest; those of checkpoints call them `files`."""
    return content["outputs"] if "outputs" in content else content["files"]


def problems_of(folder: Path, names: list[str]) -> list[str]:
    """Everything that is wrong with a folder; [] when it is whole."""
    whole: set[Path] = set()
    found = [text for name in names for text in told(lambda name=name: hashes(folder, name, whole))]
    if any(not line.startswith("E121 ") for line in found):
        return found  # what is inside is of no interest when the bytes are not those that were written
    return [text for look in LOOKS for text in told(lambda look=look: look(folder))] + found


def told(look: Callable[[], Iterator[CodecsepError]]) -> Iterator[str]:
    """The problems that a check yields or raises, as lines."""
    try:
        yield from map(str, look())
    except (CodecsepError, OSError) as error:
        yield str(error)


def hashes(folder: Path, name: str, whole: set[Path]) -> Iterator[CodecsepError]:
    """Manifest, outputs, counts and inputs of one result. Files found whole are added to `whole`, not read again."""
    files = checkpoint_of(folder, name)
    if files is not None:
        yield from checkpoint(folder, files)
        return
    damaged = set()
    for file, what in manifest.faults(folder, name, whole.__contains__):
        damaged.add(file)
        yield VerifyError("E127" if file else "E120", what, folder, "run its stage again")
    if "" in damaged:
        return
    content = manifest.read(folder, name)
    fix = f"run --stage {content['stage']} again"
    whole |= {folder / file for file in content["outputs"] if file not in damaged}
    manifest.check_counts(manifest.Counts(**content["counts"]), folder)
    for what in manifest.stale(folder, name, manifest.never):
        yield VerifyError("E121", f"{what} (as seen from {os.getcwd()})", folder, fix)


def checkpoint_of(folder: Path, name: str) -> dict[str, dict] | None:
    """The files of a checkpoint by its manifest, which calls them `files`; None when the folder is none."""
    try:
        files = json.loads((folder / ENDING).read_text(encoding="utf-8"))["files"] if not name else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return files if isinstance(files, dict) else None


def checkpoint(folder: Path, files: dict[str, dict]) -> Iterator[CodecsepError]:
    """The files of a checkpoint, and that its manifest is the one that was written."""
    fix = "the training goes on from the checkpoint before; delete this one"
    done, text = folder / ".done", (folder / ENDING).read_text(encoding="utf-8")
    is_changed = done.exists() and done.read_text(encoding="utf-8", errors="replace").strip() != text_sha256(text)
    if is_changed or not manifest.are_noted(files):
        yield VerifyError("E127", f"{folder / ENDING} was changed after it was written", folder, fix)
        return
    for file, noted in files.items():
        what = manifest.fault(folder / file, noted)
        if what:
            yield VerifyError("E127", what, folder, fix)


def skipped_list(folder: Path) -> Iterator[CodecsepError]:
    """skipped.tsv has the line count that the manifest says, and so has the table of what was made."""
    path = folder / skipped.NAME
    if not path.is_file() or not manifest.manifest_file(folder).is_file():
        return
    counts = manifest.read(folder)["counts"]
    tables = [folder / name for name in ("utt2num_frames", "wav.scp") if (folder / name).is_file()]
    lengths = {path: len(skipped.read(path))} | {table: len(read_table(table)) for table in tables[:1]}
    wanted = {path: counts["skipped"]} | {table: counts["made"] for table in tables[:1]}
    for file, length in lengths.items():
        if length != wanted[file]:
            what = f"has {length} lines, its manifest counts {wanted[file]}"
            yield VerifyError("E124", what, file, "run its stage again")


def arks(folder: Path) -> Iterator[CodecsepError]:
    """Every record of every ark of ours: place, kind, range, CRC-32. Raises ArkError at the first that is wrong."""
    for scp in sorted(folder.glob("*.scp")):
        if scp.with_suffix(".crc").is_file():
            reader = LatentReader(scp) if scp.name.split(".")[0].endswith("latents") else TokenReader(scp)
            for key in reader:
                reader[key]
            if set(reader) != set(read_table(scp.with_suffix(".crc"))):
                what = f"lists {len(reader)} utterances, its .crc file others"
                yield VerifyError("E127", what, scp, "run its stage again")


def audio_headers(folder: Path) -> Iterator[CodecsepError]:
    """Header and length of every file that a data directory lists."""
    if not (folder / "wav.scp").is_file() or not (folder / "utt2num_samples").is_file():
        return
    directory, fix = DataDir(folder), "run --stage 0 again, or restore the file"
    noted = directory.table("utt2num_samples")
    for name in ("wav.scp", *(f"{speaker}.scp" for speaker in directory.speakers())):
        for key, path in directory.table(name).items():
            length = audio.num_samples(path)
            if length != int(noted[key]) and (name == "wav.scp" or length > int(noted[key])):
                what = f"{key}: {path} has {length} samples, utt2num_samples says {noted[key]}"
                yield VerifyError("E202", what, folder / name, fix)


def codec(folder: Path) -> Iterator[CodecsepError]:
    """The weights are those that codec.json names. Raises CodecError."""
    if (folder / "codec.json").is_file():
        info = read_codec_info(folder)
        if (weights := folder / f"{info.name}.safetensors").is_file():
            check_fingerprint(weights, info.fingerprint)
    yield from ()


LOOKS = (skipped_list, arks, audio_headers, codec)


if __name__ == "__main__":
    sys.exit(main())
