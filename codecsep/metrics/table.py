"""Per-utterance scores as a TSV, and the corpus table made of them: means, seeds, intervals, verdict."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from codecsep.data import atomic
from codecsep.errors import CodecsepError
from codecsep.metrics import words

HEAD = ("system", "run", "utt", "speaker", "estimate", "num_estimates", "num_silent", "seconds")
METRICS = (
    *("si_sdr", "si_sdri", "si_sdr_delay_comp", "si_sdri_delay_comp", "estoi", "pesq_wb", "pesq_nb"),
    *("dnsmos_p835_ovrl", "dnsmos_p835_sig", "dnsmos_p835_bak", "dnsmos_p808", "spk_sim_ge2e", "spk_sim_ge2e_other"),
)
CODED = (  # in the order in which they stand in the TSV, behind all others
    *("si_sdri_coded", "c_si_sdr", "c_si_sdri", "c_si_sdri_coded", "sdr", "sdri", "c_sdr", "c_pesq_wb", "c_pesq_nb"),
)
COUNTS = ("wer_errors", "wer_words", "dwer_errors", "dwer_words")
TEXTS = ("text", "source_text")
CHOICES = ("c_estimate",)  # which estimate cSI-SDR's own permutation took
COLUMNS = (*HEAD, *METRICS, *COUNTS, *TEXTS, *CODED, *CHOICES)
RATES = ("wer", "dwer")
WITH_INTERVAL = ("estoi", "spk_sim_ge2e")
RESAMPLES = 2000


class TableError(CodecsepError):
    """A TSV that is not one of ours; one line."""


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write rows as TSV with the header COLUMNS; nan and absent values are empty cells."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(row.get(column)) for column in COLUMNS] for row in rows)
    atomic.write_text(path, stream.getvalue())


def read_rows(path: Path) -> list[dict]:
    """The rows of `write_rows`; numbers as float, empty cells left out. Raises TableError."""
    fix = "delete it and run --stage 7 again"
    with open(path, encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        if tuple(next(reader, ())) != COLUMNS:
            raise TableError("E545", "its columns are not those of this version", path, fix)
        try:
            return [_parse(dict(zip(COLUMNS, cells, strict=True))) for cells in reader]
        except ValueError as error:
            raise TableError("E545", f"cannot be read ({error})", f"{path}:{reader.line_num}", fix) from error


def _cell(value) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value).replace("\t", " ").replace("\n", " ")


def _parse(cells: dict[str, str]) -> dict:
    texts = {"system", "run", "utt", *TEXTS}
    kept = {name: cell for name, cell in cells.items() if cell or name == "run"}
    return {name: cell if name in texts else float(cell) for name, cell in kept.items()}


def summary(rows: list[dict], num_speakers: int) -> dict:
    """One system's corpus row: {"metrics": {name: {"mean", "sd", "count"}}, "runs", "missing", "extra"}.

    mean: over the utterances and speakers of a run, then over runs; sd: between the runs' means (None for one run);
    count: values per run. WER and dWER in percent, corpus level. missing, extra: speakers, mean over runs. silent,
    no_words, no_reference: estimates and references that have their values by definition. other_choices: utterances
    (of all runs) for which cSI-SDR took another permutation than the other columns; only where there is cSI-SDR.
    """
    runs = defaultdict(list)
    for row in rows:
        runs[row["run"]].append(row)
    metrics = {name: _over_runs([_mean(run, name) for run in runs.values()]) for name in (*METRICS, *CODED)}
    metrics |= {name: _over_runs([_rate(run, name) for run in runs.values()]) for name in RATES}
    firsts = [row["num_estimates"] - num_speakers for row in rows if row["speaker"] == 1]
    return {
        "metrics": {name: value for name, value in metrics.items() if value["count"]},
        "runs": len(runs),
        "missing": sum(-x for x in firsts if x < 0) / len(runs),
        "extra": sum(x for x in firsts if x > 0) / len(runs),
        **_odd_ones(rows),
        **_choices(rows),
    }


def _odd_ones(rows: list[dict]) -> dict[str, int]:
    """How many estimates were silent, estimates that no word was heard in, references without words; over all runs."""
    read = [row for row in rows if "dwer_errors" in row]
    return {
        "silent": int(sum(row.get("num_silent", 0) for row in rows if row["speaker"] == 1)),
        "no_words": sum("text" not in row for row in read),
        "no_reference": sum(not row["dwer_words"] for row in read),
    }


def _choices(rows: list[dict]) -> dict[str, int]:
    chosen = [row for row in rows if "c_estimate" in row]
    other = {(row["run"], row["utt"]) for row in chosen if row["c_estimate"] != row["estimate"]}
    return {"other_choices": len(other)} if chosen else {}


def _mean(rows: list[dict], name: str) -> tuple[float, int]:
    values = [row[name] for row in rows if name in row]
    return (float(np.mean(values)), len(values)) if values else (math.nan, 0)


def _rate(rows: list[dict], name: str) -> tuple[float, int]:
    pairs = [(row[f"{name}_errors"], row[f"{name}_words"]) for row in rows if f"{name}_errors" in row]
    return words.rate(pairs), len(pairs)


def _over_runs(values: list[tuple[float, int]]) -> dict:
    means = [mean for mean, _ in values if not math.isnan(mean)]
    if not means:
        return {"mean": None, "sd": None, "count": 0}
    sd = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return {"mean": float(np.mean(means)), "sd": sd, "count": values[0][1]}


def bootstrap(differences: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of [U] paired differences; the same for the same seed."""
    draws = np.random.default_rng(seed).integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.percentile(differences[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def against(rows: list[dict], baseline: list[dict], name: str) -> dict | None:
    """Mean difference system - baseline, paired over utterances (speakers and runs averaged inside), its interval.

    {"difference", "low", "high", "count", "better"}: better is True when the whole interval is above 0. None without
    common utterances.
    """
    ours, theirs = _per_utterance(rows, name), _per_utterance(baseline, name)
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return None
    differences = np.array([ours[utterance] - theirs[utterance] for utterance in common])
    low, high = bootstrap(differences)
    mean = float(differences.mean())
    return {"difference": mean, "low": low, "high": high, "count": len(common), "better": low > 0}


def _per_utterance(rows: list[dict], name: str) -> dict[str, float]:
    values = defaultdict(list)
    for row in rows:
        if name in row:
            values[row["utt"]].append(row[name])
    return {utterance: float(np.mean(found)) for utterance, found in values.items()}


def verdict(intervals: dict[str, dict | None]) -> str:
    """ "beats the mixture: yes" only when every metric with an interval is better with 95 % confidence."""
    known = {name: found for name, found in intervals.items() if found}
    if not known:
        return "beats the mixture: not known (no metric with an interval)"
    worse = [name for name, found in known.items() if not found["better"]]
    if not worse:
        return f"beats the mixture: yes ({', '.join(known)})"
    return f"beats the mixture: no ({', '.join(worse)} not above the mixture with 95 % confidence)"
