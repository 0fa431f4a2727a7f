"""Stage 7: what bin/score wrote -> RESULTS.md and index.html (players, spectrograms, tokens; one file).

    python -m codecsep.bin.report --score exp/score/test --out exp/score/test

Run in the directory that bin/score ran in: the paths in table.json are relative to it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from codecsep import config
from codecsep.bin.estimates import TIMING
from codecsep.data import atomic, manifest
from codecsep.data.lock import locked
from codecsep.metrics import kept, page, report, summary, table
from codecsep.metrics.page import Clip, Example
from codecsep.metrics.systems import CEILING, CODED_MIXTURE, MIXTURE, REFERENCE, References, Run, spread

PROG = "report"
NAME, SCORE = "report", "score"  # of the manifests in the directory
VERSION = 2  # counts changes of the code that change the pages
Encoder = Callable[[np.ndarray], np.ndarray | None]


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--score", type=Path, required=True, help="the directory that bin/score wrote")
    parser.add_argument("--out", type=Path, required=True, help="where RESULTS.md and index.html go")
    parser.add_argument("--title", help="heading of the page (by default the names of the systems)")
    parser.add_argument("--examples", type=int, default=10, help="mixtures to listen to (10); 0: no index.html")
    parser.add_argument("--force", action="store_true", help="write once more although it is up to date")
    return parser


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    if not (args.score / "table.json").is_file():
        raise report.ReportError("E550", "table.json is not there", args.score, "run bin/score first (--stage 7)")
    manifest.require(args.score, "7", SCORE, is_deep=True)
    result = kept.read_json(args.score / "table.json")
    work = work_of(args, result)
    with locked(args.out):
        if not args.force and manifest.current(args.out, work, NAME) is None:
            print(f"{args.out}: report is up to date", file=sys.stderr)
            return 0
        manifest.begin(args.out, NAME)
        written = write(args, result)
        count = result["num_utterances"]
        manifest.finish(args.out, work, written, manifest.Counts(count, count), NAME)
    print(", ".join(map(str, written)))
    return 0


def work_of(args: argparse.Namespace, result: dict) -> manifest.Work:
    """All that the pages depend on, save the machine and the day that they name."""
    files = [args.score / name for name in ("table.json", "scores.tsv")]
    if not is_dated():
        files += [path for row in result["systems"] for d in row["directories"] if (path := Path(d) / TIMING).is_file()]
    values = {"date": os.environ.get(report.FIXED_DATE), "version": VERSION}
    return manifest.Work("7", files, values, {"title": args.title, "examples": args.examples})


def is_dated() -> bool:
    """Is the day of the pages given? Then nothing in them depends on the clock: they say no real-time factor either."""
    return bool(os.environ.get(report.FIXED_DATE))


def write(args: argparse.Namespace, result: dict) -> list[Path]:
    """RESULTS.md, and index.html unless no examples are asked for; what was written."""
    if not is_dated():
        result = summary.with_timing(result)
    written = [args.out / "RESULTS.md"]
    atomic.write_text(written[0], report.markdown(result))
    if args.examples > 0:
        references = References(result["data"])
        rows = table.read_rows(args.score / "scores.tsv")
        scored = sorted({row["utt"] for row in rows}, key=references.ids.index)
        chosen = [one for one in scored if one in spread(scored, args.examples)]
        encode = encoder(result)
        examples = [example(one, result, rows, references, encode) for one in chosen]
        written.append(args.out / "index.html")
        atomic.write_text(written[1], page.build(args.title or _title(result), result, examples, references.rate))
    return written


def _title(result: dict) -> str:
    names = [row["name"] for row in result["systems"] if row["name"] not in (MIXTURE, REFERENCE)]
    return f"{', '.join(names) or 'scores'} on {result['data']}"


def encoder(result: dict) -> Encoder:
    """Samples at the data's rate -> level-0 tokens [T]; None for every signal when no codec was scored with."""
    if not result["codec"]:
        return lambda samples: None
    from codecsep.bin.codec_ceiling import level_zero
    from codecsep.codecs import base

    coder = base.load(result["codec"])
    return lambda samples: level_zero(coder, samples, result["rate"])


def example(one: str, result: dict, rows: list[dict], references: References, encode: Encoder) -> Example:
    """Mixture and references, then a row of cards per system (its first run)."""
    mixture, sources = references.mixture(one), references.sources(one)
    codes = [encode(source) for source in sources]
    made = Example(one)
    mine = [row for row in rows if row["utt"] == one]
    clips = [Clip("mixture", mixture, codes=encode(mixture))]
    for number, (source, code) in enumerate(zip(sources, codes, strict=True), start=1):
        clips.append(Clip(f"reference {number}", source, _note(mine, REFERENCE, "", number), code))
    made.rows.append(("mixture and references", clips))
    for row in result["systems"]:
        for directory in row["directories"][:1]:
            estimates = Run(directory).estimates(one, references.rate)
            if row["name"] == CODED_MIXTURE:  # one signal, as every estimate
                clips.append(Clip("mixture through the codec", estimates[0], codes=encode(estimates[0])))
                continue
            heading = row["name"] + (f" (run 1 of {row['runs']})" if row["runs"] > 1 else "")
            made.rows.append((heading, _estimates(mine, row, directory, estimates, codes, mixture.size, encode)))
    return made


def _estimates(mine: list, row: dict, run: str, estimates: list, codes: list, length: int, encode: Encoder) -> list:
    """Cards of one system in the order of the references, then estimates that no reference took."""
    from codecsep.metrics.waveform import fit_length  # with torch, which a finished report does without

    clips, used = [], set()
    what = "resynthesis" if row["name"] == CEILING else "estimate"
    for number, code in enumerate(codes, start=1):
        index = _estimate_index(mine, row["name"], run, number)
        note = _note(mine, row["name"], run, number)
        if index is None:
            clips.append(Clip(f"{what} {number}", np.zeros(0), "missing"))
            continue
        used.add(index)
        samples = fit_length(estimates[index], length)
        clips.append(Clip(f"{what} {number}", samples, note, encode(samples), code))
    extra = [fit_length(x, length) for i, x in enumerate(estimates) if i not in used and np.any(x)]
    return clips + [Clip("extra estimate", samples, "no reference took it", encode(samples)) for samples in extra]


def _row_of(mine: list[dict], system: str, run: str, number: int) -> dict:
    found = [r for r in mine if (r["system"], r["run"], r["speaker"]) == (system, run, number)]
    return found[0] if found else {}


def _estimate_index(mine: list[dict], system: str, run: str, number: int) -> int | None:
    """Which estimate (from 0) the permutation gave to this reference; None: none."""
    position = int(_row_of(mine, system, run, number).get("estimate", 0))
    return position - 1 if position > 0 else None


def _note(mine: list[dict], system: str, run: str, number: int) -> str:
    """Scores and words of one card."""
    row = _row_of(mine, system, run, number)
    parts = [
        f"{label} {row[name]:.2f}" for name, label in (("estoi", "ESTOI"), ("spk_sim_ge2e", "GE2E")) if name in row
    ]
    if row.get("text"):
        parts.append(f"“{row['text']}”")
    return ", ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
