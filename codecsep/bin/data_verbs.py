"""The data-directory verbs of utils/: split_data.sh, fix_data_dir.sh, copy_data_dir.sh, subset_data_dir.sh,
combine_data.sh, perturb_data_dir_speed.sh.   usage: python -m codecsep.bin.data_verbs <verb> [words of the verb]
"""

import filecmp
import hashlib
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from codecsep.bin.verbs import Given, UsageError, Verb, say, whole
from codecsep.data import atomic, datadir_edit, list_checks, list_dir, lists, target
from codecsep.data.datadir_edit import EditError, Lost
from codecsep.data.list_dir import ListDir

MAX_DROP = 10  # percent
FIXED = ".fixed"  # lists on their way into their directory
SOURCE = ".source"  # in split<N>: the SHA-256 of what was divided
CHOICES = ("--first", "--last", "--per-spk", "--shortest", "--speakers")


def _strict(path: str) -> ListDir:
    """A directory whose lists are whole and agree. Raises DataDirError."""
    data = list_dir.read(Path(path), list_dir.strictly)
    list_dir.check_ids(data)
    return data


def _split(given: Given) -> None:
    folder, num_parts = Path(given.words[0]), whole(given.words[1], "the number of parts", floor=1)
    out = folder / f"split{num_parts}{'utt' if given.has('--per-utt') else ''}"
    data = _strict(given.words[0])
    source = _digest(data)
    if (out / SOURCE).is_file() and (out / SOURCE).read_text(encoding="utf-8") == source:
        print(f"{out}: up to date")
        return
    keys = [key.encode() for key in data.utt2spk]
    if given.has("--per-utt"):
        parts = lists.divide(keys, num_parts, str(folder))
    else:
        speakers = {key.encode(): speaker.encode() for key, speaker in data.utt2spk.items()}
        parts = lists.divide_by_group(keys, speakers, num_parts, str(folder))
    with atomic.replacing_dir(out) as beside:
        for number, part in enumerate(parts, start=1):
            (beside / str(number)).mkdir()
            datadir_edit.subset(data, [key.decode() for key in part]).write(beside / str(number))
        atomic.write_text(beside / SOURCE, source)
    print(f"{out}: {len(keys)} utterances in {num_parts} parts of {min(map(len, parts))} to {max(map(len, parts))}")


def _digest(data: ListDir) -> str:
    """SHA-256 of the names and contents of all lists."""
    result = hashlib.sha256()
    for name, path in sorted([*((name, data.path / name) for name in data.tables), *data.others.items()]):
        content = path.read_bytes() if path.is_file() else b""
        result.update(f"{name} {len(content)}\n".encode() + content)
    return result.hexdigest()


def _fix(given: Given) -> None:
    folder = Path(given.words[0])
    extra, of_speakers = given.value("--utt-extra-files").split(), given.value("--spk-extra-files").split()
    max_drop = given.whole("--max-drop", MAX_DROP)
    notes: list[str] = []
    data = list_dir.read(folder, partial(list_dir.loosely, notes=notes), tuple(extra))
    mended, lost = datadir_edit.mend(data, of_speakers)
    list_checks.raise_first(list_checks.speaker_order(mended) if not given.has("--no-spk-sort") else [])
    _check_lost(lost, folder, max_drop if not given.has("--force") else 100)
    changed = _replace_lists(mended, folder)
    for line in notes + lost.lines():
        say("fix_data_dir.sh", line)
    kept = f", the old ones are in {folder}/{target.BACKUP}" if changed else ""
    print(f"{folder}: kept {lost.kept} of {lost.total} utterances; {len(changed)} files were changed{kept}")


def _check_lost(lost: Lost, folder: Path, max_drop: int) -> None:
    if lost.percent > max_drop:
        what = f"{lost.total - lost.kept} of {lost.total} utterances would be dropped, more than {max_drop} %: "
        what += "; ".join(lost.lines())
        raise EditError("E137", what, folder, "mend the list that lacks them, or drop them with --force")


def _replace_lists(data: ListDir, folder: Path) -> list[str]:
    """Put the lists that differ from the files in their place; what was there goes to .backup. Their names.

    A list of which nothing is left (the genders of other speakers) stays as it is.
    """
    with atomic.replacing_dir(folder / FIXED) as fixed:  # all of them can be written before the first takes its place
        data.write(fixed)
    changed = []
    for new in sorted((folder / FIXED).iterdir()):
        old = folder / new.name
        if not (old.is_file() and filecmp.cmp(old, new, shallow=False)):
            changed.append(new.name)
            _back_up(old)
            new.replace(old)
    shutil.rmtree(folder / FIXED)
    return changed


