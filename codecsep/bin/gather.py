"""Decoded systems of several recipes of one corpus, brought together to be scored in one table.

    cd egs/prompts2mix
    python -m codecsep.bin.gather --recipes slm_ss convtasnet codecformer --out exp/compare/inputs
    mapfile -t arguments < exp/compare/inputs/arguments
    python -m codecsep.bin.score "${arguments[@]}" --out exp/compare

Each finished <recipe>/exp/decode/<system>/<set> is a system; those called <system>_seed<N> are runs of one.  Lists are
written anew with paths from here, nothing else is copied.  What passed a codec, and how often, is read from the
manifests of stages 1 to 6.  Recipes whose sets are not the same audio, byte for byte, or whose codecs differ, are
refused: their numbers do not belong into one table.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codecsep import config
from codecsep.data import atomic, datadir, manifest
from codecsep.data.ark import read_codec_info
from codecsep.data.datadir import DataDir
from codecsep.data.digest import file_sha256
from codecsep.errors import CodecsepError

PROG = "gather"
SEED = re.compile(r"_seed\d+$")
NAMES = {"pit": "pit_classifier"}  # systems that go by another name in tables
NOTES = ("decode.json", "timing.json")  # how decoding went


class GatherError(CodecsepError):
    """Recipes that cannot stand in one table."""


@dataclass(frozen=True)
class Decoded:
    """One directory of estimates. codecs: the SHA-256 of codec.json at each passing of a codec."""

    system: str
    recipe: Path
    folder: Path
    codecs: tuple[str, ...]

    @property
    def run(self) -> str:
        """Its name among those of all recipes."""
        return f"{self.recipe.name}.{self.folder.parent.name}"


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add(
        "--recipes",
        type=Path,
        nargs="+",
        required=True,
        help="recipe directories; those that decoded nothing are left out",
    )
    add("--set", default="test", help="which set was decoded (test)")
    add("--systems", nargs="*", default=[], help="only these (all)")
    add("--out", type=Path, required=True, help="where the lists go, and `arguments` for bin/score, one a line")
    return parser


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    found = [one for recipe in args.recipes for one in decoded(recipe, args.set)]
    found = [one for one in found if not args.systems or one.system in args.systems]
    if not found:
        raise GatherError("E541", f"no recipe holds a finished exp/decode/*/{args.set}", "--recipes", "run --stage 6")
    found.sort(key=lambda one: (len(one.codecs), args.recipes.index(one.recipe), one.run))
    recipes = list(dict.fromkeys(one.recipe for one in found))
    require_same_audio(recipes, args.set)
    codec = codec_of(found)
    with atomic.replacing_dir(args.out) as beside:
        write_data(recipes[0], args.set, beside / "data")
        if codec is not None:
            link_codec(codec, beside / "codec")
        for one in found:
            write_run(one, beside / one.run)
        atomic.write_text(beside / "arguments", "\n".join(arguments(found, args.out, codec)) + "\n")
    print(f"{PROG}: {args.out}: {len(found)} runs of {len(recipes)} recipes", file=sys.stderr)
    return 0


def decoded(recipe: Path, name: str) -> list[Decoded]:
    """The finished decodings of a recipe. Raises StageError when one is damaged, or what it was made from changed."""
    found = []
    for folder in sorted(recipe.glob(f"exp/decode/*/{name}")):
        if not (folder / ".done").is_file():
            print(f"{PROG}: {folder} is not finished and is left out", file=sys.stderr)
            continue
        require_current(recipe, folder)
        system = SEED.sub("", folder.parent.name)
        found.append(Decoded(NAMES.get(system, system), recipe, folder, codecs_of(recipe, folder)))
    return found


def require_current(recipe: Path, folder: Path) -> None:
    """manifest.require for a directory whose inputs are named from its recipe, and not from here."""
    if what := manifest.problem(folder):
        raise manifest.StageError("E120", what, folder, f"run --stage 6 in {recipe}")
    for name, noted in manifest.read(folder)["inputs"].items():
        if what := manifest.fault(recipe / name, noted):
            what = f"it was made from what has changed since: {what}"
            raise manifest.StageError("E121", what, folder, f"run --stage 6 again in {recipe}")


def codecs_of(recipe: Path, folder: Path) -> tuple[str, ...]:
    """The codecs that audio passed on its way into a directory, by the manifests: its own, and those of its inputs."""
    if not manifest.manifest_file(folder).is_file():
        return ()
    inputs = manifest.read(folder)["inputs"]
    own = [noted["sha256"] for name, noted in inputs.items() if Path(name).name == "codec.json"]
    before = sorted({recipe / Path(name).parent for name in inputs if name.endswith(".scp")})
    return (*own, *(codec for path in before for codec in codecs_of(recipe, path)))


def require_same_audio(recipes: list[Path], name: str) -> None:
    """Raise GatherError unless mixtures and sources of the recipes are the same, byte for byte, under the same ids."""
    first, *others = recipes
    wanted = audio_digests(first, name)
    for recipe in others:
        digests = audio_digests(recipe, name)
        differing = sorted(key for key in wanted.keys() | digests.keys() if wanted.get(key) != digests.get(key))
        if differing:
            what = f"{len(differing)} signals of data/{name} are not those of {first} (first: {' '.join(differing[0])})"
            fix = "make the data of both with the same options (--seed, --mode, ...), or leave one out of --recipes"
            raise GatherError("E549", what, recipe, fix)


def audio_digests(recipe: Path, name: str) -> dict[tuple[str, str], str]:
    """{(table, utterance): SHA-256 of the file} of mixtures and sources."""
    data = DataDir(recipe / "data" / name)
    tables = ("wav", *data.speakers())
    return {(one, key): file_sha256(recipe / path) for one in tables for key, path in data.table(f"{one}.scp").items()}


def codec_of(found: list[Decoded]) -> Path | None:
    """The directory of the codec that all codec systems share; None without one. Raises GatherError."""
    owners = {digest: one.recipe / "exp" / "codec" for one in found for digest in one.codecs}
    if len(owners) > 1:
        what = f"the systems passed {len(owners)} different codecs: {', '.join(map(str, owners.values()))}"
        raise GatherError("E508", what, "--recipes", "compare those of one codec, see --systems")
    for digest, path in owners.items():
        if file_sha256(path / "codec.json") != digest:
            raise GatherError("E508", "is not the codec of the estimates", path, "run --stage 6 again in its recipe")
    return next(iter(owners.values()), None)


def write_data(recipe: Path, name: str, out: Path) -> None:
    """The tables of a data directory, with paths from here."""
    for path in sorted((recipe / "data" / name).iterdir()):
        if path.suffix == ".scp":
            write_list(recipe, path, out / path.name)
        elif path.is_file() and path.name != "manifest.json" and not path.name.startswith("."):
            out.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out / path.name)


def write_list(recipe: Path, path: Path, out: Path) -> None:
    datadir.write_table(out, {key: recipe / audio for key, audio in datadir.read_table(path).items()})


def link_codec(codec: Path, out: Path) -> None:
    """Links to the files that a codec is made of (large, so no copies)."""
    out.mkdir(parents=True)
    for name in ("codec.json", "config.yaml", f"{read_codec_info(codec).name}.safetensors"):
        (out / name).symlink_to((codec / name).resolve())


def write_run(one: Decoded, out: Path) -> None:
    """The estimates of one run: its lists, and how decoding went."""
    for path in sorted(one.folder.glob("spk*.scp")):
        write_list(one.recipe, path, out / path.name)
    for path in (one.folder / name for name in NOTES):
        if path.is_file():
            shutil.copyfile(path, out / path.name)


def arguments(found: list[Decoded], out: Path, codec: Path | None) -> list[str]:
    """What bin/score is to be given, a word a line. A name that two recipes use goes with that of the recipe."""
    words = ["--data", str(out / "data"), *(["--codec", str(out / "codec")] if codec else [])]
    names = {one: one.system for one in found}
    for one in found:
        if len({other.recipe for other in found if other.system == one.system}) > 1:
            names[one] = f"{one.recipe.name}_{one.system}"
    for name in dict.fromkeys(names.values()):
        runs = [one for one in found if names[one] == name]
        words += ["--hyp", f"{name}={','.join(str(out / one.run) for one in runs)}"]
        passes = len(runs[0].codecs)
        if codec and passes != 1:
            words += ["--waveform", name] if passes == 0 else ["--passes", f"{name}={passes}"]
    return words


if __name__ == "__main__":
    sys.exit(main())
