"""Work of stage 2 dealt out to several jobs: what one has made, whether it still stands, and joining the parts.

Each part is a result of its own: its arks, `shard.<i>of<n>.json` (frames and skipped utterances),
`shard.<i>of<n>.manifest.json` and `.shard.<i>of<n>.done`. After its part a job takes the lock of the join and looks
whether all parts stand; so the last one to finish, whichever it is, joins them.
"""

import hashlib
import heapq
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

from codecsep.data import atomic, manifest, skipped
from codecsep.data.ark import CodecInfo, write_codec_info
from codecsep.data.datadir import DataDir, write_table
from codecsep.data.lock import locked
from codecsep.data.skipped import Skipped
from codecsep.errors import CodecsepError
from codecsep.faults import faultpoint

ENDINGS = (".ark", ".crc", ".scp")
PATIENCE = 3600.0  # s, for another job that joins
PROBING = 2.0  # s, for another job that looks whether a lock is free
PART = re.compile(r"\.?shard\.[0-9]+of[0-9]+(?=\.)")


class ShardError(CodecsepError):
    """A part that does not exist; the message says what to do."""


class Shard:
    """Part `job` of `num_jobs` (from 1) of the arks `names` in the directory `out`, made of `work`."""

    def __init__(self, out: Path, names: Sequence[str], job: int, num_jobs: int, work: manifest.Work):
        self.out, self.names, self.job, self.num_jobs, self.work = out, list(names), job, num_jobs, work

    def part(self, job: int | None = None) -> str:
        """The name of a part (this one), under which it has a manifest."""
        return f"shard.{job or self.job}of{self.num_jobs}"

    def prefix(self, name: str, job: int | None = None) -> str:
        """Path of an ark without its ending; a single job writes the final name."""
        return f"{self.out}/{name}" if self.num_jobs == 1 else f"{self.out}/{name}.{job or self.job}"

    def note(self, job: int | None = None) -> Path:
        return self.out / f"{self.part(job)}.json"

    def files(self, job: int) -> list[Path]:
        """What a part consists of."""
        return [Path(self.prefix(name, job) + ending) for name in self.names for ending in ENDINGS] + [self.note(job)]

    def pending(self) -> str | None:
        """Why there is something to do for this job; None when the joined directory stands.

        Of several jobs each hashes the arks of its own part only; a split that is not the one that was made, all.
        """
        try:
            if not manifest.manifest_file(self.out, self.part()).is_file():
                return manifest.current(self.out, self.work)
            found = next((what for _, what in manifest.faults(self.out, "", _is_ark)), None)
            return found or manifest.outdated(self.out, self.work) or manifest.current(self.out, self.work, self.part())
        except manifest.StageError as error:
            return str(error)

    def stands(self, job: int, is_deep: bool = True) -> bool:
        """Is a part there, whole, and made of this work? is_deep: its files are hashed."""
        try:
            found = manifest.problem(self.out, self.part(job), is_deep)
            return not found and not manifest.outdated(self.out, self.work, self.part(job))
        except manifest.StageError:
            return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The right to write this part. Raises LockError when another process has it, or writes another split."""
        with locked(self.out, f".{self.part()}.lock"):
            for path in self.out.glob(".shard.*of*.lock"):
                if not path.name.endswith(f"of{self.num_jobs}.lock"):
                    with locked(self.out, path.name, PROBING):
                        pass  # no job of another split is at work: it would overwrite what this one joins
            yield

    def begin(self) -> None:
        """Before this part is made: neither it nor the joined directory is done."""
        self.out.mkdir(parents=True, exist_ok=True)
        manifest.begin(self.out)
        manifest.begin(self.out, self.part())

    def finish(self, given: int, frames: dict[str, int], rows: list[Skipped]) -> None:
        """Note that this part is whole: frames by utterance, and those left out, of `given` utterances."""
        ordered = dict(sorted(frames.items()))
        note = {"frames": ordered, "skipped": [astuple(row) for row in sorted(rows, key=lambda row: row.key)]}
        atomic.write_text(self.note(), json.dumps(note) + "\n")
        counts = manifest.Counts(given, len(frames), len(rows))
        manifest.finish(self.out, self.work, self.files(self.job), counts, self.part())

    def read(self, job: int) -> tuple[dict[str, int], list[Skipped]]:
        """Frames by utterance, and the utterances left out, of a part that stands."""
        note = json.loads(self.note(job).read_text(encoding="utf-8"))
        return note["frames"], [Skipped(*row) for row in note["skipped"]]


def job_of(text: str) -> tuple[int, int]:
    """"2/4" -> (2, 4). Raises ShardError on anything else."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
    if not match or int(match[1]) > int(match[2]):
        fix = "write <i>/<n> with 1 <= i <= n, for example 2/4"
        raise ShardError("E856", f"{text!r} is not understood", "--job", fix)
    return int(match[1]), int(match[2])


