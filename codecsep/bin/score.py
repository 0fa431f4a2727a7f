"""Stage 7: estimates -> scores per utterance and a table.

    python -m codecsep.bin.score --data data/test --codec exp/codec --hyp slm_ss=exp/decode/a/test,exp/decode/b/test \
        --hyp pit=exp/decode/pit/test --out exp/score/test

A system is a directory with spk1.scp, spk2.scp, ...; several directories are runs (seeds) of one system. Rows beside
the systems: mixture (unprocessed, as every estimate), reference (clean sources), codec_ceiling (through --codec).
Written: scores.tsv (a line per utterance, speaker and run), table.json, table.txt; bin/report makes the pages of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from codecsep import config
from codecsep.metrics import judges, scoring, summary, systems, table
from codecsep.metrics.systems import References, ScoreError, System

PROG = "score"
ROWS = (systems.MIXTURE, systems.REFERENCE, systems.CEILING)


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--data", type=Path, required=True, help="data directory with spk<j>.scp (the references)")
    add("--hyp", action="append", default=[], help="name=dir[,dir ...]: a system and its runs; again for the next one")
    add("--out", type=Path, required=True, help="where the scores go")
    add("--codec", type=Path, help="the codec: its ceiling is a row, its delay is taken out of the systems")
    add("--rows", default=",".join(ROWS), help=f"which of {','.join(ROWS)} (all that can be made)")
    add("--waveform", action="append", default=[], help="a system that does not pass the codec: no delay, SI-SDR order")
    add("--permute_by", choices=systems.CRITERIA, help="order speakers by (codec systems: estoi, others: si_sdr)")
    add("--max_utts", type=int, help="score only the first so many utterances")
    add("--max_asr", type=int, default=30, help="words on at most so many utterances with English speakers (30)")
    add("--max_dnsmos", type=int, default=8, help="DNSMOS on at most so many utterances (8)")
    add("--without", default="", help="judges to leave out, of estoi,pesq,speaker,dnsmos,asr")
    add("--nj", type=int, default=2, help="processes (2)")
    return parser


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    _check(args)
    references = References(args.data, args.max_utts)
    known = judges.load(references.rate, tuple(filter(None, args.without.split(","))))
    options = scoring.Options(
        data=str(args.data),
        systems=tuple(_systems(args, references, known)),
        max_utts=args.max_utts,
        without=tuple(filter(None, args.without.split(","))),
        asr_ids=_asr_ids(references, args.max_asr),
        mos_ids=scoring.spread(references.ids, args.max_dnsmos),
    )
    scores = scoring.score(options, references.ids, args.out / "kept", args.nj)
    table.write_rows(args.out / "scores.tsv", [row for rows in scores.values() for row in rows])
    result = summary.summarise(options, scores, references, known, args.codec)
    summary.write(args.out, result)
    print(summary.as_text(result))
    return 0


def _check(args: argparse.Namespace) -> None:
    """Contradictions on the command line, in the user's words."""
    wrong = [row for row in args.rows.split(",") if row and row not in ROWS]
    if wrong:
        raise ScoreError(f"--rows {wrong[0]!r} is not known; there are {', '.join(ROWS)}")
    if args.nj < 1:
        raise ScoreError(f"--nj is {args.nj}; at least 1 process is needed")
    names = [systems.parse(text)[0] for text in args.hyp]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ScoreError(f"--hyp {twice[0]!r} is given twice; write its runs as {twice[0]}=dir,dir")
    unknown = [name for name in args.waveform if name not in names]
    if unknown:
        raise ScoreError(f"--waveform {unknown[0]!r} is not one of the systems ({', '.join(names) or 'none given'})")


def _systems(args: argparse.Namespace, references: References, known: judges.Judges) -> list[System]:
    """The rows of the table, from the unprocessed mixture down to the systems."""
    wanted = [row for row in args.rows.split(",") if row]
    found = [System(name, (), "si_sdr") for name in wanted if name in (systems.MIXTURE, systems.REFERENCE)]
    delay = 0
    if args.codec is not None:
        from codecsep.bin import codec_ceiling

        delay = codec_ceiling.delay_at(args.codec, references.rate)
        if systems.CEILING in wanted:
            directory = codec_ceiling.make(args.codec, references, args.out / systems.CEILING)
            found.append(System(systems.CEILING, (str(directory),), _criterion(args, known, True), delay))
    for name, directories in map(systems.parse, args.hyp):
        coded = args.codec is not None and name not in args.waveform
        for directory in directories:
            systems.Run(directory).check(references.ids)
        found.append(System(name, directories, _criterion(args, known, coded), delay if coded else 0))
    if not found:
        raise ScoreError("nothing to score: give --hyp, --codec or --rows mixture")
    return found


def _criterion(args: argparse.Namespace, known: judges.Judges, coded: bool) -> str:
    """What orders the speakers: a codec need not keep the phase that SI-SDR asks for."""
    chosen = args.permute_by or ("estoi" if coded and known.estoi else "si_sdr")
    judge = {"estoi": known.estoi, "speaker": known.speaker}.get(chosen, True)
    if judge is None:
        raise ScoreError(f"--permute_by {chosen}: {'; '.join(known.missing)}")
    return chosen


def _asr_ids(references: References, count: int) -> frozenset[str]:
    english = [one for one in references.ids if any(text is not None for text in references.transcripts(one))]
    return scoring.spread(english, count)


if __name__ == "__main__":
    sys.exit(main())
