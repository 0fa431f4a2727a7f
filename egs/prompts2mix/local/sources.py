"""prompts.tsv -> data/{train,dev,test}_sources: filters with counted reasons, split by sentence, tables."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

from voices import NON_SPEECH, RATE, SETS, VOICES, sentence_key

from codecsep.data import audio, datadir, mixing
from codecsep.data.skipped import Skipped
from codecsep.faults import faultpoint

HELD_OUT = 0.1  # part of each voice's time that goes to test, and to dev
QUIETEST = -45.0  # LUFS; below it a prompt is an artefact
FASTEST = 25  # characters of transcript per second; above it the transcript says more than the voice


def read_prompts(wav_dir: Path) -> list[dict]:
    """Rows of prompts.tsv with "seconds" and "path" added."""
    with open(wav_dir / "prompts.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row in rows:
        row["samples"] = int(row["samples"])
        row["seconds"] = row["samples"] / RATE
        row["path"] = f"{wav_dir}/{row['speaker']}/{row['id']}.wav"
    return rows


def select(rows: list[dict], min_duration: float, max_duration: float) -> tuple[list[dict], list[Skipped]]:
    """The rows that can be sources, and the utterances left out, each with its reason."""
    kept, dropped = [], []
    for row in rows:
        reason = _reason(row, min_duration, max_duration)
        if reason is None:
            reason = _measure(row)
        if reason is None:
            kept.append(row)
        else:
            dropped.append(Skipped(row["id"], "0", "E125", reason))
    return kept, dropped


def quick_look(sets: dict[str, list[dict]], count: int, seed: int) -> dict[str, list[dict]]:
    """Only `count` prompts of each voice, at least one of them in dev and in test; none changes its set."""
    held_out = max(1, round(HELD_OUT * count))
    numbers = {"train": max(1, count - 2 * held_out), "dev": held_out, "test": held_out}
    return {name: _first_of_each(rows, numbers[name], seed) for name, rows in sets.items()}


def split(rows: list[dict], seed: int) -> dict[str, list[dict]]:
    """{set: rows}: of each voice 10 % of the time to test, 10 % to dev, by the hash of the sentence.

    All prompts of one sentence, of whatever voice, are in one set.
    """
    place: dict[str, str] = {}
    for voice in VOICES:
        own = [row for row in rows if row["speaker"] == voice.speaker]
        quota = HELD_OUT * sum(row["seconds"] for row in own)
        filled = Counter()
        for row in own:
            if name := place.get(sentence_key(row["transcript"])):
                filled[name] += row["seconds"]
        for row in sorted(own, key=lambda row: _hash(row, seed)):
            key = sentence_key(row["transcript"])
            if key not in place:
                place[key] = next((name for name in ("test", "dev") if filled[name] < quota), "train")
                filled[place[key]] += sum(r["seconds"] for r in own if sentence_key(r["transcript"]) == key)
    return {name: [row for row in rows if place[sentence_key(row["transcript"])] == name] for name in SETS}


def write_tables(rows: list[dict], out: Path) -> None:
    """The tables of a directory of single sources."""
    language = {voice.speaker: voice.language for voice in VOICES}
    utt2spk = {row["id"]: row["speaker"] for row in rows}
    tables = {
        "wav.scp": {row["id"]: row["path"] for row in rows},
        "utt2spk": utt2spk,
        "spk2utt": datadir.invert(utt2spk),
        "text": {row["id"]: row["transcript"] for row in rows},
        "utt2lang": {key: language[speaker] for key, speaker in utt2spk.items()},
        "utt2num_samples": {row["id"]: row["samples"] for row in rows},
        "utt2lufs": {row["id"]: f"{row['lufs']:.4f}" for row in rows},
        "utt2peak": {row["id"]: f"{row['peak']:.6f}" for row in rows},
        "utt2onset": {row["id"]: f"{row['onset']:.2f}" for row in rows},
    }
    for name, table in tables.items():
        datadir.write_table(out / name, table)
    faultpoint("stage0.mid")


def report(sets: dict[str, list[dict]], dropped: list[Skipped]) -> str:
    """A table of utterances and minutes per voice and set, and the reasons for what was left out."""
    lines = [f"{'voice':12s}" + "".join(f"{name:>16s}" for name in SETS)]
    for voice in VOICES:
        cells = []
        for name in SETS:
            own = [row["seconds"] for row in sets[name] if row["speaker"] == voice.speaker]
            cells.append(f"{len(own):5d} {sum(own) / 60:6.2f} min")
        lines.append(f"{voice.speaker:12s}" + "".join(f"{cell:>16s}" for cell in cells))
    reasons = Counter((row.key.partition("-")[0], row.reason) for row in dropped)
    lines += [
        f"left out: {speaker:12s} {reason:18s} {count:4d}" for (speaker, reason), count in sorted(reasons.items())
    ]
    return "\n".join(lines)


def _reason(row: dict, min_duration: float, max_duration: float) -> str | None:
    """Why a prompt is left out, from the list alone; None when it may stay."""
    if row["samples"] == 0:
        return "empty file"
    if NON_SPEECH.fullmatch(row["prompt"]):
        return "non-speech name"
    text = row["transcript"]
    if not text:
        return "no transcript"
    if text.startswith("[") and text.endswith("]"):
        return "non-speech [...]"
    if "[" in text or not sentence_key(text):
        return "unclear transcript"
    if row["seconds"] < min_duration:
        return f"under {min_duration:g} s"
    if row["seconds"] > max_duration:
        return f"over {max_duration:g} s"
    return "transcript too long" if len(text) > FASTEST * row["seconds"] else None


def _measure(row: dict) -> str | None:
    """Add "lufs", "peak" and "onset" to the row; the reason for leaving it out when it is silent."""
    samples, rate = audio.read_audio(row["path"])
    try:
        row["lufs"] = mixing.loudness(samples, rate)
    except audio.AudioError:
        return "silent"
    row["peak"] = float(abs(samples).max())
    row["onset"] = mixing.onset(samples, rate)
    return "silent" if row["lufs"] < QUIETEST else None


def _first_of_each(rows: list[dict], count: int, seed: int) -> list[dict]:
    """`count` rows of each voice, chosen by the hash of the sentence."""
    seen, chosen = Counter(), []
    for row in sorted(rows, key=lambda row: _hash(row, seed)):
        seen[row["speaker"]] += 1
        if seen[row["speaker"]] <= count:
            chosen.append(row)
    return chosen


def _hash(row: dict, seed: int) -> str:
    return hashlib.sha256(f"{seed} {sentence_key(row['transcript'])}".encode()).hexdigest()
