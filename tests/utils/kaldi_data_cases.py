"""The data-directory verbs beside Kaldi's: see kaldi_cases.py."""

from kaldi_cases import FAILS, SPK2UTT, UTT2SPK, WAV, Case, Result, block, lines

TEXT = lines(*(f"{key} hello {number}" for number, key in enumerate((x.split()[0] for x in UTT2SPK.splitlines()), 1)))
SAMPLES = lines(*(f"{line.split()[0]} 8000" for line in UTT2SPK.splitlines()))
PLAIN = {"utt2spk": UTT2SPK, "spk2utt": SPK2UTT, "wav.scp": WAV, "text": TEXT}
SPK1 = WAV.replace("/x/", "/s1/")
ENOUGH = ["--check-audio", "0"]  # there is no audio behind these lists


def placed(folder: str, tables: dict[str, str]) -> dict[str, str]:
    return {f"{folder}/{name}": text for name, text in tables.items()}


def only(tables: dict[str, str], *keys: str) -> dict[str, str]:
    """The lines of these utterances in each table, and their spk2utt."""
    kept = {name: lines(*(x for x in t.splitlines() if x.split()[0] in keys)) for name, t in tables.items()}
    speakers: dict[str, list[str]] = {}
    for line in kept["utt2spk"].splitlines():
        speakers.setdefault(line.split()[1], []).append(line.split()[0])
    return {**kept, "spk2utt": lines(*(" ".join([name, *utts]) for name, utts in speakers.items()))}


def prefixed(tables: dict[str, str]) -> dict[str, str]:
    new = {name: lines(*(f"p-{line}" for line in text.splitlines())) for name, text in tables.items()}
    new["utt2spk"] = new["utt2spk"].replace(" ", " p-")
    return {**new, "spk2utt": new["spk2utt"].replace(" ", " p-")}


def valid(name: str, words: list[str], **changed: str) -> Case:
    tables = {**PLAIN, "utt2num_samples": SAMPLES, **changed}
    return Case(name, ["validate_data_dir.sh", "--no-feats", *words, "d"], Result(0), files=placed("d", tables))


def invalid(name: str, *words: str, kaldi: Result | None = None, why: str = "", **changed: str) -> Case:
    """Ours refuses the directory d; so does Kaldi's, unless told otherwise."""
    tables = {**PLAIN, "utt2num_samples": SAMPLES, **changed}
    tables = {file.replace("_scp", ".scp"): text for file, text in tables.items() if text != "absent"}
    command = ["validate_data_dir.sh", "--no-feats", *words, "d"]
    return Case(name, command, Result(FAILS), kaldi, why, placed("d", tables))


