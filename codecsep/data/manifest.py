"""What a stage has made: `manifest.json` (inputs, outputs, settings, counts) and, as its last act, `.done`.

    dump/train/manifest.json   {"stage", "inputs", "outputs": {file: {"size", "sha256"}}, "settings", "counts", ...}
    dump/train/.done           the SHA-256 of manifest.json
    dump/train/.stamps         size and time of change of each file when it was hashed; a cache that may be deleted

Two stages that share a folder give their files a name: `seq` makes seq.manifest.json and .seq.done.
A stage asks `current` first: None means that its result stands; a sentence says why it must be made (again).
A later stage asks `require`: it raises an error that names the stage to run. Manifests hold contents, no times: the
same work gives the same bytes, and what was made again with the same content makes nothing else outdated. Paths of
inputs are relative to the recipe directory, in which all of this runs.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import codecsep
from codecsep.data import atomic
from codecsep.data.digest import bytes_sha256, file_sha256, text_sha256
from codecsep.data.stamps import read_stamps, stamp, write_stamps
from codecsep.errors import CodecsepError
from codecsep.faults import faultpoint

FORMAT = 1
AUDIO = frozenset({".wav", ".flac", ".ogg", ".mp3", ".g722", ".sph"})  # too large to be hashed at every start
Trust = Callable[[Path], bool]  # files that are whole when their size and time of change are those noted


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
    audio: inputs whose {"size", "sha256"} another manifest has noted, by path; they are not hashed again.
    The inputs are hashed once, when first asked for: what changes while the stage works counts as changed afterwards.
    """

    stage: str
    files: list[Path] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    audio: dict[str, dict[str, Any]] = field(default_factory=dict)
    stamps: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _inputs: dict[str, dict] = field(default_factory=dict, init=False, repr=False)

    def described(self) -> dict[str, Any]:
        """As it stands in the manifest. Raises FileNotFoundError."""
        for path in (path for path in self.files if name_of(path) not in self._inputs):
            self.stamps[name_of(path)] = stamp(path)
            self._inputs[name_of(path)] = describe(path)
        for name in (name for name in self.audio if name not in self.stamps):
            self.stamps[name] = stamp(name)
        inputs = dict(sorted((self._inputs | self.audio).items()))
        return json.loads(
            json.dumps({"stage": self.stage, "inputs": inputs, "values": self.values, "settings": self.settings})
        )


def name_of(path: str | os.PathLike) -> str:
    """How a path stands in a manifest: relative to the working directory when it lies below it."""
    path = os.path.normpath(path)
    here = os.getcwd() + os.sep
    return path.removeprefix(here) if path.startswith(here) else path


def describe(path: Path) -> dict[str, Any]:
    """{"size", "sha256"} of a file. Raises FileNotFoundError."""
    return {"size": path.stat().st_size, "sha256": file_sha256(path)}


def begin(folder: Path, name: str = "") -> None:
    """Before the first change in a folder: it is not done any more. What killed runs left beside is removed."""
    _done_file(folder, name).unlink(missing_ok=True)
    atomic.sweep_inside(Path(folder))


def finish(
    folder: Path,
    work: Work,
    outputs: Iterable[Path],
    counts: Counts,
    name: str = "",
    known: Mapping[str, dict[str, Any]] | None = None,
) -> None:
    """Write the manifest, then `.done`. `outputs`: files in `folder`; they are forced to the disk.

    known: {"size", "sha256"} of outputs that were hashed before, by their path in `folder`.
    Raises StageError (E124) when an utterance is neither in the output nor skipped.
    """
    check_counts(counts, folder)
    made, stamps, outputs = {}, {}, sorted(outputs)
    atomic.force_all(outputs)
    for path in outputs:
        output = str(path.relative_to(folder))
        stamps[output] = stamp(path)
        made[output] = (known or {}).get(output) or describe(path)
    described = {"format": FORMAT, "version": codecsep.__version__, **work.described()}
    text = json.dumps({**described, "outputs": made, "counts": asdict(counts)}, indent=1) + "\n"
    atomic.write_text(manifest_file(folder, name), text)
    write_stamps(folder, name, {"inputs": work.stamps, "outputs": stamps})
    faultpoint("manifest.before_done")
    atomic.write_text(_done_file(folder, name), text_sha256(text) + "\n")
    faultpoint("manifest.after_done")


def check_counts(counts: Counts, where: object) -> None:
    """Raise StageError (E124) unless given = made + skipped."""
    if counts.given != counts.made + counts.skipped:
        what = f"{counts.given} utterances were given, {counts.made} made and {counts.skipped} skipped"
        raise StageError("E124", what, where, "run the stage again; if it stays so, report the log")


def current(folder: Path, work: Work, name: str = "") -> str | None:
    """Why the work must be done; None when its result is there, whole, and made from these very inputs."""
    try:
        return problem(folder, name) or outdated(folder, work, name)
    except StageError as error:
        return str(error)


def outdated(folder: Path, work: Work, name: str = "") -> str | None:
    """What of the work differs from what a finished folder was made from; None: nothing. Outputs are not looked at."""
    old, new = read(folder, name), work.described()
    for key in ("inputs", "values", "settings"):
        changed = difference(old.get(key, {}), new[key])
        if changed:
            return f"{key} changed: {changed}"
    return None


