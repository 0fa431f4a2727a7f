"""Score a codec on recordings of one speaker each.

`python -m codecsep.bin.score_codec --codec exp/codec --data data/test_sources --out exp/score/test`: resynthesis with
1, 2, 4, ... codebooks against the recordings: STOI, ESTOI, speaker similarity; WER of the English ones as recorded and
with all codebooks.  All of it is judged at 16 kHz, whatever the codec's own rates.  Writes RESULTS.md and scores.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from codecsep import config
from codecsep.codecs import base
from codecsep.data import atomic, audio, datadir, lock, manifest
from codecsep.errors import CodecsepError
from codecsep.metrics import judges as judging
from codecsep.metrics import report, speaker, words

PROG = "codecsep-score-codec"
RATE = 16000  # Hz; at which the judges listen


class ScoreError(CodecsepError):
    """A call that cannot be followed."""


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__ or "")
    parser.add_argument("--codec", type=Path, required=True, help="codec directory, such as exp/codec")
    parser.add_argument("--data", type=Path, required=True, help="sources directory, such as data/test_sources")
    parser.add_argument("--out", type=Path, required=True, help="where RESULTS.md and scores.json go")
    return parser


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    args, overrides = config.parse(make_parser(), argv)
    if overrides:
        raise ScoreError("E855", f"not understood: {' '.join(overrides)}", "command line", "see --help")
    manifest.require_unless_brought(args.codec, "1")
    manifest.require_unless_brought(args.data, "0")
    paths = datadir.read_table(args.data / "wav.scp")
    codec = base.load(args.codec)
    judges = judging.load(RATE, without=("dnsmos", "pesq"))
    recordings = {one: audio.read_audio(path, RATE)[0] for one, path in paths.items()}
    rows = [score_levels(codec, recordings, count, judges) for count in level_counts(codec.info.num_codebooks)]
    english = english_texts(args.data)
    texts = word_errors(codec, recordings, english, judges)
    result = {"codec": asdict(codec.info), "data": str(args.data), "utterances": len(paths), "rows": rows, "wer": texts}
    text = markdown(result, judges)
    write(args, json.dumps(result, indent=2) + "\n", text)
    print(text)
    return 0


def write(args: argparse.Namespace, scores: str, page: str) -> None:
    """The numbers, the page, and of what they were made."""
    files = {args.out / "scores.json": scores, args.out / "RESULTS.md": page}
    work = manifest.Work("7", [args.codec / "codec.json", args.data / "wav.scp"])
    with lock.locked(args.out):
        manifest.begin(args.out)
        for path, text in files.items():
            atomic.write_text(path, text)
        count = len(datadir.read_table(args.data / "wav.scp"))
        manifest.finish(args.out, work, files, manifest.Counts(count, count))


def level_counts(num_codebooks: int) -> list[int]:
    """1, 2, 4, ... and all."""
    return sorted({min(2**i, num_codebooks) for i in range(num_codebooks.bit_length() + 1)})


def resynthesise(codec: base.Codec, samples: np.ndarray, count: int) -> np.ndarray:
    """Samples [L] at 16 kHz through the first `count` codebooks -> [L], zeros at its end if need be."""
    info = codec.info
    given = audio.resample(samples, RATE, info.sample_rate)
    codes, frames = codec.encode(torch.from_numpy(given)[None], torch.tensor([len(given)]))
    decoded = codec.decode(codes[:, :count], frames)[0, : codec.num_samples(int(frames))].numpy()
    result = audio.resample(decoded, info.output_rate, RATE)[: len(samples)]
    return np.pad(result, (0, len(samples) - len(result)))


def score_levels(codec: base.Codec, recordings: dict, count: int, judges: judging.Judges) -> dict[str, float]:
    """Mean scores of the resynthesis through `count` codebooks."""
    from pystoi import stoi

    scores = []
    for samples in recordings.values():
        ours = resynthesise(codec, samples, count)
        row = {"stoi": stoi(samples, ours, RATE), "estoi": stoi(samples, ours, RATE, extended=True)}
        if judges.speaker is not None:
            row["spk_sim_ge2e"] = speaker.similarity(judges.speaker.embed(ours), judges.speaker.embed(samples))
        scores.append(row)
    bitrate = count * codec.info.frame_rate * np.log2(codec.info.codebook_size) / 1000
    means = {name: float(np.nanmean([row[name] for row in scores])) for name in scores[0]}
    return {"codebooks": count, "kbit_per_s": bitrate} | means


def english_texts(data: Path) -> dict[str, str]:
    """Transcripts of the English recordings (all of them when the directory names no languages)."""
    texts = datadir.read_table(data / "text")
    if not (data / "utt2lang").is_file():
        return texts
    languages = datadir.read_table(data / "utt2lang")
    return {one: text for one, text in texts.items() if languages[one] == "en"}


def word_errors(codec: base.Codec, recordings: dict, texts: dict[str, str], judges: judging.Judges) -> dict | None:
    """WER in percent of the recordings and of their resynthesis through all codebooks; None without a judge."""
    if judges.asr is None or not texts:
        return None
    count, rates = codec.info.num_codebooks, {}
    makers = {"recording": lambda x: x, "codec": lambda x: resynthesise(codec, x, count)}
    for name, make in makers.items():
        read = judges.asr.transcribe([make(recordings[one]) for one in texts])
        pairs = zip(texts.values(), read, strict=True)
        rates[name] = words.rate(words.errors(words.normalise(a), words.normalise(b)) for a, b in pairs)
    return rates | {"utterances": len(texts)}


def markdown(result: dict, judges: judging.Judges) -> str:
    """The page: what was scored, the table, the word error rates."""
    info = result["codec"]
    header = list(result["rows"][0])
    table = report.table_of([header, *[[f"{row[name]:.4g}" for name in header] for row in result["rows"]]])
    lines = [
        f"# Codec {info['name']}: {info['num_codebooks']} x {info['codebook_size']} at {info['frame_rate']:g} Hz, "
        f"{info['sample_rate']} Hz",
        f"{result['utterances']} recordings of {result['data']}, none of them in training; "
        f"weights SHA-256 {info['fingerprint']}.",
        table,
    ]
    if result["wer"]:
        rates = result["wer"]
        lines.append(
            f"WER of {rates['utterances']} English recordings: {rates['recording']:.1f} % as recorded, "
            f"{rates['codec']:.1f} % through all codebooks ({judging.ASR_NAME}; {words.NORMALISER})."
        )
    lines += [f"Left out: {text}" for text in judges.missing]
    return "\n\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
