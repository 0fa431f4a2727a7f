"""What Kaldi's list and data-directory verbs were seen to do, and what ours do: `same`, or `differs` and why.

Every case is a command line over files; a result is its status (0 or FAILS), its standard output and the files that
it made. FAILS is 1 for ours and any other number than 0 for Kaldi's (255, 25, 29, 2 and 1 were seen).
"""

from dataclasses import dataclass, field

FAILS = "fails"
ANYTHING = "not compared"  # the text of messages


@dataclass(frozen=True)
class Result:
    status: object
    stdout: str = ANYTHING
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """ours: of our verb; kaldi: of the original, when it differs, and why. words_of_ours: options only we have."""

    name: str
    words: list[str]
    ours: Result
    kaldi: Result | None = None
    why: str = ""
    files: dict[str, str] = field(default_factory=dict)
    stdin: str = ""
    words_of_ours: list[str] = field(default_factory=list)


def lines(*items: str) -> str:
    return "".join(f"{item}\n" for item in items)


def failing(name: str, words: list[str], files: dict[str, str], stdin: str = "", left: str = "") -> Case:
    """Both refuse; nothing is made. left: what both have written to standard output by then."""
    return Case(name, words, Result(FAILS, left), files=files, stdin=stdin)


TEN = lines(*(f"u{number:02d} x" for number in range(1, 11)))
TABLE = {"ids": lines("u02 x", "u05"), "map": lines("a x y", "b z", "c", "a w"), "in": lines("a b", "b   a  q")}
UTT2SPK = lines(*(f"{speaker}-{number} {speaker}" for speaker in "ABC" for number in range(1, 5)))
WAV = lines(*(f"{speaker}-{number} /x/{speaker}-{number}.wav" for speaker in "ABC" for number in range(1, 5)))
SPK2UTT = lines(*(f"{speaker} " + " ".join(f"{speaker}-{number}" for number in range(1, 5)) for speaker in "ABC"))
UNEVEN = {"A": 8, "B": 20, "C": 2, "D": 3, "E": 3, "F": 8}
UNEVEN_IDS = [(f"{speaker}-{number:02d}", speaker) for speaker, count in UNEVEN.items() for number in range(count)]
UNEVEN_FILES = {"in": lines(*(key for key, _ in UNEVEN_IDS)), "u2s": lines(*(f"{k} {s}" for k, s in UNEVEN_IDS))}


def block(text: str, start: int, stop: int) -> str:
    """Lines `start` to `stop` - 1 of a text."""
    return lines(*text.splitlines()[start:stop])


def of_speakers(speakers: str) -> str:
    return lines(*(key for key, speaker in UNEVEN_IDS if speaker in speakers))