def _back_up(file: Path) -> None:
    if file.is_file():
        (file.parent / target.BACKUP).mkdir(exist_ok=True)
        shutil.copy2(file, file.parent / target.BACKUP / file.name)


def _copy(given: Given) -> None:
    source, out = given.words
    data = datadir_edit.rename(_strict(source), _affixes(given, "utt"), _affixes(given, "spk"))
    list_checks.raise_first(list_checks.problems(data, given.value("--validate-opts").split()))
    _write(data, out, [source])


def _affixes(given: Given, of: str) -> Callable[[str], str]:
    before, after = given.value(f"--{of}-prefix"), given.value(f"--{of}-suffix")
    return lambda key: f"{before}{key}{after}"


def _write(data: ListDir, out: str, sources: list[str]) -> None:
    with target.replacing(Path(out), [Path(source) for source in sources]) as beside:
        data.write(beside)
    print(f"{out}: {len(data.utt2spk)} utterances of {len(set(data.utt2spk.values()))} speakers")


def _subset(given: Given) -> None:
    chosen = [name for name in (*CHOICES, "--utt-list", "--spk-list") if given.has(name)]
    if len(chosen) > 1:
        raise UsageError("E131", f"{' and '.join(chosen)} were given", fix="give one of them")
    by_list = bool(chosen) and chosen[0].endswith("-list")
    if len(given.words) != 3 - by_list:
        raise UsageError("E131", f"{len(given.words)} words were given", fix=subset_data_dir.text.split("\n")[by_list])
    source, out = given.words[0], given.words[-1]
    data = _strict(source)
    how = chosen[0] if chosen else ""
    keys = _listed(data, how, given.value(how)) if by_list else _chosen(data, how, given.words[1])
    _write(datadir_edit.subset(data, keys), out, [source])


def _listed(data: ListDir, how: str, path: str) -> list[str]:
    """The utterances that a list names, or whose speakers it names."""
    wanted = {lists.text(key) for key in lists.ids(lists.read_lines(path), path)}
    known = set(data.utt2spk) if how == "--utt-list" else set(data.utt2spk.values())
    unknown = sorted(wanted - known)
    if unknown:
        say(
            "subset_data_dir.sh", f"{len(unknown)} ids of {path} are not in {data.path}, first {', '.join(unknown[:3])}"
        )
    keys = [key for key, speaker in data.utt2spk.items() if (key if how == "--utt-list" else speaker) in wanted]
    if not keys:
        raise EditError(
            "E139", f"none of the {len(wanted)} ids is in {data.path}", path, "see that it is the right list"
        )
    return keys


def _chosen(data: ListDir, how: str, word: str) -> list[str]:
    """So many utterances, chosen in one of the ways of CHOICES; "": spread over the directory."""
    count, keys = whole(word, "the number of utterances", floor=1), list(data.utt2spk)
    if count > len(keys) and how != "--per-spk":
        raise EditError("E139", f"has {len(keys)} utterances, {count} are asked for", data.path, "ask for fewer")
    if how == "--first":
        return keys[:count]
    if how == "--last":
        return keys[-count:]
    if how == "--per-spk":
        return datadir_edit.per_speaker(data.utt2spk, count)
    if how == "--shortest":
        return datadir_edit.shortest(data, count)
    if how == "--speakers":
        return datadir_edit.of_enough_speakers(data.utt2spk, count)
    return datadir_edit.spread(keys, count)


def _combine(given: Given) -> None:
    out, *sources = given.words
    notes: list[str] = []
    extra = tuple(given.value("--extra-files").split())
    parts = []
    for source in sources:
        own: list[str] = []
        there = tuple(name for name in extra if (Path(source) / name).is_file())
        parts.append(list_dir.read(Path(source), partial(list_dir.loosely, notes=own), there))
        notes += [f"{source}/{note}" for note in own]
    data, left_out = datadir_edit.combine(parts)
    if not given.truth("--skip-fix", False):
        data, lost = datadir_edit.mend(data)
        _check_lost(lost, Path(out), MAX_DROP)
        notes += lost.lines()
    missing = [f"{name} is left out: not all directories have it" for name in left_out]
    missing += [f"{name} is left out: no directory has it" for name in extra if name not in {*data.tables, *left_out}]
    for line in notes + missing:
        say("combine_data.sh", line)
    _write(data, out, sources)