ACCENT = TEXT.replace("hello 1\n", "été\n")
VALIDATE = [
    valid("good", []),
    valid("good without text", ["--no-text"], text=TEXT),
    invalid("no utt2spk", utt2spk="absent"),
    invalid("no spk2utt", spk2utt="absent"),
    invalid("no text", text="absent"),
    invalid("unsorted", text=TEXT.replace("A-1 hello 1\nA-2 hello 2\n", "A-2 hello 2\nA-1 hello 1\n")),
    invalid("double", utt2spk="A-1 A\n" + UTT2SPK),
    invalid("spk2utt of others", spk2utt=SPK2UTT.replace(" A-2", "")),
    invalid("lacks a transcript", text=block(TEXT, 1, 12)),
    invalid("lacks a recording", **{"wav.scp": block(WAV, 1, 12)}),
    invalid("text without an end", text=TEXT[:-1]),
    invalid("text with <s>", text=TEXT.replace("hello 3\n", "<s> hello\n")),
    invalid("not sorted by speaker", utt2spk=UTT2SPK.replace("B-1 B", "B-1 D"), spk2utt="absent"),
    invalid("utt2dur of 0", utt2dur=SAMPLES.replace("A-1 8000", "A-1 0")),
    invalid("utt2num_frames of 1.5", utt2num_frames=SAMPLES.replace("A-1 8000", "A-1 1.5")),
    invalid("~ in a path", **{"wav.scp": WAV.replace("/x/A-1.wav", "~/A-1.wav")}),
    invalid("segment that ends before it starts", segments=lines("A-1 A-1 2 1", *block(WAV, 1, 12).splitlines())),
    invalid(
        "utt2spk of three fields",
        kaldi=Result(0),
        why="the original says 'wrong format' and is content",
        utt2spk=UTT2SPK.replace("A-1 A", "A-1 A extra"),
    ),
    invalid("empty transcript", kaldi=Result(0), why="the original allows it", text=TEXT.replace("A-1 hello 1", "A-1")),
    invalid("spk1.scp of others", kaldi=Result(0), why="the original does not look at it", spk1_scp="A-1 x\n"),
    invalid("utt2num_samples of others", kaldi=Result(0), why="as above", utt2num_samples=block(SAMPLES, 1, 12)),
    Case(
        "accented text",
        ["validate_data_dir.sh", "--no-feats", "d"],
        Result(0),
        Result(FAILS),
        "the original looks for a locale by a name that Debian does not use",
        placed("d", {**PLAIN, "text": ACCENT, "utt2num_samples": SAMPLES}),
    ),
]
KEPT = [key for key in (x.split()[0] for x in UTT2SPK.splitlines()) if key not in ("A-3", "C-1")]
FIX = [
    Case(
        "sorts, drops doubles, keeps what all have",
        ["fix_data_dir.sh", "d"],
        Result(0, files=placed("d", only(PLAIN, *KEPT))),
        files=placed(
            "d",
            {
                **PLAIN,
                "wav.scp": WAV.replace("A-3 /x/A-3.wav\n", ""),
                "text": TEXT.replace("C-1 hello 9\n", "") + "A-1 again\n",
            },
        ),
        words_of_ours=["--max-drop", "20"],
    ),
    Case(
        "a list of one source",
        ["fix_data_dir.sh", "d"],
        Result(0, files=placed("d", only({**PLAIN, "spk1.scp": SPK1}, *KEPT))),
        Result(0, files=placed("d", {**PLAIN, "spk1.scp": only({**PLAIN, "x": SPK1}, *KEPT)["x"]})),
        "the original does not know spk1.scp",
        placed("d", {**PLAIN, "spk1.scp": only({**PLAIN, "x": SPK1}, *KEPT)["x"]}),
        words_of_ours=["--max-drop", "20"],
    ),
    Case(
        "most would be lost",
        ["fix_data_dir.sh", "d"],
        Result(FAILS, ""),
        Result(0, files=placed("d", only(PLAIN, "A-1"))),
        "the original drops without limit; ours with --force",
        placed("d", {**PLAIN, "text": block(TEXT, 0, 1)}),
    ),
    Case("nothing is left", ["fix_data_dir.sh", "d"], Result(FAILS), files=placed("d", {**PLAIN, "text": "z z\n"})),
    Case("not there", ["fix_data_dir.sh", "d"], Result(FAILS)),
    Case(
        "not sorted by speaker",
        ["fix_data_dir.sh", "d"],
        Result(FAILS),
        Result(FAILS, files={"d/spk2utt": SPK2UTT.replace("B B-1 ", "D B-1\nB ")}),
        "the original has changed spk2utt by then",
        placed("d", {**PLAIN, "utt2spk": UTT2SPK.replace("B-1 B", "B-1 D")}),
    ),
]
SUFFIX = Case(
    "a suffix that begins with a dash",
    ["copy_data_dir.sh", "--utt-suffix", "-q", "d", "e"],
    Result(
        0,
        files=placed(
            "e",
            {
                **{name: "".join(x.replace(" ", "-q ", 1) + "\n" for x in PLAIN[name].splitlines()) for name in PLAIN},
                "spk2utt": lines(*(f"{s} " + " ".join(f"{s}-{n}-q" for n in range(1, 5)) for s in "ABC")),
            },
        ),
    ),
    files=placed("d", PLAIN),
)
COPY = [
    Case(
        "prefixes",
        ["copy_data_dir.sh", "--utt-prefix", "p-", "--spk-prefix", "p-", "d", "e"],
        Result(0, files=placed("e", prefixed(PLAIN))),
        files=placed("d", PLAIN),
    ),
    SUFFIX,
    Case(
        "lists of sources",
        ["copy_data_dir.sh", "d", "e"],
        Result(0, files=placed("e", {**PLAIN, "spk1.scp": SPK1, "sot_order": SAMPLES, "my_list": SAMPLES})),
        Result(0, files=placed("e", PLAIN)),
        "the original copies the lists it knows by name",
        placed("d", {**PLAIN, "spk1.scp": SPK1, "sot_order": SAMPLES, "my_list": SAMPLES}),
    ),
    Case("to itself", ["copy_data_dir.sh", "d", "d"], Result(FAILS), files=placed("d", PLAIN)),
    Case("from nowhere", ["copy_data_dir.sh", "d", "e"], Result(FAILS)),
]


