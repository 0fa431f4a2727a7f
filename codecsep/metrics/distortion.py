"""Decibels against the clean and against the transmitted reference: SI-SDR, cSI-SDR, SDR and their improvements.

Codecformer (arXiv 2406.12434) holds an estimate s' against the *transmitted* reference t = codec(s), which is what a
system behind the codec can reach.  Its cSI-SDR is the maximum over permutations of the mean SI-SDR(s', t).

A codec's output may lag by a constant delay d (that of the official DAC leads: d < 0).  System.delay says how many
samples an estimate lags the clean sources: d for what passed the codec once, 0 for waveform systems and the mixture x.

    si_sdr              SI-SDR(s', s), nothing aligned           si_sdri             less SI-SDR(x, s)
    si_sdr_delay_comp   SI-SDR(s' advanced by its delay, s)      si_sdri_delay_comp  less SI-SDR(x, s)
                                                                 si_sdri_coded       less SI-SDR(codec(x) - d, s)
    c_si_sdr            SI-SDR(s' advanced by its delay - d, t)  c_si_sdri           less SI-SDR(x', t)
                                                                 c_si_sdri_coded     less SI-SDR(codec(x), t)
    sdr                 SDR(s' advanced by its delay, s)         sdri                less SDR(x, s)
    c_sdr               SDR(s' advanced by its delay - d, t)

si_sdri_coded takes si_sdr_delay_comp.  So a codec system is compared with t as it comes, both raw.  A waveform system
lies in time with the clean sources: it is moved to where the codec would have put it.  x' is for codec systems the
mixture as it is, the protocol of the released code, whose baseline is too low by what the shift costs; for waveform
systems it is moved like their estimates.
"""

from __future__ import annotations

import numpy as np

from codecsep.metrics.judges import Judges
from codecsep.metrics.signals import Coded, Signal, Utterance
from codecsep.metrics.systems import CEILING, REFERENCE, System
from codecsep.signal.permute import best_permutation


def columns(known: Utterance, n: int, estimate: Signal, system: System, judges: Judges) -> dict[str, float]:
    """The columns of the estimate that the shared permutation gave to reference n."""
    source, mixture = known.sources[n], known.mixture
    row = {"si_sdr": estimate.si_sdr(source), "si_sdr_delay_comp": estimate.si_sdr(source, system.delay)}
    row["si_sdri"] = row["si_sdr"] - mixture.si_sdr(source)
    row["si_sdri_delay_comp"] = row["si_sdr_delay_comp"] - mixture.si_sdr(source)
    if known.coded:
        row["si_sdri_coded"] = row["si_sdr_delay_comp"] - known.coded.mixture.si_sdr(source, known.coded.delay)
    if judges.sdr:
        row["sdr"] = estimate.sdr(source, system.delay)
        row["sdri"] = row["sdr"] - mixture.sdr(source)
        if known.coded and system.name != CEILING:
            row["c_sdr"] = estimate.sdr(known.coded.sources[n], system.delay - known.coded.delay)
    return row


def coded_columns(known: Utterance, spoken: list[Signal], system: System) -> list[dict[str, float]]:
    """cSI-SDR of each reference; {} where there is no codec, no estimate, or the estimate is t itself.

    By its definition cSI-SDR takes the permutation that is best for itself, which may differ from the one that all
    other columns share: `c_estimate` is the position in `spoken` (from 0) that it chose.
    """
    coded = known.coded
    if coded is None or system.name in (CEILING, REFERENCE):
        return [{} for _ in known.sources]
    shift = system.delay - coded.delay
    scores = [[estimate.si_sdr(target, shift) for estimate in spoken] for target in coded.sources]
    assigned = best_permutation(np.array(scores, dtype=np.float64).reshape(len(coded.sources), len(spoken)))
    return [_coded_row(known, coded, n, e, scores[n], shift) if e >= 0 else {} for n, e in enumerate(assigned)]


def _coded_row(known: Utterance, coded: Coded, n: int, e: int, scores: list[float], shift: int) -> dict[str, float]:
    target = coded.sources[n]
    # what passed the codec is compared as the released code does, with the mixture where it is
    mixture_shift = shift if shift == -coded.delay else 0
    return {
        "c_estimate": e,
        "c_si_sdr": scores[e],
        "c_si_sdri": scores[e] - known.mixture.si_sdr(target, mixture_shift),
        "c_si_sdri_coded": scores[e] - coded.mixture.si_sdr(target),
    }
