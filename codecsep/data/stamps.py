"""Size and time of change of files whose content is known, so that what did not change is not hashed again.

    dump/train/.stamps   {"inputs": {file: stamp}, "outputs": {file: stamp}}

A cache beside a manifest: deleting it costs time only. It is no part of a result and differs from run to run.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from codecsep.data import atomic

Stamps = Mapping[str, Mapping[str, str]]


def stamp(path: str | os.PathLike) -> str:
    """Size and time of change of a file too large to hash each time (audio); "missing" when it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def read_stamps(folder: Path, name: str) -> dict[str, dict[str, str]]:
    """The stamps of a result; {} when there are none or they cannot be read."""
    with suppress(OSError, ValueError):
        stamps = json.loads(_file(folder, name).read_text(encoding="utf-8"))
        if isinstance(stamps, dict) and all(isinstance(part, dict) for part in stamps.values()):
            return stamps
    return {}


def write_stamps(folder: Path, name: str, stamps: Stamps) -> None:
    """Keep the stamps of a result; a folder that cannot be written, or a full disk, goes without."""
    with suppress(OSError, atomic.DiskError), atomic.replacing(_file(folder, name), forced=False) as beside:
        beside.write_text(json.dumps(stamps, indent=0) + "\n", encoding="utf-8")


def _file(folder: Path, name: str) -> Path:
    return Path(folder) / (f".{name}.stamps" if name else ".stamps")
