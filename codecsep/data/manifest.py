"""What a stage has made: `manifest.json` (inputs, outputs, settings, counts) and, as its last act, `.done`.

    dump/train/manifest.json   {"stage", "inputs", "outputs": {file: {"size", "sha256"}}, "settings", "counts", ...}
    dump/train/.done           the SHA-256 of manifest.json

Two stages that share a folder give their files a name: `seq` makes seq.manifest.json and .seq.done.
A stage asks `current` first: None means that its result stands; a sentence says why it must be made (again).
A later stage asks `require`: it raises an error that names the stage to run.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from codecsep.data import atomic
from codecsep.data.digest import file_sha256, text_sha256
from codecsep.errors import CodecsepError
from codecsep.faults import faultpoint

FORMAT = 1


class StageError(CodecsepError):
    """A folder that an earlier stage must make, or make again."""


@dataclass
class Counts:
    """Utterances: given, in the output, and listed with a reason in skipped.tsv. given = made + skipped."""

    given: int
    made: int
    skipped: int = 0


@dataclass
class Work:
    """What a result depends on. `files`: inputs that are hashed; `values`: digests, versions and the like.

    settings: nested plain values that change the result. stage: the number that a message tells the user to run.
    """

    stage: str
    files: list[Path] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        inputs = {str(path): describe(path) for path in self.files}
        return json.loads(
            json.dumps({"stage": self.stage, "inputs": inputs, "values": self.values, "settings": self.settings})
        )


def describe(path: Path) -> dict[str, Any]:
    """{"size", "sha256"} of a file. Raises FileNotFoundError."""
    return {"size": path.stat().st_size, "sha256": file_sha256(path)}


def begin(folder: Path, name: str = "") -> None:
    """Before the first change in a folder: it is not done any more."""
    _done_file(folder, name).unlink(missing_ok=True)


def finish(folder: Path, work: Work, outputs: Iterable[Path], counts: Counts, name: str = "") -> None:
    """Write the manifest, then `.done`. `outputs`: files in `folder`; they are forced to the disk."""
    made = {}
    for path in sorted(outputs):
        atomic.force(path)
        made[str(path.relative_to(folder))] = describe(path)
    text = json.dumps({"format": FORMAT, **work.described(), "outputs": made, "counts": asdict(counts)}, indent=1)
    atomic.write_text(manifest_file(folder, name), text + "\n")
    faultpoint("manifest.before_done")
    atomic.write_text(_done_file(folder, name), text_sha256(text + "\n") + "\n")
    faultpoint("manifest.after_done")


def current(folder: Path, work: Work, name: str = "") -> str | None:
    """Why the work must be done; None when its result is there, whole, and made from these very inputs."""
    found = problem(folder, name)
    if found:
        return found
    old, new = read(folder, name), work.described()
    for key in ("inputs", "values", "settings"):
        changed = difference(old.get(key, {}), new[key])
        if changed:
            return f"{key} changed: {changed}"
    return None


def problem(folder: Path, name: str = "", is_deep: bool = True) -> str | None:
    """What is wrong with the outputs in a folder; None when all are there as they were written.

    is_deep: compare SHA-256 too, not only sizes.
    """
    done, path = _done_file(folder, name), manifest_file(folder, name)
    if not done.is_file() or not path.is_file():
        return f"{done} is missing: it was never finished"
    if text_sha256(path.read_text(encoding="utf-8", errors="replace")) != done.read_text(errors="replace").strip():
        return f"{path} was changed after it was written"
    for output, noted in read(folder, name)["outputs"].items():
        file = folder / output
        if not file.is_file():
            return f"{file} is missing"
        if file.stat().st_size != noted["size"]:
            return f"{file} has {file.stat().st_size} bytes, {noted['size']} were written"
        if is_deep and file_sha256(file) != noted["sha256"]:
            return f"{file} is damaged or was changed (its SHA-256 differs)"
    return None


def require(folder: Path, stage: str, name: str = "", is_deep: bool = False) -> dict[str, Any]:
    """The manifest of a folder that an earlier stage has made. Raises StageError when it is not done, is damaged, or
    when the inputs that it was made from have changed since."""
    found = problem(folder, name, is_deep)
    if found:
        raise StageError("E120", found, folder, f"run --stage {stage}")
    manifest = read(folder, name)
    for file, noted in manifest["inputs"].items():
        path = Path(file)
        now = describe(path) if path.is_file() else {"sha256": "nothing: the file is gone"}
        if now["sha256"] != noted["sha256"]:
            what = f"{file} has changed since: SHA-256 was {noted['sha256'][:12]}, is {now['sha256'][:12]}"
            raise StageError("E121", what, folder, f"run --stage {stage} again, or restore the file")
    return manifest


def read(folder: Path, name: str = "") -> dict[str, Any]:
    """manifest.json of a folder. Raises StageError when it is no manifest of this version."""
    path = manifest_file(folder, name)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT or not isinstance(manifest["outputs"], dict):
            raise ValueError(f"format {manifest['format']}, this version reads {FORMAT}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError("E122", f"cannot be read ({error})", path, "delete it and run its stage again") from error
    return manifest


def manifest_file(folder: Path, name: str = "") -> Path:
    return Path(folder) / (f"{name}.manifest.json" if name else "manifest.json")


def _done_file(folder: Path, name: str) -> Path:
    return Path(folder) / (f".{name}.done" if name else ".done")


def difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> str:
    """The first keys in which two nested mappings differ, in words: "options.seed: 1 -> 2"; empty when none does."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found.append(difference(before, after, f"{prefix}{key}."))
        elif before != after:
            found.append(f"{prefix}{key}: {_short(before)} -> {_short(after)}")
    return "; ".join([part for part in found if part][:3])


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def stamp(path: str | os.PathLike) -> str:
    """Size and time of change of a file too large to hash each time (audio); "missing" when it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"
