"""The signals of one utterance with what the judges make of them, each thing computed once and when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codecsep.data import audio
from codecsep.metrics import waveform
from codecsep.metrics.features import RATE
from codecsep.metrics.judges import Judges
from codecsep.signal.si_sdr import si_sdr


class Signal:
    """One waveform [L] at the data's rate."""

    def __init__(self, samples: np.ndarray, judges: Judges):
        self.samples, self._judges = samples, judges
        self.silent = waveform.is_silent(samples)
        self.kept: dict[str, object] = {}

    def once(self, name: str, make: Callable[[], object]):
        """What `make` gives, computed at the first call with this name."""
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]

    def at_rate(self, rate: int) -> np.ndarray:
        """The samples at another rate in Hz."""
        return self.once(f"at {rate}", lambda: audio.resample(self.samples, self._judges.rate, rate))

    def advanced(self, delay: int) -> np.ndarray:
        """The samples with a delay of so many samples taken out."""
        return self.once(f"advanced {delay}", lambda: waveform.advance(self.samples, delay))

    @property
    def at_judge_rate(self) -> np.ndarray:
        return self.at_rate(RATE)

    @property
    def for_estoi(self) -> np.ndarray:
        return self.once("estoi", lambda: self._judges.estoi.prepare(self.samples, self._judges.rate))

    @property
    def voice(self) -> np.ndarray | None:
        return self.once("voice", lambda: None if self.silent else self._judges.speaker.embed(self.at_judge_rate))

    @property
    def mos(self) -> dict[str, float]:
        return self.once("mos", lambda: self._judges.dnsmos.score(self.at_judge_rate))

    def estoi(self, source: Signal) -> float:
        """ESTOI of this estimate against a source."""
        prepared = (self.for_estoi, source.for_estoi)
        return self.once(f"estoi {id(source)}", lambda: self._judges.estoi.score(*prepared))

    def pesq(self, judge: waveform.Pesq, source: Signal) -> float:
        """PESQ of this estimate against a source, by one of the two bands."""
        pair = (self.at_rate(judge.rate), source.at_rate(judge.rate))
        return self.once(f"{judge.column} {id(source)}", lambda: judge.score(*pair))

    def si_sdr(self, source: Signal, delay: int = 0) -> float:
        """SI-SDR in dB against a source, with a delay of so many samples taken out of this signal."""
        name = f"si_sdr {id(source)} {delay}"
        return self.once(name, lambda: float(si_sdr(self.advanced(delay), source.samples)))

    def sdr(self, source: Signal, delay: int = 0) -> float:
        """SDR of BSS-eval in dB against a source, with a delay of so many samples taken out of this signal."""
        pair = (self.advanced(delay), source.samples)
        return self.once(f"sdr {id(source)} {delay}", lambda: self._judges.sdr.score(*pair))

    @property
    def text(self) -> str:
        """What the judge reads; "" for silence."""
        return self.once("text", lambda: "" if self.silent else self._judges.asr.transcribe([self.at_judge_rate])[0])


@dataclass
class Coded:
    """What the codec transmits: the sources and the mixture, encoded, quantised and decoded (raw, the delay left in).

    delay: samples at the data's rate by which the codec lags.
    """

    sources: list[Signal]
    mixture: Signal
    delay: int = 0


@dataclass
class Utterance:
    """The references of one utterance. texts: transcripts, "" when not known, None where words are not scored.

    with_mos: DNSMOS is scored on it; with_all_pesq: both bands of PESQ are, also against what the codec transmits.
    """

    id: str
    mixture: Signal
    sources: list[Signal]
    texts: list[str | None]
    with_mos: bool
    coded: Coded | None = None
    with_all_pesq: bool = True

    def known(self) -> list[Signal]:
        """All signals that an estimate may equal bit for bit."""
        return [self.mixture, *self.sources, *([self.coded.mixture, *self.coded.sources] if self.coded else [])]
