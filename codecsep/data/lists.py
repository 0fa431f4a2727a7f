"""Streams of list lines (`<id> <value> ...`) as bytes: divide, filter, map, group.

Fields are separated by blanks of ASCII; everything else, UTF-8 or not, passes through as it is.
"""

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from codecsep.data import atomic
from codecsep.errors import CodecsepError

STREAM = "-"  # as a file name: standard input or output


class ListError(CodecsepError):
    """A list that cannot be read, divided, filtered, mapped or grouped."""


def read_lines(name: str) -> Iterator[bytes]:
    """The lines of a file (`-`: of standard input) without their ends. Raises ListError when it cannot be read."""
    if name == STREAM:
        yield from _without_ends(sys.stdin.buffer)
        return
    try:
        with open(name, "rb") as stream:
            yield from _without_ends(stream)
    except OSError as error:
        raise ListError("E133", f"cannot be read ({error.strerror})", name, "give a list that exists") from error


def _without_ends(stream: Iterable[bytes]) -> Iterator[bytes]:
    return (line[:-1] if line.endswith(b"\n") else line for line in stream)


def spoken(name: str) -> str:
    """What a message calls a list."""
    return "standard input" if name == STREAM else name


def write_lines(names: Sequence[str], parts: Sequence[Iterable[bytes]]) -> None:
    """Write each part to its file (`-`: standard output): all files of them, or none when an error is raised.

    A file takes its place by a rename; a pipe or a device is written to, and a link is followed. Raises ListError when
    one file is named twice.
    """
    places = [os.path.realpath(name) for name in names if not _is_special(name)]
    for place in places:
        if places.count(place) > 1:
            raise ListError("E136", "is to hold two parts", place, "give each part a file of its own")
    with contextlib.ExitStack() as stack:
        for name, lines in zip(names, parts, strict=True):
            if name == STREAM:
                _write_to(sys.stdout.buffer, lines)
            elif _is_special(name):
                with open(name, "wb") as stream:
                    _write_to(stream, lines)
            else:
                beside = stack.enter_context(atomic.replacing(os.path.realpath(name), forced=False))
                with open(beside, "wb") as stream:
                    _write_to(stream, lines)


def _is_special(name: str) -> bool:
    """Standard output, a pipe, a device: nothing that a file could take the place of."""
    return name == STREAM or (Path(name).exists() and not Path(name).is_file())


def _write_to(stream, lines: Iterable[bytes]) -> None:
    for line in lines:
        stream.write(line + b"\n")


