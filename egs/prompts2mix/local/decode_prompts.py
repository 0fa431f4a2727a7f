"""Debian packages (or the tree they unpack to) -> 16-bit PCM wav of every prompt and the list prompts.tsv.

<out>/<speaker>/<prompt with / as ->.wav   <out>/prompts.tsv: id, speaker, prompt, samples, transcript (may be empty)
"""

import csv
import gzip
import io
import subprocess
import tempfile
from pathlib import Path

from voices import RATE, SHA256, VERSION, VOICES, Voice, clean_transcript, sha256

from codecsep.errors import CodecsepError
from codecsep.faults import faultpoint

SOUNDS = "usr/share/asterisk/sounds"
FIELDS = ("id", "speaker", "prompt", "samples", "transcript")


class CorpusError(CodecsepError):
    """A corpus that is missing, incomplete or not the one that is known."""


def describe(corpus: Path) -> dict:
    """What decides about the decoded files: the packages' hashes, or the place of an unpacked tree."""
    if (corpus / SOUNDS).is_dir():
        return {"tree": str(corpus.resolve()), "voices": [voice.speaker for voice in VOICES]}
    return {"packages": SHA256}


def decode(corpus: Path, out: Path) -> int:
    """Decode all prompts below `corpus` (packages, or an unpacked tree) into the new directory `out`; their number."""
    if (corpus / SOUNDS).is_dir():
        print(f"{corpus}: an unpacked tree, used as it is (hashes are not checked)")
        return _decode_tree(corpus, out)
    packages = check_packages(corpus)
    with tempfile.TemporaryDirectory(dir=out) as beside:
        for package in packages:
            unpack(package, Path(beside))
        return _decode_tree(Path(beside), out)


def unpack(package: Path, folder: Path) -> None:
    """The files of a Debian package. Raises CorpusError when dpkg-deb is missing or fails."""
    try:
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)
    except FileNotFoundError as error:
        fix = "unpack the packages elsewhere and give that as --corpus"
        raise CorpusError("E126", "cannot be unpacked: there is no dpkg-deb", package, fix) from error
    except subprocess.CalledProcessError as error:
        what = f"cannot be unpacked: dpkg-deb ended with status {error.returncode}"
        raise CorpusError("E126", what, package, "see what it said above; is there room on the disk?") from error


def check_packages(corpus: Path) -> list[Path]:
    """The eight packages in `corpus`, their SHA-256 checked. Raises CorpusError naming all that is wrong."""
    paths = {corpus / f"{name}_{VERSION}.deb": digest for name, digest in SHA256.items()}
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        fix = "run data.sh without --corpus to download them"
        raise CorpusError("E126", f"holds no {', '.join(missing)}", corpus, fix)
    wrong = [str(path) for path, digest in paths.items() if sha256(path) != digest]
    if wrong:
        what = f"SHA-256 differs from the known one: {', '.join(wrong)}"
        raise CorpusError("E126", what, corpus, "delete the files and run again")
    return list(paths)


def transcripts(tree: Path, voice: Voice) -> dict[str, str]:
    """{prompt: cleaned text} out of the voice's core-sounds-XX.txt.gz."""
    name = f"core-sounds-{voice.language}.txt.gz"
    path = tree / "usr/share/doc" / f"asterisk-core-sounds-{voice.language}" / name
    if not path.is_file():
        raise CorpusError("E126", "no such file", path, f"unpack asterisk-core-sounds-{voice.language} there too")
    lines = gzip.decompress(path.read_bytes()).decode("utf-8-sig").splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line and not line.startswith(";"))
    return {prompt.strip(): clean_transcript(text, voice.language) for prompt, text in pairs}


def read_g722(path: Path):
    """G.722 at 64 kbit/s -> int16 [L] at 16 kHz; L is 0 for a file of 0 bytes, as one of the packages holds."""
    import av
    import numpy as np

    if path.stat().st_size == 0:
        return np.zeros(0, np.int16)
    with av.open(str(path), format="g722") as container:
        frames = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    return np.concatenate(frames)


def _decode_tree(tree: Path, out: Path) -> int:
    rows = []
    for voice in VOICES:
        rows += _decode_voice(tree, voice, out)
        print(f"decoded {voice.speaker}: {sum(row['speaker'] == voice.speaker for row in rows)} prompts")
        faultpoint("stage0.mid")
    with open(out / "prompts.tsv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def _decode_voice(tree: Path, voice: Voice, out: Path) -> list[dict]:
    import soundfile

    folder = tree / SOUNDS / voice.folder
    if not folder.is_dir():
        fix = f"the corpus is incomplete, unpack asterisk-core-sounds-{voice.language}-g722 there too"
        raise CorpusError("E126", "no such folder", folder, fix)
    texts = transcripts(tree, voice)
    (out / voice.speaker).mkdir()
    rows = []
    for path in sorted(folder.rglob("*.g722")):
        prompt = path.relative_to(folder).with_suffix("").as_posix()
        utterance = f"{voice.speaker}-{prompt.replace('/', '-')}"
        samples = read_g722(path)
        wav = io.BytesIO()  # libsndfile itself says "System error." when a disk is full
        soundfile.write(wav, samples, RATE, format="WAV", subtype="PCM_16")
        (out / voice.speaker / f"{utterance}.wav").write_bytes(wav.getvalue())
        values = (utterance, voice.speaker, prompt, len(samples), texts.get(prompt, ""))
        rows.append(dict(zip(FIELDS, values, strict=True)))
    return rows
