"""Stage 7: estimates -> scores per utterance and a table.

    python -m codecsep.bin.score --data data/test --codec exp/codec --hyp slm_ss=exp/decode/a/test,exp/decode/b/test \
        --hyp pit=exp/decode/pit/test --out exp/score/test

A system is a directory with spk1.scp, spk2.scp, ...; several directories are runs (seeds) of one system. Rows beside
the systems: mixture (unprocessed, as every estimate), reference (clean sources); with --codec also codec_mixture and
codec_ceiling (mixture and clean sources through it), and columns against what the codec transmits (cSI-SDR, ...).
Written: scores.tsv (a line per utterance, speaker and run), table.json, table.txt; bin/report makes the pages of them.
A scoring that was killed goes on where it was; one that is finished says so, unless an input has changed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from codecsep import config
from codecsep.bin import upstream
from codecsep.data import manifest
from codecsep.data.lock import locked
from codecsep.faults import faultpoint
from codecsep.metrics import systems, table, weights
from codecsep.metrics.systems import References, ScoreError, System, spread

if TYPE_CHECKING:
    from codecsep.metrics.judges import Judges
    from codecsep.metrics.scoring import Transmitted

PROG = "score"
NAME = "score"  # of the manifest: the report has one of its own in the same directory
ROWS = systems.BUILT_IN
DATA = ("wav.scp", "spk*.scp", "text_*", "utt2lang_*", "options.json")  # what of a data directory is read
ESTIMATES = ("spk*.scp", "decode.json", "manifest.json")  # and of a system's; timing.json changes no score
VERSION = 3  # counts changes of the scorer that change its files


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--data", type=Path, required=True, help="data directory with spk<j>.scp (the references)")
    add("--hyp", action="append", default=[], help="name=dir[,dir ...]: a system and its runs; again for the next one")
    add("--out", type=Path, required=True, help="where the scores go")
    add("--codec", type=Path, help="the codec: what it transmits is scored too, its delay is taken out of the systems")
    add("--rows", default=",".join(ROWS), help=f"which of {','.join(ROWS)} (all that can be made)")
    add("--waveform", action="append", default=[], help="a system that does not pass the codec: no delay, SI-SDR order")
    add("--passes", action="append", default=[], help="name=N: a system that passes the codec N times (default 1)")
    add("--permute_by", choices=systems.CRITERIA, help="order speakers by (codec systems: estoi, others: si_sdr)")
    add("--max_utts", type=int, help="score only the first so many utterances")
    add("--max_asr", type=int, default=30, help="words on at most so many utterances with English speakers (30)")
    add("--max_dnsmos", type=int, default=8, help="DNSMOS on at most so many utterances (8)")
    add("--max_pesq", type=int, default=12, help="further kinds of PESQ on at most so many utterances (12)")
    add("--max_wrong_speakers", type=float, default=0.5, help="share of utterances with a wrong number of estimates")
    add("--without", default="", help="judges to leave out, of estoi,pesq,sdr,speaker,dnsmos,asr")
    add("--nj", type=int, default=2, help="processes (2)")
    add("--force", action="store_true", help="score once more although it is up to date")
    return parser


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    _check(args)
    _require(args)
    references = References(args.data, args.max_utts)
    _check_runs(args, references)
    work = work_of(args, references)
    with locked(args.out):
        if not args.force and manifest.current(args.out, work, NAME) is None:
            print(f"{args.out}: scores are up to date ({len(references.ids)} utterances)", file=sys.stderr)
            return 0
        manifest.begin(args.out, NAME)
        if args.force:
            shutil.rmtree(args.out / "kept", ignore_errors=True)
        score_all(args, references)
        count = len(references.ids)
        files = [args.out / name for name in ("scores.tsv", "table.json", "table.txt")]
        manifest.finish(args.out, work, files, manifest.Counts(count, count), NAME)
    return 0


def score_all(args: argparse.Namespace, references: References) -> None:
    """Score what is not kept, then write the table."""
    from codecsep.metrics import judges, scoring, summary

    known = judges.load(references.rate, _without(args))
    transmitted = _transmitted(args, references)
    options = scoring.Options(
        data=str(args.data),
        systems=tuple(_systems(args, known, transmitted)),
        max_utts=args.max_utts,
        without=_without(args),
        asr_ids=_asr_ids(references, args.max_asr),
        mos_ids=spread(references.ids, args.max_dnsmos),
        pesq_ids=spread(references.ids, args.max_pesq),
        transmitted=transmitted,
    )
    scores = scoring.score(options, references.ids, args.out / "kept", args.nj)
    faultpoint("score.before_tables")
    table.write_rows(args.out / "scores.tsv", [row for rows in scores.values() for row in rows])
    result = summary.summarise(options, scores, references, known, args.codec)
    summary.write(args.out, result)
    print(summary.as_text(result))


def work_of(args: argparse.Namespace, references: References) -> manifest.Work:
    """All that the scores depend on: lists, audio, the judges that are to be had, options."""
    runs = [Path(directory) for _, directories in map(systems.parse, args.hyp) for directory in directories]
    files, audio = upstream.lists(args.data, DATA), upstream.audio_of(args.data, ["wav.scp", *_scps(references)])
    if args.codec is not None:
        files.append(args.codec / "codec.json")
    for run in runs:
        files += upstream.lists(run, ESTIMATES)
        audio |= upstream.audio_of(run, [f"spk{number}.scp" for number in range(1, len(systems.Run(run).tables) + 1)])
    plain = ["hyp", "rows", "waveform", "passes", "permute_by", "without"]
    plain += ["max_utts", "max_asr", "max_dnsmos", "max_pesq"]
    return manifest.Work(
        stage="7",
        files=files,
        audio=audio,
        values={"judges": weights.available(_without(args)), "version": VERSION},
        settings={name: getattr(args, name) for name in plain} | {"codec": str(args.codec)},
    )


def _scps(references: References) -> list[str]:
    return [f"{speaker}.scp" for speaker in references.speakers]


def _without(args: argparse.Namespace) -> tuple[str, ...]:
    return tuple(filter(None, args.without.split(",")))


def _check(args: argparse.Namespace) -> None:
    """Contradictions on the command line, in the user's words."""
    wrong = [row for row in args.rows.split(",") if row and row not in ROWS]
    if wrong:
        raise ScoreError("E860", f"{wrong[0]!r} is not known", "--rows", f"give some of {', '.join(ROWS)}")
    if args.nj < 1:
        raise ScoreError("E860", f"is {args.nj}; at least 1 process is needed", "--nj", "give --nj 1 or more")
    names = [systems.parse(text)[0] for text in args.hyp]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ScoreError("E860", f"{twice[0]!r} is given twice", "--hyp", f"write its runs as {twice[0]}=dir,dir")
    unknown = [name for name in args.waveform if name not in names]
    if unknown:
        what = f"{unknown[0]!r} is not one of the systems ({', '.join(names) or 'none given'})"
        raise ScoreError("E860", what, "--waveform", "give the name of a --hyp")
    _passes(args)
    made = {systems.MIXTURE, systems.REFERENCE} | ({systems.CODED_MIXTURE, systems.CEILING} if args.codec else set())
    if not args.hyp and not made & set(args.rows.split(",")):
        raise ScoreError("E860", "nothing to score", "", "give --hyp, --codec or --rows mixture")