def _perturb(given: Given) -> None:
    from codecsep.data import speed  # it needs numpy and scipy

    factor, source, out = given.words
    data = _strict(source)
    how = speed.Speed(factor, Path(out), given.whole("--nj", 1, floor=1))
    with target.replacing(Path(out), [Path(source)]) as beside:
        made, notes = speed.perturb(data, how, beside)
        made.write(beside)
    for line in notes:
        say("perturb_data_dir_speed.sh", line)
    print(f"{out}: {len(made.utt2spk)} utterances at {factor} times the speed")


split_data = Verb(
    "split_data.sh",
    """usage: split_data.sh [--per-utt] data/<set> N
Makes data/<set>/split<N>/{1,...,N}, data directories of equal size with all lists; made again when a list changes.
  --per-utt   do not keep the utterances of a speaker together; makes split<N>utt""",
    {"--per-utt": 0},
    range(2, 3),
    _split,
)
fix_data_dir = Verb(
    "fix_data_dir.sh",
    f"""usage: fix_data_dir.sh [--force] [--max-drop PERCENT] [options] data/<set>
Sorts every list by bytes, keeps the first line of a double id, and keeps the utterances that all lists have
(wav.scp, spk1.scp ..., text*, utt2*, sot_order, segments, *.scp). Old files are kept in data/<set>/{target.BACKUP}.
  --max-drop PERCENT        dropping more utterances than this is a mistake (default: {MAX_DROP})
  --force                   drop as many as it takes
  --utt-extra-files "a b"   these are lists of utterances too
  --spk-extra-files "a b"   utterances whose speakers are not in these are dropped
  --no-spk-sort             the order of utterances need not be one of speakers""",
    {"--force": 0, "--max-drop": 1, "--utt-extra-files": 1, "--spk-extra-files": 1, "--no-spk-sort": 0},
    range(1, 2),
    _fix,
)
copy_data_dir = Verb(
    "copy_data_dir.sh",
    """usage: copy_data_dir.sh [options] data/<from> data/<to>
Copies all lists, with new ids; audio files are not copied. What is copied must be valid.
  --utt-prefix X  --utt-suffix X   put before and after the ids of utterances
  --spk-prefix X  --spk-suffix X   put before and after the ids of speakers
  --validate-opts "..."            options of validate_data_dir.sh, such as "--no-spk-sort --non-print\"""",
    {"--utt-prefix": 1, "--utt-suffix": 1, "--spk-prefix": 1, "--spk-suffix": 1, "--validate-opts": 1},
    range(2, 3),
    _copy,
)
subset_data_dir = Verb(
    "subset_data_dir.sh",
    """usage: subset_data_dir.sh [--first|--last|--per-spk|--shortest|--speakers] data/<from> N data/<to>
usage: subset_data_dir.sh --utt-list FILE | --spk-list FILE  data/<from> data/<to>
Makes a directory of N utterances, spread evenly over all of them; the same ones each time.
  --first, --last   the first or the last N
  --per-spk         N of each speaker (all of one who has fewer)
  --shortest        the shortest N, by utt2num_samples, utt2dur or utt2num_frames
  --speakers        all utterances of as many speakers as it takes to have N
  --utt-list FILE   the utterances whose ids are the first words of FILE
  --spk-list FILE   all utterances of these speakers""",
    {**dict.fromkeys(CHOICES, 0), "--utt-list": 1, "--spk-list": 1},
    range(2, 4),
    _subset,
)
combine_data = Verb(
    "combine_data.sh",
    """usage: combine_data.sh [--extra-files "a b"] [--skip-fix true|false] data/<to> data/<from1> data/<from2> ...
Puts directories together: every list that all of them have; it says which lists are left out.
  --extra-files "a b"    these are lists of utterances too
  --skip-fix true        do not drop utterances that a list lacks (default: false)""",
    {"--extra-files": 1, "--skip-fix": 1},
    range(2, 10**9),
    _combine,
)
perturb_data_dir_speed = Verb(
    "perturb_data_dir_speed.sh",
    """usage: perturb_data_dir_speed.sh [--nj N] FACTOR data/<from> data/<to>
Makes data/<to>/wav/*: the mixture and all sources at FACTOR times the speed (0.9: slower, longer, deeper), as 16-bit
wav at the old rate; the sources still sum to the mixture. Ids of utterances and speakers begin with sp<FACTOR>-.
  --nj N   processes (default: 1)""",
    {"--nj": 1},
    range(3, 4),
    _perturb,
)
VERBS = {
    verb.prog: verb
    for verb in (split_data, fix_data_dir, copy_data_dir, subset_data_dir, combine_data, perturb_data_dir_speed)
}

if __name__ == "__main__":
    sys.exit(VERBS[sys.argv[1]](sys.argv[2:]))