def problem(folder: Path, name: str = "", is_deep: bool = True) -> str | None:
    """What is wrong with the outputs in a folder; None when all are there as they were written.

    is_deep: every file is hashed, audio excepted, which is hashed when its size or time of change differs from the
    noted one. Otherwise all files are treated as audio is.
    """
    return next((what for _, what in faults(folder, name, is_audio if is_deep else always)), None)


def faults(folder: Path, name: str, trust: Trust) -> Iterator[tuple[str, str]]:
    """(output, sentence) for each output that is not as it was written; the output is "" when there is no `.done`."""
    done, path = _done_file(folder, name), manifest_file(folder, name)
    if not done.is_file() or not path.is_file():
        yield "", f"{done} is missing: it was never finished"
    elif f"{bytes_sha256(path.read_bytes())}\n".encode() != done.read_bytes():
        yield "", f"{path} was changed after it was written"
    else:
        files = {str(Path(folder) / output): noted for output, noted in read(folder, name)["outputs"].items()}
        yield from _differing(folder, name, "outputs", files, trust)


def require(folder: Path, stage: str, name: str = "", is_deep: bool = False) -> dict[str, Any]:
    """The manifest of a folder that an earlier stage has made. Raises StageError when it is not done, is damaged, or
    when the inputs that it was made from have changed since."""
    found = problem(folder, name, is_deep)
    if found:
        raise StageError("E120", found, folder, f"run --stage {stage}")
    changed = next(stale(folder, name, is_audio if is_deep else always), None)
    if changed:
        raise StageError("E121", changed, folder, f"run --stage {stage} again, or restore the file")
    return read(folder, name)


def require_unless_brought(folder: Path, stage: str) -> bool:
    """Like `require`, for a folder that may be the user's own (without manifest.json): such a one is taken as it is.

    Returns whether a stage of ours has made it.
    """
    if not manifest_file(folder).exists() and not _done_file(folder, "").exists():
        return False
    try:
        require(folder, stage)
    except StageError as error:
        fix = f"{error.fix}; if the change is meant, delete {manifest_file(folder)} and {_done_file(folder, '')}"
        raise StageError(error.code, error.what, error.where, fix) from None
    return True


def stale(folder: Path, name: str, trust: Trust) -> Iterator[str]:
    """A sentence for each input of a finished folder that is not what the folder was made from."""
    for _, what in _differing(folder, name, "inputs", read(folder, name)["inputs"], trust):
        yield f"it was made from what has changed since: {what}"


def read(folder: Path, name: str = "") -> dict[str, Any]:
    """manifest.json of a folder. Raises StageError when it is no manifest of this version."""
    path = manifest_file(folder, name)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']}, this version reads {FORMAT}")
        if not all(isinstance(manifest[key], dict) for key in ("inputs", "outputs", "values", "settings", "counts")):
            raise ValueError("a part of another kind")
        if not are_noted(manifest["inputs"]) or not are_noted(manifest["outputs"]):
            raise ValueError("a file without size and SHA-256")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StageError("E122", f"cannot be read ({error})", path, "delete it and run its stage again") from error
    return manifest


def are_noted(files: Mapping[str, Any]) -> bool:
    """Does every file have a size and a SHA-256?"""
    return all(
        isinstance(noted, dict) and isinstance(noted.get("size"), int) and isinstance(noted.get("sha256"), str)
        for noted in files.values()
    )


def always(path: Path) -> bool:
    """Trust: a file of the noted size and time of change is whole."""
    return True


def never(path: Path) -> bool:
    """Trust: every file is hashed."""
    return False


def is_audio(path: Path) -> bool:
    """Trust: audio as with `always`, all else is hashed."""
    return path.suffix.lower() in AUDIO


def _differing(
    folder: Path, name: str, kind: str, files: Mapping[str, dict], trust: Trust
) -> Iterator[tuple[str, str]]:
    """(path, sentence) of the files that are not as noted. Stamps of files that were hashed and are whole are kept."""
    stamps = read_stamps(folder, name)
    kept = stamps.get(kind, {})
    prefix = f"{folder}{os.sep}" if kind == "outputs" else ""
    seen = {}
    for file, noted in files.items():
        key, now = file.removeprefix(prefix), stamp(file)
        what = None if trust(Path(file)) and kept.get(key) == now else fault(Path(file), noted)
        if what:
            yield key, what
        else:
            seen[key] = now
    if seen.items() - kept.items():
        write_stamps(folder, name, {**stamps, kind: {**kept, **seen}})


def fault(path: Path, noted: Mapping[str, Any]) -> str | None:
    """How a file differs from the size and SHA-256 that were noted, in words."""
    if not path.is_file():
        return f"{path} is missing"
    size, found = path.stat().st_size, file_sha256(path)
    hashes = f"SHA-256 was {noted['sha256'][:12]}, is {found[:12]}"
    if size != noted["size"]:
        return f"{path} has {size} bytes, {noted['size']} were noted: {hashes}"
    return None if found == noted["sha256"] else f"{path} is damaged or was changed: {hashes}"


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
