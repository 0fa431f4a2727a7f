"""Data directories in memory: take a subset, mend, rename, combine. Nothing is read or written here."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from codecsep.data.list_dir import AUDIO, ListDir, Table
from codecsep.errors import CodecsepError

LENGTHS = ("utt2num_samples", "utt2dur", "utt2num_frames")  # any of them tells which utterance is the shorter one


class EditError(CodecsepError):
    """A data directory that cannot be mended, divided or combined as was asked."""


def subset(data: ListDir, ids: Collection[str]) -> ListDir:
    """The lists with these utterances only, their speakers and their recordings."""
    wanted = set(ids)
    utterances = {name: _only(table, wanted) for name, table in data.utterances.items()}
    speakers = set(utterances["utt2spk"].values())
    part = replace(data, utterances=utterances)
    part.speakers = {name: _only(table, speakers) for name, table in data.speakers.items()}
    if data.recordings:
        used = {part.recording_of(key) for key in utterances["segments"]}
        part.recordings = {name: _only(table, used) for name, table in data.recordings.items()}
    return part


def _only(table: Table, keys: Collection[str]) -> Table:
    return {key: value for key, value in table.items() if key in keys}


@dataclass
class Lost:
    """Of `total` utterances of utt2spk, `kept`; by list, those that it lacks and those that only it has."""

    total: int
    kept: int
    lacking: dict[str, list[str]]
    foreign: dict[str, list[str]]

    @property
    def percent(self) -> float:
        return 100 * (self.total - self.kept) / self.total if self.total else 0.0

    def lines(self) -> list[str]:
        """What was dropped and why, with the first ids."""
        return [
            f"{name} {verb} {len(keys)} utterances, first {', '.join(keys[:3])}"
            for verb, lists in (("lacks", self.lacking), ("alone has", self.foreign))
            for name, keys in lists.items()
            if keys
        ]


def mend(data: ListDir, of_speakers: Collection[str] = ()) -> tuple[ListDir, Lost]:
    """The utterances that every required list has, and what was lost.

    of_speakers: lists of speakers that count like cmvn.scp: utterances of speakers that are not in them are dropped.
    Raises EditError when nothing is left.
    """
    tables = {name: data.utterances[name] for name in sorted(data.required - {"utt2spk"})}
    lacking = {name: [key for key in data.utt2spk if key not in table] for name, table in tables.items()}
    foreign = {name: [key for key in table if key not in data.utt2spk] for name, table in tables.items()}
    for name in sorted({"cmvn.scp", *of_speakers} & set(data.speakers)):
        table = data.speakers[name]
        lacking[name] = [key for key, speaker in data.utt2spk.items() if speaker not in table]
    for name in sorted(name for name in data.recordings if AUDIO.fullmatch(name)):
        of_segments = [key for key in data.utterances["segments"] if key in data.utt2spk]
        lacking[name] = [key for key in of_segments if data.recording_of(key) not in data.recordings[name]]
    gone = {key for keys in lacking.values() for key in keys}
    kept = [key for key in data.utt2spk if key not in gone]
    lost = Lost(len(data.utt2spk), len(kept), lacking, foreign)
    if not kept:
        what = f"no utterance is in all lists: {'; '.join(lost.lines())}"
        raise EditError("E137", what, data.path, "make the lists again with the same ids")
    return subset(data, kept), lost


def rename(data: ListDir, utterance: Callable[[str], str], speaker: Callable[[str], str]) -> ListDir:
    """The same lists with other ids of utterances and speakers; recordings keep theirs."""
    result = replace(data)
    result.utterances = {name: _with_keys(table, utterance) for name, table in data.utterances.items()}
    result.utterances["utt2spk"] = {utterance(key): speaker(value) for key, value in data.utt2spk.items()}
    result.speakers = {name: _with_keys(table, speaker) for name, table in data.speakers.items()}
    return result


def _with_keys(table: Table, new: Callable[[str], str]) -> Table:
    renamed = {new(key): value for key, value in table.items()}
    return {key: renamed[key] for key in sorted(renamed, key=str.encode)}


def combine(parts: Sequence[ListDir]) -> tuple[ListDir, list[str]]:
    """One directory of several, and the names of the files that are left out because not all parts have them.

    An id may be in several parts if all its lines are the same. Raises EditError on one id with two meanings, and
    when the parts have other numbers of speakers in a mixture.
    """
    _check_same_audio(parts)
    result = replace(parts[0], required=set.intersection(*(part.required for part in parts)), others={})
    left_out: set[str] = set()
    for kind in ("utterances", "speakers", "recordings"):
        tables = [getattr(part, kind) for part in parts]
        common = set.intersection(*(set(table) for table in tables))
        left_out |= set().union(*tables) - common
        setattr(result, kind, {name: _joined(parts, kind, name) for name in sorted(common)})
    for name in sorted(set().union(*(part.others for part in parts))):
        contents = {part.others[name].read_bytes() if name in part.others else None for part in parts}
        if len(contents) == 1:
            result.others[name] = parts[0].others[name]
        else:
            left_out.add(name)
    return result, sorted(left_out)


def _check_same_audio(parts: Sequence[ListDir]) -> None:
    first = parts[0]
    wanted = _structure(first)
    for part in parts[1:]:
        if _structure(part) != wanted:
            what = f"has {', '.join(sorted(_structure(part)))}; {first.path} has {', '.join(sorted(wanted))}"
            raise EditError("E138", what, part.path, "combine directories with the same numbers of speakers")


def _structure(part: ListDir) -> set[str]:
    """The lists without which a mixture would mean something else."""
    names = {*part.utterances, *part.recordings}
    return {name for name in names if name.startswith("spk") and AUDIO.fullmatch(name)} | names & {
        "segments",
        "wav.scp",
    }


def _joined(parts: Iterable[ListDir], kind: str, name: str) -> Table:
    result: Table = {}
    for part in parts:
        for key, value in getattr(part, kind)[name].items():
            if result.setdefault(key, value) != value:
                what = f"{key} is {value[:80]!r} here and {result[key][:80]!r} in a directory before"
                raise EditError(
                    "E138", what, part.path / name, "rename the ids of one with utils/copy_data_dir.sh --utt-prefix"
                )
    return {key: result[key] for key in sorted(result, key=str.encode)}


def spread(items: Sequence[str], count: int) -> list[str]:
    """`count` of the items, spread over all of them: half from each half, down to one, of which the last is taken."""
    if count == 0:
        return []
    if count == 1:
        return [items[-1]]
    half, share = len(items) // 2, count // 2
    return spread(items[:half], share) + spread(items[half:], count - share)


def per_speaker(utt2spk: Table, count: int) -> list[str]:
    """At most `count` utterances of each speaker, at equal steps from the first one."""
    groups: dict[str, list[str]] = {}
    for key, speaker in utt2spk.items():
        groups.setdefault(speaker, []).append(key)
    return [key for group in groups.values() for key in group[:: max(1, len(group) // count)][:count]]


def of_enough_speakers(utt2spk: Table, count: int) -> list[str]:
    """All utterances of as many speakers as it takes to have `count`; which ones, only their names decide."""
    sizes, chosen, total = Counter(utt2spk.values()), set(), 0
    for speaker in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if total < count:
            chosen.add(speaker)
            total += sizes[speaker]
    return [key for key, speaker in utt2spk.items() if speaker in chosen]


def shortest(data: ListDir, count: int) -> list[str]:
    """The `count` shortest utterances; of equally long ones the first. Raises EditError when no list tells lengths."""
    names = [name for name in LENGTHS if name in data.utterances]
    if not names:
        raise EditError("E139", f"has none of {', '.join(LENGTHS)}", data.path, "make one of them, or choose otherwise")
    try:
        lengths = {key: Fraction(value) for key, value in data.utterances[names[0]].items()}
    except (ValueError, ZeroDivisionError) as error:
        raise EditError(
            "E139", f"holds a value that is no length: {error}", data.path / names[0], "make it again"
        ) from error
    return sorted(data.utt2spk, key=lambda key: (lengths[key], key.encode()))[:count]
