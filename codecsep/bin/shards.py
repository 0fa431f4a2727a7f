"""Work of stage 2 dealt out to several jobs: what one has made, whether it is still valid, and joining the parts.

A job notes what it has made in `shard.<i>of<n>.json`. After that it looks whether all parts are there; so the last one
to finish, whichever it is, joins them. Joining reads only finished files and renames its own into place: should two
jobs do it at once, they write the same.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from codecsep.data import atomic
from codecsep.data.ark import CodecInfo, write_codec_info
from codecsep.data.datadir import DataDir, write_table


class ShardError(ValueError):
    """A part that does not exist; the message says what to do."""


class SkippedError(ValueError):
    """Too many utterances could not be used."""


class Shard:
    """Part `job` of `num_jobs` (from 1) of the arks `names` in the directory `out`, made from `origin`."""

    def __init__(self, out: Path, names: Sequence[str], job: int, num_jobs: int, origin: dict):
        self.out, self.names, self.job, self.num_jobs = out, list(names), job, num_jobs
        self.origin = json.loads(json.dumps(origin))

    def prefix(self, name: str, job: int | None = None) -> str:
        """Path of an ark without its ending; a single job writes the final name."""
        return f"{self.out}/{name}" if self.num_jobs == 1 else f"{self.out}/{name}.{job or self.job}"

    def note(self, job: int | None = None) -> Path:
        return self.out / f"shard.{job or self.job}of{self.num_jobs}.json"

    def all_done(self) -> bool:
        """Is the joined directory there, made from this origin?"""
        files = [self.out / f"{name}.scp" for name in self.names] + [self.out / "utt2num_frames"]
        return self._made_from_origin(self.out / "manifest.json") and all(file.is_file() for file in files)

    def done(self, job: int | None = None) -> bool:
        """Is a part (this one) there, made from this origin?"""
        scps = [Path(f"{self.prefix(name, job)}.scp") for name in self.names]
        return self._made_from_origin(self.note(job)) and all(scp.is_file() for scp in scps)

    def begin(self) -> None:
        """Before this part is made: the joined directory, and notes of parts of another origin, are no longer valid."""
        self.out.mkdir(parents=True, exist_ok=True)
        stale = [note for note in self.out.glob("shard.*of*.json") if not self._made_from_origin(note)]
        for name in self.names:  # what a killed run of this job left beside
            stale += self.out.glob(f".{Path(self.prefix(name)).name}.ark.*.tmp")
        for path in (self.out / "manifest.json", self.note(), *stale):
            path.unlink(missing_ok=True)

    def finish(self, frames: dict[str, int], skipped: dict[str, str]) -> None:
        """Note that this part is whole: frames by utterance, and the reasons of those left out."""
        atomic.write_text(self.note(), json.dumps(self.origin | {"frames": frames, "skipped": skipped}) + "\n")

    def read(self, job: int) -> dict:
        return json.loads(self.note(job).read_text(encoding="utf-8"))

    def _made_from_origin(self, path: Path) -> bool:
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(note, dict) and {key: note.get(key) for key in self.origin} == self.origin


def job_of(text: str) -> tuple[int, int]:
    """"2/4" -> (2, 4). Raises ShardError on anything else."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
    if not match or int(match[1]) > int(match[2]):
        raise ShardError(f"--job {text!r} is not understood; write <i>/<n> with 1 <= i <= n, for example 2/4")
    return int(match[1]), int(match[2])


def same_sources(data: DataDir, tables: Sequence[str]) -> str:
    """SHA-256 of the lists and of size and time of change of each file in them: changes when audio is made anew."""
    digest = hashlib.sha256()
    for table in ["utt2num_samples", *tables]:
        for key, value in data.table(table).items():
            digest.update(f"{table} {key} {value} {_stamp(value) if table.endswith('.scp') else ''}\n".encode())
    return digest.hexdigest()


def join(shard: Shard, info: CodecInfo, max_skipped: float) -> str | None:
    """When all parts are there, make the files of the whole directory, manifest.json last.

    Returns a summary, or None when parts are missing. Raises SkippedError, and leaves no scp, when nothing could be
    used or more than the share `max_skipped` of the utterances could not.
    """
    jobs = range(1, shard.num_jobs + 1)
    if not all(shard.done(job) for job in jobs):
        return None
    parts = [shard.read(job) for job in jobs]
    frames = {key: value for part in parts for key, value in part["frames"].items()}
    skipped = {key: value for part in parts for key, value in part["skipped"].items()}
    lines = [f"{key}\t{reason}\n" for key, reason in sorted(skipped.items())]
    atomic.write_text(shard.out / "skipped.tsv", "".join(lines))
    _check_share(shard, frames, skipped, max_skipped)
    for name in shard.names:
        _join_tables(shard, name)
    write_codec_info(shard.out, info)
    write_table(shard.out / "utt2num_frames", frames)
    counts = {"num_utterances": len(frames), "num_skipped": len(skipped), "jobs": shard.num_jobs}
    atomic.write_text(shard.out / "manifest.json", json.dumps(shard.origin | counts, indent=2) + "\n")
    for name in shard.names:
        _remove_leftovers(shard, name)
    return f"{len(frames)} utterances, {sum(frames.values())} frames, {len(skipped)} skipped"


def _check_share(shard: Shard, frames: dict, skipped: dict, max_skipped: float) -> None:
    total = len(frames) + len(skipped)
    if frames and len(skipped) <= max_skipped * total:
        return
    for name in shard.names:
        (shard.out / f"{name}.scp").unlink(missing_ok=True)
    for job in range(1, shard.num_jobs + 1):
        shard.note(job).unlink(missing_ok=True)
    first = next(iter(sorted(skipped.items())), ("", "no utterances at all"))
    raise SkippedError(
        f"{len(skipped)} of {total} utterances cannot be used, allowed are {max_skipped:.1%}; first: {' '.join(first)}"
        f"; see {shard.out}/skipped.tsv, mend the audio (stage 0) or give a larger --max_skipped"
    )


def _join_tables(shard: Shard, name: str) -> None:
    """<name>.<i>.{crc,scp} of all jobs -> <name>.{crc,scp}, sorted by id; the scp last."""
    for ending in ("crc", "scp"):
        lines: list[str] = []
        for job in range(1, shard.num_jobs + 1):
            part = Path(f"{shard.prefix(name, job)}.{ending}")
            lines += part.read_text(encoding="utf-8").splitlines(keepends=True)
        atomic.write_text(shard.out / f"{name}.{ending}", "".join(sorted(lines, key=_id_bytes)))


def _remove_leftovers(shard: Shard, name: str) -> None:
    """Delete the parts of earlier runs with another number of jobs."""
    endings = (".ark", ".crc", ".scp")
    used = {shard.out / f"{name}{ending}" for ending in endings[1:]}
    for job in range(1, shard.num_jobs + 1):
        used |= {Path(shard.prefix(name, job) + ending) for ending in endings}
    for path in shard.out.glob(f"{name}.*"):
        if path.suffix in endings and path not in used:
            path.unlink(missing_ok=True)


def _id_bytes(line: str) -> bytes:
    return line.split(maxsplit=1)[0].encode()


def _stamp(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"
