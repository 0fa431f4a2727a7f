"""What Kaldi checks in a data directory beside the form of tables: order of speakers, texts, segments, durations."""

import re
from collections.abc import Collection, Iterator

from codecsep.data.datadir import DataDirError
from codecsep.data.list_dir import ListDir, segment
from codecsep.errors import CodecsepError

TEXT = re.compile(r"text([._]?(spk)?[0-9]*)?")  # reference transcripts, not what a recogniser heard
NOT_WORDS = {"<s>", "</s>", "#0"}
POSITIVE = {
    "utt2num_samples": "[0-9]{1,18}",
    "utt2num_frames": "[0-9]{1,18}",
    "utt2dur": r"[0-9]+(\.[0-9]+)?",
    "reco2dur": r"[0-9]+(\.[0-9]+)?",
}
MAX_LISTED = 20


def problems(data: ListDir, options: Collection[str] = ()) -> list[CodecsepError]:
    """All that is found; options: --no-spk-sort and --non-print of validate_data_dir.sh (others change nothing)."""
    found = [] if "--no-spk-sort" in options else speaker_order(data)
    found += [*_words(data)]
    if "--non-print" not in options:
        found += _non_printing(data)
    return found + [*_segments(data)] + [*_not_positive(data)]


def raise_first(found: list[CodecsepError]) -> None:
    """Raise the first of some errors, with the number of the others, if there are any."""
    if found:
        first = found[0]
        first_of = f"{first.what}; and {len(found) - 1} more" if len(found) > 1 else first.what
        raise type(first)(first.code, first_of, first.where, first.fix)


def speaker_order(data: ListDir) -> list[CodecsepError]:
    """Utterances sorted by their ids are to be sorted by speaker too: lists of both kinds then have one order."""
    keys = [(speaker.encode(), key.encode()) for key, speaker in data.utt2spk.items()]
    for (speaker, key), (next_speaker, next_key) in zip(keys, keys[1:], strict=False):
        if (next_speaker, next_key) < (speaker, key):
            what = f"{next_key.decode()} of {next_speaker.decode()} stands after {key.decode()} of {speaker.decode()}: "
            fix = "begin the ids of utterances with those of speakers (copy_data_dir.sh), or give --no-spk-sort"
            return [DataDirError("E102", what + "not sorted by speaker", data.path / "utt2spk", fix)]
    return []


def _texts(data: ListDir) -> Iterator[tuple[str, str, str]]:
    for name, table in data.utterances.items():
        if TEXT.fullmatch(name):
            yield from ((name, key, value) for key, value in table.items())


def _words(data: ListDir) -> Iterator[CodecsepError]:
    for name, key, value in _texts(data):
        if bad := NOT_WORDS & set(value.split()):
            what = f"{key} holds {', '.join(sorted(bad))}, which language models keep for themselves"
            yield DataDirError("E105", what, data.path / name, "take it out of the transcript")


def _non_printing(data: ListDir) -> Iterator[CodecsepError]:
    for name, key, value in _texts(data):
        if bad := [character for character in value if not character.isprintable()]:
            what = f"{key} holds the character U+{ord(bad[0]):04X}, which cannot be printed"
            yield DataDirError("E105", what, data.path / name, "take it out, or give --non-print")


def _segments(data: ListDir) -> Iterator[CodecsepError]:
    for key, value in data.utterances.get("segments", {}).items():
        try:
            segment(value, data.path / "segments", key)
        except DataDirError as error:
            yield error


def _not_positive(data: ListDir) -> Iterator[CodecsepError]:
    for tables in (data.utterances, data.recordings):
        for name in sorted(set(tables) & set(POSITIVE)):
            for key, value in tables[name].items():
                if not re.fullmatch(POSITIVE[name], value) or float(value) <= 0:
                    what = f"{key} has {value[:80]!r}, a number above 0 is needed"
                    yield DataDirError("E105", what, data.path / name, "make the list again")
