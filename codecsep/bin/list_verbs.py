"""The list verbs of utils/: split_scp.pl, filter_scp.pl, apply_map.pl, utt2spk_to_spk2utt.pl, spk2utt_to_utt2spk.pl.

Called with the words after its name, each returns its exit status: 0, or 1 with one line on stderr.
"""

import re

from codecsep.bin.verbs import Given, UsageError, Verb, whole
from codecsep.data import lists
from codecsep.data.lists import STREAM, ListError

ANY = 10**9  # words


def _split(given: Given) -> None:
    name, *outputs = given.words
    chosen, num_parts = _job(given) if given.has("-j") else (None, len(outputs))
    if chosen is None and not outputs or chosen is not None and len(outputs) > 1:
        raise UsageError(
            "E131", f"{len(outputs)} outputs were given", fix="give one for each part, or one after -j N ID"
        )
    lines = list(lists.read_lines(name))
    where = lists.spoken(name)
    if given.has("--utt2spk"):
        path = given.value("--utt2spk")
        parts = lists.divide_by_group(lines, lists.read_map(lists.read_lines(path), path), num_parts, where)
    else:
        parts = lists.divide(lines, num_parts, where)
    lists.write_lines(outputs or [STREAM], parts if chosen is None else [parts[chosen]])


def _job(given: Given) -> tuple[int, int]:
    """(part from 0, number of parts) of -j N ID."""
    count, part = (whole(word, "a value of -j") for word in given.options["-j"])
    first = int(given.has("--one-based"))
    if not first <= part < count + first:
        raise UsageError(
            "E131", f"there is no part {part} of {count}", fix=f"ID runs from {first} to {count - 1 + first}"
        )
    return part - first, count


def _filter(given: Given) -> None:
    table, name = given.words[0], (*given.words, STREAM)[1]
    if table == name == STREAM:
        raise UsageError("E131", "both lists are to come from standard input", fix="give one of them as a file")
    known = lists.ids(lists.read_lines(table), table)
    is_wanted = (lambda key: key not in known) if given.has("--exclude") else known.__contains__
    field = given.whole("-f", default=1, floor=1)
    lists.write_lines([STREAM], [lists.select(lists.read_lines(name), is_wanted, field, lists.spoken(name))])


def _map(given: Given) -> None:
    table, name, output = (*given.words, STREAM, STREAM)[:3]
    if table == name == STREAM:
        raise UsageError("E131", "map and input are both to come from standard input", fix="give one as a file")
    mapping = lists.read_map(lists.read_lines(table), table)

    def lookup(word: bytes, where: str) -> bytes:
        if word in mapping:
            return mapping[word]
        if not given.has("--permissive"):
            fix = "complete the map, or let the word stay with --permissive"
            raise ListError("E135", f"{lists.text(word)} is not in {table}", where, fix)
        return word

    lines = lists.translate(lists.read_lines(name), lookup, _fields(given.value("-f", "1-")), lists.spoken(name))
    lists.write_lines([output], [list(lines)])  # all of them are there before the first is written


def _fields(text: str) -> range:
    """Fields as they are given on the command line: 2, 2-4, 2- or -3. Raises UsageError."""
    match = re.fullmatch("([0-9]{0,9})(-?)([0-9]{0,9})", text)
    if not match or text in ("", "-"):
        raise UsageError("E131", f"-f takes fields such as 2, 2-4, 2- or -3, got '{text}'", fix="see --help")
    first = int(match[1] or 1)
    last = int(match[3] or ANY) if match[2] else first
    if not 1 <= first <= last:
        raise UsageError("E131", f"-f {text} names no field", fix="fields count from 1, the lower one comes first")
    return range(first, last + 1)


def _group(given: Given) -> None:
    name = given.words[0] if given.words else STREAM
    lists.write_lines([STREAM], [lists.group(lists.read_lines(name), lists.spoken(name))])


def _ungroup(given: Given) -> None:
    name = given.words[0] if given.words else STREAM
    lists.write_lines([STREAM], [lists.ungroup(lists.read_lines(name), lists.spoken(name))])


split_scp = Verb(
    "split_scp.pl",
    """usage: split_scp.pl [--utt2spk=FILE] in out1 out2 ...   or   split_scp.pl -j N ID [--one-based] in [out]
Divides a list into runs of lines of equal length (the first ones get one more); the order is kept.
  --utt2spk=FILE  all lines of one speaker go into one part; parts are as equal as that allows
  -j N ID         of N parts only number ID, counted from 0, to `out` (default: standard output)
  --one-based     ID counts from 1
A name `-` is standard input or output. More parts than lines (or speakers) is a mistake.""",
    {"--utt2spk": 1, "-j": 2, "--one-based": 0},
    range(1, ANY),
    _split,
)
filter_scp = Verb(
    "filter_scp.pl",
    """usage: filter_scp.pl [--exclude] [-f FIELD] ids [in] > out
Prints the lines of `in` (default: standard input) whose field is the first field of a line of `ids`, as they are.
  --exclude   prints the other lines
  -f FIELD    which field of `in`, from 1 (default: 1)""",
    {"--exclude": 0, "-f": 1},
    range(1, 3),
    _filter,
)
apply_map = Verb(
    "apply_map.pl",
    """usage: apply_map.pl [-f FIELDS] [--permissive] map [in [out]] < in > out
Replaces fields by what `map` says: lines `<from> <to> ...`. Fields are separated by one blank in the output.
  -f FIELDS     which fields, from 1: 2 or 2-4 or 2- or -3 (default: all)
  --permissive  a word that is not in the map stays as it is (otherwise it is a mistake, and nothing is written)""",
    {"-f": 1, "--permissive": 0},
    range(1, 4),
    _map,
)
utt2spk_to_spk2utt = Verb(
    "utt2spk_to_spk2utt.pl",
    """usage: utt2spk_to_spk2utt.pl [utt2spk] > spk2utt
From lines `<utterance> <speaker>` makes lines `<speaker> <utterance> ...`, in the order of first appearance.""",
    {},
    range(0, 2),
    _group,
)
spk2utt_to_utt2spk = Verb(
    "spk2utt_to_utt2spk.pl",
    """usage: spk2utt_to_utt2spk.pl [spk2utt] > utt2spk
From lines `<speaker> <utterance> ...` makes lines `<utterance> <speaker>`.""",
    {},
    range(0, 2),
    _ungroup,
)
