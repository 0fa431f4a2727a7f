"""Stands in for python in a recipe: writes down how it was called and makes the files that later stages look for."""

import json
import os
import sys
from pathlib import Path

SETS = ("train", "dev", "test", "train_sources", "dev_sources", "test_sources")


def option(words: list[str], name: str) -> Path:
    """The value of an option."""
    return Path(words[words.index(name) + 1])


def outputs(program: str, words: list[str]) -> list[Path]:
    """The files that a program would make."""
    if program == "prepare" and "--out" in words:
        return [option(words, "--out") / name / scp for name in SETS for scp in ("wav.scp", "spk1.scp")]
    if program == "build_sequences":
        return [option(words, "--dump") / "seq.scp"]
    makes = {
        "train_kmeans": ("centres.safetensors",),
        "get_codec": ("codec.json",),
        "tokenise": ("codes.scp", "spk1_codes.scp", "utt2num_frames"),
        "train": ("best.safetensors",),
        "separate": ("spk1.scp",),
        "through_codec": ("wav.scp", "spk1.scp"),
        "score": ("scores.tsv",),
        "report": ("RESULTS.md",),
    }
    return [option(words, "--out") / name for name in makes.get(program, ())]


def main(words: list[str]) -> None:
    words = [word for word in words if word != "-u"]
    module = words[1] if words[0] == "-m" else words[0]
    rest = words[2:] if words[0] == "-m" else words[1:]
    if module == "codecsep.bin.launch":  # options of the launcher up to the module that it starts
        module, rest = rest[rest.index("-m") + 1], rest[rest.index("-m") + 2 :]
    with open(os.environ["RECORD"], "a", encoding="utf-8") as file:
        file.write(json.dumps([module, *rest]) + "\n")
    for path in outputs(Path(module).stem if module.endswith(".py") else module.rsplit(".", 1)[-1], rest):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("made\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
