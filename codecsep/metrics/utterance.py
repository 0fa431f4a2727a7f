"""All scores of one utterance: one permutation per system, shared by every metric.

A missing or silent estimate counts 0 for ESTOI and speaker similarity and has all its words deleted; SI-SDR, PESQ and
DNSMOS are undefined for it and left empty, and it is counted as missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codecsep.data import audio
from codecsep.metrics import waveform, words
from codecsep.metrics.features import RATE
from codecsep.metrics.judges import Judges
from codecsep.metrics.speaker import similarity
from codecsep.metrics.systems import REFERENCE, System
from codecsep.signal.permute import best_permutation

NAN = float("nan")


class Signal:
    """One waveform with what the judges make of it, computed once and when asked for."""

    def __init__(self, samples: np.ndarray, judges: Judges):
        self.samples, self._judges = samples, judges
        self.silent = waveform.is_silent(samples)
        self.kept: dict[str, object] = {}

    def _once(self, name: str, make: Callable[[], object]):
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]

    @property
    def at_judge_rate(self) -> np.ndarray:
        return self._once("16k", lambda: audio.resample(self.samples, self._judges.rate, RATE))

    @property
    def for_pesq(self) -> np.ndarray:
        return self._once("pesq", lambda: audio.resample(self.samples, self._judges.rate, self._judges.pesq.rate))

    @property
    def for_estoi(self) -> np.ndarray:
        return self._once("estoi", lambda: self._judges.estoi.prepare(self.samples, self._judges.rate))

    @property
    def voice(self) -> np.ndarray | None:
        return self._once("voice", lambda: None if self.silent else self._judges.speaker.embed(self.at_judge_rate))

    @property
    def mos(self) -> dict[str, float]:
        return self._once("mos", lambda: self._judges.dnsmos.score(self.at_judge_rate))

    def estoi(self, source: Signal) -> float:
        """ESTOI of this estimate against a source."""
        prepared = (self.for_estoi, source.for_estoi)
        return self._once(f"estoi {id(source)}", lambda: self._judges.estoi.score(*prepared))

    @property
    def text(self) -> str:
        return self._once("text", lambda: "" if self.silent else _read(self._judges, [self])[0])


@dataclass
class Utterance:
    """The references of one utterance. texts: transcripts, "" when not known, None where words are not scored."""

    id: str
    mixture: Signal
    sources: list[Signal]
    texts: list[str | None]
    with_mos: bool


def score(utterance: Utterance, system: System, estimates: list[np.ndarray], judges: Judges) -> list[dict]:
    """One row of values per speaker. estimates: any number of [L'] at the data's rate."""
    length = utterance.mixture.samples.size
    signals = _shared([waveform.fit_length(x, length) for x in estimates], utterance, judges)
    spoken = [signal for signal in signals if not signal.silent]
    assigned = best_permutation(_scores(utterance, system, spoken, judges))
    _read_ahead(utterance, [spoken[e] if e >= 0 else None for e in assigned], judges)
    rows = []
    for n, e in enumerate(assigned):
        estimate = spoken[e] if e >= 0 else None
        row = {"speaker": n + 1, "estimate": signals.index(estimate) + 1 if estimate else 0}
        row |= {"num_estimates": len(spoken), "num_silent": len(signals) - len(spoken)}
        row["seconds"] = length / judges.rate
        rows.append(row | _values(utterance, n, estimate, system, judges))
    return rows


def _shared(estimates: list[np.ndarray], utterance: Utterance, judges: Judges) -> list[Signal]:
    """Signals; one that equals the mixture or a source bit for bit reuses what is known of it.

    Each estimate stays a Signal of its own identity: the mixture as estimate 1 and 2 are two entries.
    """
    known = [utterance.mixture, *utterance.sources]
    result = []
    for samples in estimates:
        signal = Signal(samples, judges)
        twin = next((k for k in known if np.array_equal(k.samples, samples)), None)
        if twin is not None:
            signal.kept = twin.kept
        result.append(signal)
    return result


def _scores(utterance: Utterance, system: System, spoken: list[Signal], judges: Judges) -> np.ndarray:
    """Scores [N, E] of the system's criterion."""
    pair_score = {
        "si_sdr": lambda r, e: _si_sdr(r, e, system.delay),
        "estoi": lambda r, e: e.estoi(r),
        "speaker": lambda r, e: similarity(r.voice, e.voice),
    }[system.criterion]
    table = [[pair_score(source, estimate) for estimate in spoken] for source in utterance.sources]
    return np.array(table, dtype=np.float64).reshape(len(utterance.sources), len(spoken))


def _si_sdr(reference: Signal, estimate: Signal, delay: int) -> float:
    return waveform.si_sdr_pair(estimate.samples, reference.samples, delay)[1]


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
    if judges.pesq:
        row[judges.pesq.column] = judges.pesq.score(estimate.for_pesq, source.for_pesq)
    return row | _si_sdr_columns(utterance.mixture, source, estimate, system.delay)


def _si_sdr_columns(mixture: Signal, source: Signal, estimate: Signal, delay: int) -> dict:
    raw, compensated = waveform.si_sdr_pair(estimate.samples, source.samples, delay)
    before = waveform.si_sdr_pair(mixture.samples, source.samples, 0)[0]
    names = ("si_sdr", "si_sdri", "si_sdr_delay_comp", "si_sdri_delay_comp")
    return dict(zip(names, (raw, raw - before, compensated, compensated - before), strict=True))


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
