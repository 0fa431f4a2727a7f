"""The lists beside an ark: `<prefix>.scp` (where each record starts) and `<prefix>.crc` (its checksum and size).

Both are written by us or by Kaldi's tools, so they are read to the letter: a flipped bit is a fault, not a variant.
"""

import re
from pathlib import Path

from codecsep.data.codec_info import ArkError

REPAIR = "make it again with --stage 2 (codes) or --stage 3 (sequences)"
STRANGE = re.compile(r"[^\S ]|[\0-\x1f\x7f-\x9f]")  # white space other than a blank, control characters
Note = tuple[int, int]  # CRC-32 and bytes of a record


def read_list(path: Path, num_words: int) -> dict[str, list[str]]:
    """The lines of an scp or crc file: exactly `num_words` words with one space between, each line ended."""
    if str(path).strip().startswith("|") or str(path).strip().endswith("|"):
        raise ArkError("E306", "is a command; commands are not run", path, "give a file")
    try:
        text = path.read_bytes().decode("utf-8") if path.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise ArkError("E307", f"cannot be read ({error})", path, REPAIR) from None
    if text is None:
        raise ArkError("E307", "no such file", path, REPAIR)
    if text and not text.endswith("\n"):
        raise ArkError("E307", "the last line has no end; the file was cut", path, REPAIR)
    table: dict[str, list[str]] = {}
    for number, line in enumerate(text.split("\n")[:-1], 1):
        key, *words = line.split(" ")
        if len(words) != num_words - 1 or not all((key, *words)) or STRANGE.search(line):
            what = f"expected one utterance id and {num_words - 1} words, got {line[:80]!r}"
            raise ArkError("E307", what, f"{path}:{number}", REPAIR)
        if key in table:
            what = f"id {key!r} is there twice, first in {path}:{list(table).index(key) + 1}"
            raise ArkError("E101", what, f"{path}:{number}", REPAIR)
        table[key] = words
    return table


def place_of(scp: Path, key: str, words: list[str]) -> tuple[str, int]:
    """Path of the ark and offset of a record, of a line `<id> path:offset`. Raises ArkError."""
    path, colon, offset = words[0].rpartition(":")
    if "|" in words[0]:
        raise ArkError(
            "E306", f"{key} has the command {words[0][:80]!r}; commands are not run", scp, "give path:offset"
        )
    if not colon or not path or not re.fullmatch(r"[0-9]{1,18}", offset):
        raise ArkError("E304", f"{key} has {words[0][:80]!r}, expected path:offset (no ranges)", scp, REPAIR)
    return path, int(offset)


def note_of(crc: Path, key: str, words: list[str]) -> Note:
    """CRC-32 and size of a record, of a line `<id> <hex> <bytes>`. Raises ArkError."""
    if not (re.fullmatch("[0-9a-f]{8}", words[0]) and re.fullmatch("[1-9][0-9]{0,17}", words[1])):
        what = f"{key} has {' '.join(words)[:80]!r}, expected a CRC-32 in hex and a number of bytes"
        raise ArkError("E307", what, crc, REPAIR)
    return int(words[0], 16), int(words[1])
