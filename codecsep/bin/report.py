"""Stage 7: what bin/score wrote -> RESULTS.md and index.html (players, spectrograms, tokens; one file).

    python -m codecsep.bin.report --score exp/score/test --out exp/score/test

Run in the directory that bin/score ran in: the paths in table.json are relative to it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from codecsep import config
from codecsep.data import atomic
from codecsep.metrics import page, report, scoring, table
from codecsep.metrics.page import Clip, Example
from codecsep.metrics.systems import CEILING, MIXTURE, REFERENCE, References, Run
from codecsep.metrics.waveform import fit_length

PROG = "report"
Encoder = Callable[[np.ndarray], np.ndarray | None]


class ReportError(ValueError):
    """Scores that cannot be reported; one line."""


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--score", type=Path, required=True, help="the directory that bin/score wrote")
    parser.add_argument("--out", type=Path, required=True, help="where RESULTS.md and index.html go")
    parser.add_argument("--title", help="heading of the page (by default the names of the systems)")
    parser.add_argument("--examples", type=int, default=10, help="mixtures to listen to (10); 0: no index.html")
    return parser


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    if not (args.score / "table.json").is_file():
        raise ReportError(f"{args.score}/table.json is not there; run bin/score first (stage 7)")
    result = scoring.read_json(args.score / "table.json")
    atomic.write_text(args.out / "RESULTS.md", report.markdown(result))
    if args.examples > 0:
        references = References(result["data"])
        rows = table.read_rows(args.score / "scores.tsv")
        scored = sorted({row["utt"] for row in rows}, key=references.ids.index)
        chosen = [one for one in scored if one in scoring.spread(scored, args.examples)]
        encode = encoder(result)
        examples = [example(one, result, rows, references, encode) for one in chosen]
        title = args.title or _title(result)
        atomic.write_text(args.out / "index.html", page.build(title, result, examples, references.rate))
    print(f"{args.out}/RESULTS.md" + (f", {args.out}/index.html" if args.examples > 0 else ""))
    return 0


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
            heading = row["name"] + (f" (run 1 of {row['runs']})" if row["runs"] > 1 else "")
            made.rows.append((heading, _estimates(mine, row, directory, estimates, codes, mixture.size, encode)))
    return made


def _estimates(mine: list, row: dict, run: str, estimates: list, codes: list, length: int, encode: Encoder) -> list:
    """Cards of one system in the order of the references, then estimates that no reference took."""
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
