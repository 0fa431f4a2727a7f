"""Another speed for a data directory: mixture and sources together, so that the sources still sum to the mixture."""

import functools
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from codecsep.data import atomic, audio, check, datadir_edit, mixing
from codecsep.data.list_dir import AUDIO, ListDir, Table, segment
from codecsep.data.target import MADE_AUDIO, MARK
from codecsep.errors import CodecsepError

SLOWEST, FASTEST = Fraction(1, 4), Fraction(4)
AT_ANY_SPEED = re.compile(r"utt2spk|utt2lang.*|utt2source.*|utt2uniq|utt2category|text.*|sot_order|segments")
MEASURED: dict[str, Callable[[np.ndarray, int], str]] = {  # of [L] samples in wav.scp at a rate in Hz
    "utt2num_samples": lambda samples, rate: str(len(samples)),
    "utt2dur": lambda samples, rate: f"{len(samples) / rate:.4f}",
    "reco2dur": lambda samples, rate: f"{len(samples) / rate:.4f}",
    "utt2lufs": lambda samples, rate: f"{mixing.loudness(samples, rate):.4f}",
    "utt2peak": lambda samples, rate: f"{float(np.abs(samples).max()):.6f}",
    "utt2onset": lambda samples, rate: f"{mixing.onset(samples, rate):.2f}",
}
FULL = (audio.FULL_SCALE - 8) / audio.FULL_SCALE  # the sum of rounded sources may be a few steps above that of sources


class SpeedError(CodecsepError):
    """A factor or a directory that cannot be perturbed."""


@dataclass(frozen=True)
class Speed:
    """How to perturb: the factor as it was written ("0.9"), where the new directory will be, and processes."""

    factor: str
    out: Path
    num_processes: int = 1

    @property
    def ratio(self) -> Fraction:
        """The factor, exactly. Raises SpeedError (E131)."""
        if re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,3})?", self.factor) and SLOWEST <= Fraction(self.factor) <= FASTEST:
            return Fraction(self.factor)
        what = f"the factor is '{self.factor}'"
        raise SpeedError(
            "E131", what, "", f"give a number from {float(SLOWEST)} to {float(FASTEST)} such as 0.9 or 1.1"
        )

    def new(self, key: str) -> str:
        return f"sp{self.factor}-{key}"


@dataclass(frozen=True)
class Job:
    """One recording: its new id, for each list the file to read, and the lists that are measured anew."""

    new_key: str
    paths: dict[str, str]
    measured: tuple[str, ...]


@dataclass(frozen=True)
class Made:
    """What was written for a recording: its new id, the values for the measured lists, and a remark."""

    new_key: str
    values: dict[str, str]
    note: str | None


def perturb(data: ListDir, how: Speed, beside: Path) -> tuple[ListDir, list[str]]:
    """Write audio to `beside`/wav; the new lists, whose paths are in `how.out`, and remarks.

    Ids of utterances, speakers and recordings get a prefix. Lists whose values are not known at another speed
    (features, alignments) are left out. Raises SpeedError, AudioError.
    """
    ratio, tables = how.ratio, data.recordings or data.utterances
    if "wav.scp" not in tables:
        raise SpeedError("E106", "has no wav.scp", data.path, "give a directory with audio")
    lists = sorted(name for name in tables if AUDIO.fullmatch(name))
    measured = tuple(sorted(name for name in tables if name in MEASURED))
    jobs = [Job(how.new(key), {name: tables[name][key] for name in lists}, measured) for key in tables["wav.scp"]]
    made = list(_all(functools.partial(_perturb_one, ratio=ratio, beside=beside), jobs, how.num_processes))
    atomic.write_text(beside / MARK, f"perturb_data_dir_speed.sh {how.factor} {data.path}\n")
    fresh = {name: {one.new_key: str(how.out / _file(name, one.new_key)) for one in made} for name in lists}
    fresh |= {name: {one.new_key: one.values[name] for one in made} for name in measured}
    result, left_out = _lists(data, how, fresh)
    notes = [f"{name} is left out: its values are not known at another speed" for name in left_out]
    return result, notes + [one.note for one in made if one.note]