SPLIT = [
    Case(
        "first parts get one more",
        ["split_scp.pl", "in", "1", "2", "3"],
        Result(0, "", {"1": block(TEN, 0, 4), "2": block(TEN, 4, 7), "3": block(TEN, 7, 10)}),
        files={"in": TEN},
    ),
    Case("one part", ["split_scp.pl", "-j", "3", "1", "in"], Result(0, block(TEN, 4, 7)), files={"in": TEN}),
    Case(
        "one part to a file",
        ["split_scp.pl", "-j", "3", "2", "in", "o"],
        Result(0, "", {"o": block(TEN, 7, 10)}),
        files={"in": TEN},
    ),
    Case(
        "counted from one",
        ["split_scp.pl", "-j", "3", "3", "--one-based", "in"],
        Result(0, block(TEN, 7, 10)),
        files={"in": TEN},
    ),
    Case(
        "counted from one, said first",
        ["split_scp.pl", "--one-based", "-j", "3", "1", "in"],
        Result(0, block(TEN, 0, 4)),
        files={"in": TEN},
    ),
    Case(
        "by speaker",
        ["split_scp.pl", "--utt2spk=u2s", "in", "1", "2"],
        Result(0, "", {"1": block(WAV, 0, 8), "2": block(WAV, 8, 12)}),
        files={"in": WAV, "u2s": UTT2SPK},
    ),
    Case(
        "one part by speaker",
        ["split_scp.pl", "-j", "3", "1", "--utt2spk=u2s", "in"],
        Result(0, block(WAV, 4, 8)),
        files={"in": WAV, "u2s": UTT2SPK},
    ),
    Case(
        "by speakers of unequal size",
        ["split_scp.pl", "--utt2spk=u2s", "in", "1", "2", "3"],
        Result(0, "", {"1": of_speakers("A"), "2": of_speakers("B"), "3": of_speakers("CDEF")}),
        files=UNEVEN_FILES,
    ),
    failing("more parts than lines", ["split_scp.pl", "-j", "11", "0", "in"], {"in": TEN}, left=""),
    failing("empty input", ["split_scp.pl", "-j", "1", "0", "in"], {"in": ""}, left=""),
    failing("more parts than speakers", ["split_scp.pl", "--utt2spk=u2s", "in", *"1234"], {"in": WAV, "u2s": UTT2SPK}),
    failing("no utt2spk", ["split_scp.pl", "--utt2spk=none", "in", "1", "2"], {"in": WAV}),
    failing("not in utt2spk", ["split_scp.pl", "--utt2spk=u2s", "in", "1", "2"], {"in": TEN, "u2s": UTT2SPK}),
    failing("no such part", ["split_scp.pl", "-j", "3", "3", "in"], {"in": TEN}, left=""),
    failing("no such input", ["split_scp.pl", "none", "1"], {}),
    Case(
        "from standard input",
        ["split_scp.pl", "-j", "2", "0", "-"],
        Result(0, block(TEN, 0, 5)),
        Result(FAILS, ""),
        "the original takes - for the name of a file",
        stdin=TEN,
    ),
]
FILTER = [
    Case("kept", ["filter_scp.pl", "ids", "in"], Result(0, lines("u02 x", "u05 x")), files={**TABLE, "in": TEN}),
    Case("from standard input", ["filter_scp.pl", "ids"], Result(0, lines("u02 x", "u05 x")), files=TABLE, stdin=TEN),
    Case(
        "excluded",
        ["filter_scp.pl", "--exclude", "ids", "in"],
        Result(0, lines(*(f"u{number:02d} x" for number in (1, 3, 4, 6, 7, 8, 9, 10)))),
        files={**TABLE, "in": TEN},
    ),
    Case(
        "by the second field",
        ["filter_scp.pl", "-f", "2", "ids", "in"],
        Result(0, lines("a u02")),
        files={**TABLE, "in": lines("a u02", "b u03")},
    ),
    Case(
        "excluded by the second field",
        ["filter_scp.pl", "-f", "2", "--exclude", "ids", "in"],
        Result(0, lines("b u03")),
        files={**TABLE, "in": lines("a u02", "b u03")},
    ),
    Case("no ids", ["filter_scp.pl", "none", "in"], Result(0, ""), files={"none": "", "in": TEN}),
    Case(
        "blanks stay",
        ["filter_scp.pl", "ids", "in"],
        Result(0, lines("  u02   a  b", "u05\ta")),
        files={**TABLE, "in": lines("  u02   a  b", "u05\ta")},
    ),
    failing("no file of ids", ["filter_scp.pl", "none", "in"], {"in": TEN}, left=""),
    failing("blank line in the ids", ["filter_scp.pl", "ids", "in"], {"ids": "a\n\n", "in": TEN}, left=""),
    failing("blank line in the input", ["filter_scp.pl", "ids", "in"], {**TABLE, "in": "u02\n\nu05\n"}, left="u02\n"),
    failing("no such field", ["filter_scp.pl", "-f", "3", "ids", "in"], {**TABLE, "in": TEN}, left=""),
    failing("unknown option", ["filter_scp.pl", "--bad", "ids", "in"], {**TABLE, "in": TEN}, left=""),
    failing("one word too many", ["filter_scp.pl", "ids", "in", "in"], {**TABLE, "in": TEN}, left=""),
    Case(
        "no such input",
        ["filter_scp.pl", "ids", "none"],
        Result(FAILS, ""),
        Result(0, ""),
        "the original warns and goes on with nothing",
        TABLE,
    ),
    Case(
        "field 0",
        ["filter_scp.pl", "-f", "0", "ids", "in"],
        Result(FAILS, ""),
        Result(0, "x u05\n"),
        "the original takes the last field",
        {**TABLE, "in": lines("u02 x", "x u05")},
    ),
]
MAP = [
    Case(
        "words that are not in the map stay",
        ["apply_map.pl", "--permissive", "map"],
        Result(0, lines("w z", "z w q")),
        files=TABLE,
        stdin=TABLE["in"],
    ),
    Case("first field", ["apply_map.pl", "-f", "1", "map"], Result(0, "w b\nz a q\n"), files=TABLE, stdin=TABLE["in"]),
    Case("fields 1-2", ["apply_map.pl", "-f", "1-2", "map"], Result(0, "w z\nz w q\n"), files=TABLE, stdin=TABLE["in"]),
    Case(
        "fields from 2",
        ["apply_map.pl", "--permissive", "-f", "2-", "map"],
        Result(0, lines("a z", "b w q")),
        files=TABLE,
        stdin=TABLE["in"],
    ),
    Case("field beyond the end", ["apply_map.pl", "-f", "4", "map"], Result(0, "a b\n"), files=TABLE, stdin="a  b\n"),
    Case("to several words", ["apply_map.pl", "map"], Result(0, "x y\n\n"), files={"map": "a x y\n"}, stdin="a\n\n"),
    Case("to nothing", ["apply_map.pl", "map"], Result(0, " \n"), files=TABLE, stdin="c c\n"),
    failing("no map", ["apply_map.pl", "none"], TABLE, "a\n", left=""),
    failing("blank line in the map", ["apply_map.pl", "map"], {"map": "\na b\n"}, "a\n", left=""),
    failing("no field", ["apply_map.pl", "-f", "x", "map"], TABLE, "a\n", left=""),
    Case(
        "a word that is not in the map",
        ["apply_map.pl", "map"],
        Result(FAILS, ""),
        Result(FAILS, "w z\n"),
        "the original writes the lines before it",
        TABLE,
        TABLE["in"],
    ),
    Case(
        "fields backwards",
        ["apply_map.pl", "-f", "2-1", "map"],
        Result(FAILS, ""),
        Result(0, "a b\n"),
        "the original changes nothing and is content",
        TABLE,
        "a b\n",
    ),
    Case(
        "input and output as files",
        ["apply_map.pl", "--permissive", "map", "in", "out"],
        Result(0, "", {"out": lines("w z", "z w q")}),
        Result(FAILS),
        "the original reads standard input only",
        TABLE,
    ),
]
GROUP = [
    Case(
        "by first appearance",
        ["utt2spk_to_spk2utt.pl", "in"],
        Result(0, "s2 b c\ns1 a a\n"),
        files={"in": "b s2\na s1\na s1\nc s2"},
    ),
    Case("from standard input", ["utt2spk_to_spk2utt.pl"], Result(0, SPK2UTT), stdin=UTT2SPK),
    Case("nothing", ["utt2spk_to_spk2utt.pl", "in"], Result(0, ""), files={"in": ""}),
    failing("three fields", ["utt2spk_to_spk2utt.pl", "in"], {"in": "a s\nb s x\n"}, left=""),
    failing("blank line", ["utt2spk_to_spk2utt.pl", "in"], {"in": "a s\n\nb s\n"}, left=""),
    Case("back", ["spk2utt_to_utt2spk.pl", "in"], Result(0, UTT2SPK), files={"in": SPK2UTT}),
    Case("back from standard input", ["spk2utt_to_utt2spk.pl"], Result(0, UTT2SPK), stdin=SPK2UTT),
    failing("a speaker without utterances", ["spk2utt_to_utt2spk.pl", "in"], {"in": "s\n"}, left=""),
    Case(
        "no such input",
        ["utt2spk_to_spk2utt.pl", "none"],
        Result(FAILS, ""),
        Result(0, ""),
        "the original warns and goes on with nothing",
    ),
    Case(
        "no such spk2utt",
        ["spk2utt_to_utt2spk.pl", "none"],
        Result(FAILS, ""),
        Result(0, ""),
        "the original warns and goes on with nothing",
    ),
]
LISTS = {"split": SPLIT, "filter": FILTER, "map": MAP, "group": GROUP}