def chosen(name: str, words: list[str], *keys: str, **files: str) -> Case:
    made = Result(0, files=placed("e", only(PLAIN, *keys)))
    return Case(name, ["subset_data_dir.sh", *words, "e"], made, files={**placed("d", PLAIN), **files})


SUBSET = [
    chosen("spread", ["d", "5"], "A-3", "B-2", "C-1", "C-2", "C-4"),
    chosen("the last one", ["d", "1"], "C-4"),
    chosen("all", ["d", "12"], *(x.split()[0] for x in UTT2SPK.splitlines())),
    chosen("first", ["--first", "d", "3"], "A-1", "A-2", "A-3"),
    chosen("last", ["--last", "d", "2"], "C-3", "C-4"),
    chosen("of each speaker", ["--per-spk", "d", "2"], "A-1", "A-3", "B-1", "B-3", "C-1", "C-3"),
    chosen("three of each", ["--per-spk", "d", "3"], *(f"{s}-{n}" for s in "ABC" for n in (1, 2, 3))),
    chosen("more than each has", ["--per-spk", "d", "9"], *(x.split()[0] for x in UTT2SPK.splitlines())),
    chosen("listed", ["--utt-list", "l", "d"], "A-1", "B-2", l="A-1\nB-2 x\nZ-9\n"),
    chosen("listed speakers", ["--spk-list", "l", "d"], *(f"B-{n}" for n in range(1, 5)), l="B\nZ\n"),
    Case("too many", ["subset_data_dir.sh", "d", "13", "e"], Result(FAILS), files=placed("d", PLAIN)),
    Case(
        "none",
        ["subset_data_dir.sh", "d", "0", "e"],
        Result(FAILS),
        Result(FAILS, files={"e/utt2spk": ""}),
        "the original leaves an empty utt2spk behind",
        placed("d", PLAIN),
    ),
    Case(
        "shortest",
        ["subset_data_dir.sh", "--shortest", "d", "2", "e"],
        Result(
            0,
            files=placed("e", only({**PLAIN, "utt2num_samples": SAMPLES.replace("C-2 8000", "C-2 9")}, "A-1", "C-2")),
        ),
        Result(FAILS),
        "the original needs feats.scp to know lengths",
        placed("d", {**PLAIN, "utt2num_samples": SAMPLES.replace("C-2 8000", "C-2 9")}),
    ),
    chosen("enough speakers", ["--speakers", "d", "5"], *(f"{s}-{n}" for s in "AC" for n in range(1, 5))),
    Case(
        "one speaker is enough",
        ["subset_data_dir.sh", "--speakers", "d", "3", "e"],
        Result(0, files=placed("e", only(PLAIN, *(f"A-{n}" for n in range(1, 5))))),
        Result(0, files=placed("e", only(PLAIN, *(f"C-{n}" for n in range(1, 5))))),
        "chosen by a hash of their names instead of by a generator of random numbers",
        placed("d", PLAIN),
    ),
]
AB = [f"{speaker}-{number}" for speaker in "AB" for number in range(1, 5)]
C = [f"C-{number}" for number in range(1, 5)]
SPLIT_DATA = [
    Case(
        "by speaker",
        ["split_data.sh", "d", "2"],
        Result(0, files={**placed("d/split2/1", only(PLAIN, *AB)), **placed("d/split2/2", only(PLAIN, *C))}),
        files=placed("d", PLAIN),
    ),
    Case(
        "by utterance",
        ["split_data.sh", "--per-utt", "d", "2"],
        Result(
            0,
            files={
                **placed("d/split2utt/1", only(PLAIN, *AB[:6])),
                **placed("d/split2utt/2", only(PLAIN, *AB[6:], *C)),
            },
        ),
        files=placed("d", PLAIN),
    ),
    Case("no number", ["split_data.sh", "d", "x"], Result(FAILS), files=placed("d", PLAIN)),
    Case("more parts than speakers", ["split_data.sh", "d", "4"], Result(FAILS), files=placed("d", PLAIN)),
    Case(
        "lists of sources",
        ["split_data.sh", "d", "3"],
        Result(
            0,
            files={
                key: text
                for n, s in enumerate("ABC", 1)
                for key, text in placed(
                    f"d/split3/{n}", only({**PLAIN, "spk1.scp": SPK1}, *(f"{s}-{i}" for i in range(1, 5)))
                ).items()
            },
        ),
        Result(
            0,
            files={
                key: text
                for n, s in enumerate("ABC", 1)
                for key, text in placed(f"d/split3/{n}", only(PLAIN, *(f"{s}-{i}" for i in range(1, 5)))).items()
            },
        ),
        "the original does not know spk1.scp",
        placed("d", {**PLAIN, "spk1.scp": SPK1}),
    ),
]
TWO = {**placed("a", only(PLAIN, *AB)), **placed("b", only(PLAIN, *C))}
COMBINE = [
    Case("two", ["combine_data.sh", "e", "a", "b"], Result(0, files=placed("e", PLAIN)), files=TWO),
    Case(
        "a list that one of them lacks",
        ["combine_data.sh", "e", "a", "b"],
        Result(0, files=placed("e", {name: text for name, text in PLAIN.items() if name != "text"})),
        files={name: text for name, text in TWO.items() if name != "b/text"},
    ),
    Case(
        "lists of sources",
        ["combine_data.sh", "e", "a", "b"],
        Result(0, files=placed("e", {**PLAIN, "spk1.scp": SPK1})),
        Result(0, files=placed("e", PLAIN)),
        "the original does not know spk1.scp",
        {**TWO, "a/spk1.scp": block(SPK1, 0, 8), "b/spk1.scp": block(SPK1, 8, 12)},
    ),
    Case(
        "the target is no data directory",
        ["combine_data.sh", "e", "a", "b"],
        Result(FAILS, files={"e/thesis.tex": "years of work\n"}),
        Result(0, files=placed("e", PLAIN)),
        "the original deletes whatever is there",
        {**TWO, "e/thesis.tex": "years of work\n"},
    ),
    Case(
        "one id, two meanings",
        ["combine_data.sh", "e", "a", "b"],
        Result(FAILS),
        Result(0, files=placed("e", only(PLAIN, *AB))),
        "the original keeps one of the two lines",
        {**placed("a", only(PLAIN, *AB)), **placed("b", {**only(PLAIN, "A-1"), "text": "A-1 other\n"})},
    ),
    Case("from nowhere", ["combine_data.sh", "e", "a", "b"], Result(FAILS), files=placed("a", only(PLAIN, *AB))),
]
DATA = {
    "validate": VALIDATE,
    "fix": FIX,
    "copy": COPY,
    "subset": SUBSET,
    "split_data": SPLIT_DATA,
    "combine": COMBINE,
}