def deal(sizes: Mapping[str, int], num_jobs: int) -> list[list[str]]:
    """The ids of each job, {id: samples}: as much audio for one as for the other, and always the same for the same ids.

    The longest goes first, each to the job that has least so far; the greatest share is then at most 4/3 of the best
    (Graham 1969).
    """
    shares: list[list[str]] = [[] for _ in range(num_jobs)]
    heap = [(0, 0, job) for job in range(num_jobs)]  # samples, utterances, job
    for key in sorted(sizes, key=lambda key: (-sizes[key], key.encode())):
        samples, count, job = heapq.heappop(heap)
        shares[job].append(key)
        heapq.heappush(heap, (samples + sizes[key], count + 1, job))
    return [sorted(share, key=str.encode) for share in shares]


def audio_stamps(data: DataDir, tables: Sequence[str]) -> str:
    """SHA-256 over size and time of change of each file in the tables: changes when audio is made anew."""
    digest = hashlib.sha256()
    for table in tables:
        for key, path in data.table(table).items():
            digest.update(f"{table} {key} {manifest.stamp(path)}\n".encode())
    return digest.hexdigest()


def join(shard: Shard, info: CodecInfo, given: int, allowed: float) -> str | None:
    """When all parts stand, make the files of the whole directory, its manifest and `.done` last.

    given: utterances of the data directory; allowed: share of them that may be skipped. Returns a summary, None when
    parts are missing. Raises SkippedError, and leaves no scp, when nothing or too little could be used; StageError when
    an utterance was lost.
    """
    with locked(shard.out, ".join.lock", PATIENCE):
        if not all(shard.stands(job, is_deep=False) for job in range(1, shard.num_jobs + 1)):
            return None
        manifest.begin(shard.out)
        frames, rows = _collect(shard)
        skipped.write(shard.out / skipped.NAME, rows)
        _check_share(shard, given, rows, allowed)
        counts = manifest.Counts(given, len(frames), len(rows))
        manifest.check_counts(counts, shard.out)
        _finish(shard, info, frames, counts)
        return f"{len(frames)} utterances, {sum(frames.values())} frames, {len(rows)} skipped"


def _collect(shard: Shard) -> tuple[dict[str, int], list[Skipped]]:
    """Frames and skipped utterances of all parts."""
    frames: dict[str, int] = {}
    rows: list[Skipped] = []
    for job in range(1, shard.num_jobs + 1):
        part_frames, part_rows = shard.read(job)
        frames |= part_frames
        rows += part_rows
    return frames, rows


def _check_share(shard: Shard, given: int, rows: list[Skipped], allowed: float) -> None:
    listed = shard.out / skipped.NAME
    try:
        skipped.check_share(given, rows, allowed, listed, "mend the audio (stage 0), or give a larger --max_skipped")
    except skipped.SkippedError:
        for name in shard.names:
            (shard.out / f"{name}.scp").unlink(missing_ok=True)
        raise


def _finish(shard: Shard, info: CodecInfo, frames: dict[str, int], counts: manifest.Counts) -> None:
    """Write all that is not of a part, and the manifest over everything; the parts have hashed their own files."""
    for name in shard.names if shard.num_jobs > 1 else []:
        _join_tables(shard, name)
        faultpoint("join.mid")
    write_codec_info(shard.out, info)
    write_table(shard.out / "utt2num_frames", frames)
    faultpoint("join.mid")
    _remove_leftovers(shard)
    jobs = range(1, shard.num_jobs + 1)
    files = {path for job in jobs for path in shard.files(job)}
    files |= {shard.out / f"{name}{ending}" for name in shard.names for ending in (".crc", ".scp")}
    files |= {shard.out / name for name in ("codec.json", "utt2num_frames", skipped.NAME)}
    known = {}
    for job in jobs:
        known |= manifest.read(shard.out, shard.part(job))["outputs"]
    manifest.finish(shard.out, shard.work, files, counts, known=known)


def _join_tables(shard: Shard, name: str) -> None:
    """<name>.<i>.{crc,scp} of all jobs -> <name>.{crc,scp}, sorted by id; the scp last."""
    for ending in (".crc", ".scp"):
        lines: list[str] = []
        for job in range(1, shard.num_jobs + 1):
            part = Path(shard.prefix(name, job) + ending)
            lines += part.read_text(encoding="utf-8").splitlines(keepends=True)
        atomic.write_text(shard.out / f"{name}{ending}", "".join(sorted(lines, key=_id_bytes)))


def _remove_leftovers(shard: Shard) -> None:
    """Delete the parts of earlier runs with another number of jobs."""
    jobs = range(1, shard.num_jobs + 1)
    used = {shard.out / f"{name}{ending}" for name in shard.names for ending in ENDINGS[1:]}
    used |= {path for job in jobs for path in shard.files(job)}
    parts = {shard.part(job) for job in jobs}
    for name in shard.names:
        for path in shard.out.glob(f"{name}.*"):
            if path.suffix in ENDINGS and path not in used:
                path.unlink(missing_ok=True)
    for path in [*shard.out.glob("shard.*of*"), *shard.out.glob(".shard.*of*")]:
        match = PART.match(path.name)
        if match and match[0].lstrip(".") not in parts and path.suffix != ".lock":
            path.unlink(missing_ok=True)


def _is_ark(path: Path) -> bool:
    return path.suffix == ".ark"


def _id_bytes(line: str) -> bytes:
    return line.split(maxsplit=1)[0].encode()
