"""Check data directories: tables, transcripts, audio headers, and the sum of the sources in some mixtures."""

import re
import sys
from pathlib import Path

from codecsep.bin.verbs import Given, UsageError, Verb
from codecsep.errors import CodecsepError


def _validate(given: Given) -> None:
    found = [line for path in given.words for line in _problems(Path(path), given)]
    for line in found:
        print(line, file=sys.stderr)
    if found:
        raise SystemExit(1)


def _problems(path: Path, given: Given) -> list[str]:
    """One line per problem; when there is none, says on stdout what the directory holds."""
    from codecsep.data import check, data_report  # they read audio: --help is to be quick
    from codecsep.data.datadir import DataDir

    check_audio = given.whole("--check-audio", 0) if given.has("--check-audio") else check.EVERY
    sums = given.whole("--sums", 5)
    tolerance = _tolerance(given)
    try:
        directory = DataDir(path)
        found = check.problems(directory, sums, tolerance, given.options, check_audio)
        if given.has("--report"):
            rows = data_report.write_report(directory)
            print(f"{path}/{data_report.FILE}: {len(rows)} odd files")
        if not found:
            count, speakers = len(directory.table("utt2spk")), len(directory.speakers()) or 1
            print(f"{path}: {count} utterances, {speakers} speaker(s) each: valid")
        return found
    except CodecsepError as error:
        return [str(error)]


def _tolerance(given: Given) -> float | None:
    text = given.value("--tolerance")
    if text and not re.fullmatch(r"[0-9]*\.?[0-9]+([eE]-?[0-9]+)?", text):
        raise UsageError("E131", f"--tolerance is a number such as 1e-4, got '{text}'", fix="see --help")
    return float(text) if text else None


validate_data_dir = Verb(
    "validate_data_dir.sh",
    """usage: validate_data_dir.sh [options] data/<set> ...
Checks data directories. One line per problem on stderr and status 1; one line per good directory on stdout.
  --no-text          transcripts need not be there     --no-wav         wav.scp and audio need not be there
  --no-feats         feats.scp need not be there (it never need)
  --no-spk-sort      utterances sorted by their ids need not be sorted by speaker
  --non-print        characters that cannot be printed are allowed in transcripts
  --with-segments    `segments` is allowed; no stage reads it
  --check-audio N    open the audio files of N utterances drawn at random (default: of all)
  --sums N           mixtures whose sources are summed (default: 5)
  --tolerance X      of the sum, full scale 1 (default: what rounding to 16 bits can do)
  --report           also read all audio, and write data_report.tsv: clipped, silent, very quiet, offset recordings""",
    {
        **dict.fromkeys(("--no-text", "--no-wav", "--no-feats", "--no-spk-sort", "--non-print", "--with-segments"), 0),
        "--report": 0,
        **dict.fromkeys(("--check-audio", "--sums", "--tolerance"), 1),
    },
    range(1, 10**9),
    _validate,
)

if __name__ == "__main__":
    sys.exit(validate_data_dir(sys.argv[1:]))