def shares(count: int, num_parts: int) -> list[int]:
    """`count` things in `num_parts` shares that differ by one at most, the greater ones first."""
    return [count // num_parts + (part < count % num_parts) for part in range(num_parts)]


def divide(lines: Sequence[bytes], num_parts: int, where: str) -> list[Sequence[bytes]]:
    """The lines in `num_parts` runs of equal length. Raises ListError when there are more parts than lines."""
    if num_parts > len(lines):
        what = f"has {len(lines)} lines, {num_parts} parts are asked for"
        raise ListError("E134", what, where, f"use --nj {len(lines)} or less" if lines else "make the list first")
    return _cut(lines, shares(len(lines), num_parts))


def divide_by_group(
    lines: Sequence[bytes], groups: Mapping[bytes, bytes], num_parts: int, where: str
) -> list[Sequence[bytes]]:
    """The lines in `num_parts` runs, all lines of one group (speaker) in one part, the sizes as equal as can be had.

    Groups keep the order of their first lines. groups: id -> group. Raises ListError: an id without a group, or more
    parts than groups.
    """
    members: dict[bytes, list[bytes]] = {}
    for number, line in enumerate(lines, start=1):
        key = field_of(line, 1, f"{where}:{number}")
        if key not in groups:
            raise ListError("E135", f"{text(key)} is not in utt2spk", f"{where}:{number}", "complete utt2spk")
        members.setdefault(groups[key], []).append(line)
    if num_parts > len(members):
        what = f"has {len(members)} speakers, {num_parts} parts are asked for"
        fix = f"use {len(members)} parts or less, or divide without speakers (split_data.sh --per-utt)"
        raise ListError("E134", what, where, fix if members else "make the list first")
    borders = _balance([len(group) for group in members.values()], num_parts)
    return _cut([line for group in members.values() for line in group], borders)


def _balance(sizes: Sequence[int], num_parts: int) -> list[int]:
    """Lines in each part, when groups of these sizes are divided in their order: the least sum of squares there is."""
    before = [0, *itertools.accumulate(sizes)]
    costs, cuts = [size * size for size in before], []
    for part in range(2, num_parts + 1):
        costs, cut = _one_part_more(before, costs, part)
        cuts.append(cut)
    ends = [len(sizes)]
    for cut in reversed(cuts):
        ends.append(cut[ends[-1]])
    return [before[end] - before[start] for start, end in itertools.pairwise([0, *reversed(ends)])]


def _one_part_more(before: Sequence[int], costs: Sequence[int], part: int) -> tuple[list[int], list[int]]:
    """(costs, cuts) by end: of `part` parts up to there, and where the last one starts; `costs` is of one part less.

    A later end never has an earlier best cut, so the ends between two known ones look only between their cuts.
    """
    best, cuts = list(costs), [0] * len(before)
    spans = [(part, len(before) - 1, part - 1, len(before) - 2)]  # of ends, of cuts; both included
    while spans:
        first, last, low, high = spans.pop()
        if first > last:
            continue
        end = (first + last) // 2
        options = range(min(high, end - 1), low - 1, -1)
        cuts[end] = min(options, key=lambda cut: costs[cut] + (before[end] - before[cut]) ** 2)  # noqa: B023
        best[end] = costs[cuts[end]] + (before[end] - before[cuts[end]]) ** 2
        spans += [(first, end - 1, low, cuts[end]), (end + 1, last, cuts[end], high)]
    return best, cuts


def _cut(lines: Sequence[bytes], sizes: Iterable[int]) -> list[Sequence[bytes]]:
    parts, start = [], 0
    for size in sizes:
        parts.append(lines[start : start + size])
        start += size
    return parts


def field_of(line: bytes, field: int, where: str) -> bytes:
    """Field number `field` (from 1). Raises ListError when the line has no so many."""
    fields = line.split(maxsplit=field)
    if len(fields) < field:
        what = "blank line" if not fields else f"has {len(fields)} fields, number {field} is asked for"
        raise ListError("E132", what, where, "remove the line" if not fields else "check -f and the list")
    return fields[field - 1]


def ids(lines: Iterable[bytes], where: str) -> set[bytes]:
    """The first fields. Raises ListError on a blank line."""
    return {field_of(line, 1, f"{where}:{number}") for number, line in enumerate(lines, start=1)}


def select(lines: Iterable[bytes], is_wanted: Callable[[bytes], bool], field: int, where: str) -> Iterator[bytes]:
    """The lines whose field number `field` is wanted. Raises ListError on a line without that field."""
    for number, line in enumerate(lines, start=1):
        if is_wanted(field_of(line, field, f"{where}:{number}")):
            yield line


def read_map(lines: Iterable[bytes], where: str) -> dict[bytes, bytes]:
    """`<from> <to> <to> ...` -> {from: b"to to ..."}; of a key given twice the last line counts."""
    result = {}
    for number, line in enumerate(lines, start=1):
        key = field_of(line, 1, f"{where}:{number}")
        result[key] = b" ".join(line.split()[1:])
    return result


def translate(
    lines: Iterable[bytes], lookup: Callable[[bytes, str], bytes], fields: range, where: str
) -> Iterator[bytes]:
    """Lines whose fields number `fields` (from 1) went through `lookup(word, where)`; one blank between all fields."""
    for number, line in enumerate(lines, start=1):
        words = line.split()
        for index in range(fields.start - 1, min(fields.stop - 1, len(words))):
            words[index] = lookup(words[index], f"{where}:{number}")
        yield b" ".join(words)


def group(lines: Iterable[bytes], where: str) -> Iterator[bytes]:
    """`<utterance> <speaker>` -> `<speaker> <utterance> ...`, in the order of first appearance."""
    members: dict[bytes, list[bytes]] = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) != 2:
            raise ListError(
                "E132", f"has {len(fields)} fields", f"{where}:{number}", "a line is '<utterance> <speaker>'"
            )
        members.setdefault(fields[1], []).append(fields[0])
    return (b" ".join([speaker, *utterances]) for speaker, utterances in members.items())


def ungroup(lines: Iterable[bytes], where: str) -> Iterator[bytes]:
    """`<speaker> <utterance> ...` -> `<utterance> <speaker>` lines."""
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) < 2:
            what = f"has {len(fields)} fields"
            raise ListError("E132", what, f"{where}:{number}", "a line is '<speaker> <utterance> ...'")
        yield from (utterance + b" " + fields[0] for utterance in fields[1:])


def text(word: bytes) -> str:
    """As it can be printed."""
    return word.decode("utf-8", errors="backslashreplace")