def _require(args: argparse.Namespace) -> None:
    """Raise StageError when something that a stage of ours makes is not finished, or changed."""
    upstream.require(args.data, "0")
    if args.codec is not None:
        upstream.require(args.codec, "1")
    for _, directories in map(systems.parse, args.hyp):
        for directory in directories:
            upstream.require(Path(directory), "6")


def _check_runs(args: argparse.Namespace, references: References) -> None:
    """Raise ScoreError when a directory does not hold what it must."""
    everything, count = frozenset(references.data.ids), len(references.speakers)
    for _, directories in map(systems.parse, args.hyp):
        for directory in directories:
            systems.Run(directory).check(references.ids, everything, count, args.max_wrong_speakers)


def _transmitted(args: argparse.Namespace, references: References) -> Transmitted | None:
    """What the codec makes of mixtures and sources, written beside the scores; None without a codec."""
    if args.codec is None:
        return None
    from codecsep.bin import codec_ceiling
    from codecsep.metrics.scoring import Transmitted

    delay = codec_ceiling.delay_at(args.codec, references.rate)
    sources = codec_ceiling.make(args.codec, references, args.out / systems.CEILING)
    mixture = codec_ceiling.make_mixture(args.codec, references, args.out / systems.CODED_MIXTURE)
    return Transmitted(str(sources), str(mixture), delay)


def _systems(args: argparse.Namespace, known: Judges, transmitted: Transmitted | None) -> list[System]:
    """The rows of the table, from the unprocessed mixture down to the systems."""
    wanted, delay = args.rows.split(","), transmitted.delay if transmitted else 0
    found = [System(name, (), "si_sdr") for name in (systems.MIXTURE, systems.REFERENCE) if name in wanted]
    if transmitted and systems.CODED_MIXTURE in wanted:
        found.append(System(systems.CODED_MIXTURE, (transmitted.mixture,), "si_sdr", delay))
    if transmitted and systems.CEILING in wanted:
        found.append(System(systems.CEILING, (transmitted.sources,), _criterion(args, known, True), delay))
    passes = _passes(args)
    for name, directories in map(systems.parse, args.hyp):
        count = passes[name] if transmitted else 0
        found.append(System(name, directories, _criterion(args, known, count > 0), count * delay))
    return found


def _passes(args: argparse.Namespace) -> dict[str, int]:
    """How often the estimates of each system have passed the codec: once, unless something else is said."""
    passes = dict.fromkeys((systems.parse(text)[0] for text in args.hyp), 1) | dict.fromkeys(args.waveform, 0)
    for text in args.passes:
        name, _, count = text.partition("=")
        if name not in passes or not re.fullmatch("[0-9]", count):
            fix = f"give name=N, the name being one of {', '.join(passes) or 'the --hyp'}"
            raise ScoreError("E860", f"{text!r} is not understood", "--passes", fix)
        passes[name] = int(count)
    return passes


def _criterion(args: argparse.Namespace, known: Judges, coded: bool) -> str:
    """What orders the speakers: a codec need not keep the phase that SI-SDR asks for."""
    chosen = args.permute_by or ("estoi" if coded and known.estoi else "si_sdr")
    judge = {"estoi": known.estoi, "speaker": known.speaker}.get(chosen, True)
    if judge is None:
        what = "; ".join(known.missing) or f"the judge is left out by --without {args.without}"
        raise ScoreError("E546", what, f"--permute_by {chosen}", "install it, or order by another one")
    return chosen


def _asr_ids(references: References, count: int) -> frozenset[str]:
    english = [one for one in references.ids if any(text is not None for text in references.transcripts(one))]
    return spread(english, count)


if __name__ == "__main__":
    sys.exit(main())
