"""All scores of one utterance: one permutation per system, shared by every metric (cSI-SDR excepted, see distortion).

A missing or silent estimate counts 0 for ESTOI and speaker similarity and has all its words deleted; SI-SDR, PESQ and
DNSMOS are undefined for it and left empty, and it is counted as missing.
"""

from __future__ import annotations

import numpy as np

from codecsep.metrics import distortion, waveform, words
from codecsep.metrics.judges import Judges
from codecsep.metrics.signals import Signal, Utterance
from codecsep.metrics.speaker import similarity
from codecsep.metrics.systems import CEILING, REFERENCE, System
from codecsep.signal.permute import best_permutation

NAN = float("nan")


def score(utterance: Utterance, system: System, estimates: list[np.ndarray], judges: Judges) -> list[dict]:
    """One row of values per speaker. estimates: any number of [L'] at the data's rate."""
    length = utterance.mixture.samples.size
    signals = _shared([waveform.fit_length(x, length) for x in estimates], utterance, judges)
    spoken = [signal for signal in signals if not signal.silent]
    assigned = best_permutation(_scores(utterance, system, spoken, judges))
    _read_ahead(utterance, [spoken[e] if e >= 0 else None for e in assigned], judges)
    coded = distortion.coded_columns(utterance, spoken, system)
    rows = []
    for n, e in enumerate(assigned):
        estimate = spoken[e] if e >= 0 else None
        row = {"speaker": n + 1, "estimate": signals.index(estimate) + 1 if estimate else 0}
        row |= {"num_estimates": len(spoken), "num_silent": len(signals) - len(spoken)}
        row["seconds"] = length / judges.rate
        row |= _values(utterance, n, estimate, system, judges) | coded[n]
        if coded[n]:
            row["c_estimate"] = signals.index(spoken[coded[n]["c_estimate"]]) + 1
        rows.append(row)
    return rows


def _shared(estimates: list[np.ndarray], utterance: Utterance, judges: Judges) -> list[Signal]:
    """Signals; one that equals the mixture or a source, as it is or coded, bit for bit reuses what is known of it.

    Each estimate stays a Signal of its own identity: the mixture as estimate 1 and 2 are two entries.
    """
    result = []
    for samples in estimates:
        signal = Signal(samples, judges)
        twin = next((k for k in utterance.known() if np.array_equal(k.samples, samples)), None)
        if twin is not None:
            signal.kept = twin.kept
        result.append(signal)
    return result


def _scores(utterance: Utterance, system: System, spoken: list[Signal], judges: Judges) -> np.ndarray:
    """Scores [N, E] of the system's criterion."""
    pair_score = {
        "si_sdr": lambda r, e: e.si_sdr(r, system.delay),
        "estoi": lambda r, e: e.estoi(r),
        "speaker": lambda r, e: similarity(r.voice, e.voice),
    }[system.criterion]
    table = [[pair_score(source, estimate) for estimate in spoken] for source in utterance.sources]
    return np.array(table, dtype=np.float64).reshape(len(utterance.sources), len(spoken))


def _values(utterance: Utterance, n: int, estimate: Signal | None, system: System, judges: Judges) -> dict:
    """Metric columns of speaker n."""
    source = utterance.sources[n]
    row = _words(utterance.texts[n], source, estimate, judges)
    if judges.dnsmos and utterance.with_mos and estimate:
        row |= estimate.mos
    if system.name == REFERENCE:
        return row
    if judges.estoi:
        row["estoi"] = 0.0 if estimate is None else estimate.estoi(source)
    if judges.speaker:
        voice = None if estimate is None else estimate.voice
        others = [similarity(voice, other.voice) for i, other in enumerate(utterance.sources) if i != n]
        row["spk_sim_ge2e"] = similarity(voice, source.voice)
        row["spk_sim_ge2e_other"] = max(others) if others else NAN
    if estimate is None:
        return row
    row |= _pesq(utterance, n, estimate, system, judges)
    return row | distortion.columns(utterance, n, estimate, system, judges)


def _pesq(utterance: Utterance, n: int, estimate: Signal, system: System, judges: Judges) -> dict:
    """The band of the data's rate; where it is asked for both bands, against what the codec transmits too."""
    row = {}
    for judge in judges.pesq[: None if utterance.with_all_pesq else 1]:
        row[judge.column] = estimate.pesq(judge, utterance.sources[n])
        if utterance.coded and utterance.with_all_pesq and system.name != CEILING:
            row[f"c_{judge.column}"] = estimate.pesq(judge, utterance.coded.sources[n])
    return row


def _words(text: str | None, source: Signal, estimate: Signal | None, judges: Judges) -> dict:
    """Word errors against the transcript and against the judge's reading of the source; {} when not scored."""
    if judges.asr is None or text is None:
        return {}
    heard = words.normalise(estimate.text) if estimate else ""
    read = words.normalise(source.text)
    dwer = words.errors(read, heard)
    row = {"dwer_errors": dwer[0], "dwer_words": dwer[1], "text": heard, "source_text": read}
    if text:
        wer = words.errors(words.normalise(text), heard)
        row |= {"wer_errors": wer[0], "wer_words": wer[1]}
    return row


def _read_ahead(utterance: Utterance, chosen: list[Signal | None], judges: Judges) -> None:
    """Have the judge read, in one batch, the sources with a transcript and the estimates chosen for them."""
    if judges.asr is None:
        return
    triples = zip(utterance.texts, utterance.sources, chosen, strict=True)
    heard = [signal for text, source, estimate in triples if text is not None for signal in (source, estimate)]
    pending = {id(s.kept): s for s in heard if s is not None and not s.silent and "text" not in s.kept}
    for signal, text in zip(pending.values(), _read(judges, list(pending.values())), strict=True):
        signal.kept["text"] = text


def _read(judges: Judges, signals: list[Signal]) -> list[str]:
    return judges.asr.transcribe([signal.at_judge_rate for signal in signals])