def _all(function: Callable[[Job], Made], jobs: list[Job], num_processes: int) -> Iterator[Made]:
    if num_processes == 1:
        yield from map(function, jobs)
        return
    with ProcessPoolExecutor(num_processes) as pool:
        yield from pool.map(function, jobs, chunksize=8)


def _perturb_one(job: Job, ratio: Fraction, beside: Path) -> Made:
    """Read, resample and write all files of one recording, with one gain for all if one would clip."""
    old, rates = {}, {}
    for name, path in job.paths.items():
        old[name], rates[name] = audio.read_audio(path)
    new = {
        name: audio.resample(samples.astype(np.float64), ratio.numerator, ratio.denominator).astype(np.float64)
        for name, samples in old.items()
    }
    _check_alike(job, new, rates)
    parts = _parts(old)
    if parts:
        new["wav.scp"] = np.sum([new[name] for name in parts], axis=0)
    peak = max(float(np.abs(samples).max()) for samples in new.values())
    gain = FULL / peak if peak > FULL else 1.0
    new = {name: audio.to_int16(samples * gain) / audio.FULL_SCALE for name, samples in new.items()}
    if parts:  # again, of what is written: then the sum holds to the last bit
        new["wav.scp"] = np.sum([new[name] for name in parts], axis=0)
    for name, samples in new.items():
        audio.write_audio(beside / _file(name, job.new_key), samples, rates[name])
    note = f"{job.new_key}: all its files are scaled by {gain:.4f}, or one would clip" if gain < 1 else None
    first, rate = new["wav.scp"], rates["wav.scp"]
    return Made(job.new_key, {name: MEASURED[name](first, rate) for name in job.measured}, note)


def _parts(signals: dict[str, np.ndarray]) -> list[str]:
    """The files that sum to the mixture but for rounding: the speakers, or speakers and noise; [] when none do."""
    speakers = [name for name in signals if re.fullmatch("spk[0-9]+.scp", name)]
    noises = [name for name in signals if name.startswith("noise")]
    for names in (speakers, speakers + noises):
        if names and check.sum_error(signals["wav.scp"], [signals[name] for name in names]) <= check.rounding(
            len(names)
        ):
            return names
    return []


def _check_alike(job: Job, signals: dict[str, np.ndarray], rates: dict[str, int]) -> None:
    of_mixture = {name: len(signals[name]) for name in signals if not name.startswith("enroll")}
    if len(set(of_mixture.values())) > 1 or len(set(rates.values())) > 1:
        what = f"{job.new_key}: mixture and sources are not alike: {of_mixture} samples at the new speed, {rates} Hz"
        raise SpeedError("E138", what, job.paths["wav.scp"], "make them of one length and one sampling rate")


def _file(name: str, key: str) -> str:
    return f"{MADE_AUDIO}/{name.removesuffix('.scp')}/{key}.wav"


def _lists(data: ListDir, how: Speed, fresh: dict[str, Table]) -> tuple[ListDir, list[str]]:
    """The lists of the new directory, and the names of those that are left out; `fresh`: those of the recordings."""
    result = datadir_edit.rename(data, how.new, how.new)
    uniq = data.utterances.get("utt2uniq", {})
    result.utterances["utt2uniq"] = {how.new(key): uniq.get(key, key) for key in data.utt2spk}
    if "segments" in result.utterances:
        result.utterances["segments"] = {how.new(key): _at_speed(data, key, how) for key in data.utt2spk}
    kept = {name: table for name, table in result.utterances.items() if AT_ANY_SPEED.fullmatch(name)}
    speakers = {name: table for name, table in result.speakers.items() if name != "cmvn.scp"}
    kind = "recordings" if data.recordings else "utterances"
    new = {"utterances": kept, "speakers": speakers, "recordings": {}}
    new[kind] = {**new[kind], **fresh}
    known = {name for tables in new.values() for name in tables}
    left_out = sorted({*data.utterances, *data.speakers, *data.recordings} - known)
    return replace(result, **new), left_out


def _at_speed(data: ListDir, key: str, how: Speed) -> str:
    """The line of `segments` of an utterance at the new speed."""
    recording, start, end = segment(data.utterances["segments"][key], data.path / "segments", key)
    new_end = end if end < 0 else end / float(how.ratio)
    return f"{how.new(recording)} {start / float(how.ratio):.4f} {new_end:.4f}"
