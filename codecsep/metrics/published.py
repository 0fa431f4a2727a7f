"""Numbers that the papers print, for a table beside ours: another corpus, other judges, not to be compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One table of one paper; cells are what is printed."""

    title: str
    corpus: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


SLM_SS = Published(
    title="SLM-SS, arXiv 2601.19533, table 1",
    corpus="LibriMix, about 460 h of LibriSpeech for training, EnCodec at 24 kHz; judges not named in the paper",
    header=("system", "speaker sim. %", "WER %", "TER %", "LPS", "SpeechBERTScore", "MOS"),
    rows=(
        ("ground truth", "", "5.19", "", "1.000", "1.000", "4.60"),
        ("codec ceiling, 8 codebooks", "92.8", "6.31", "39.0", ".970", ".944", "4.11"),
        ("BSRNN (PIT)", "92.6", "29.8", "67.2", ".885", ".885", "4.01"),
        ("SepFormer (PIT)", "89.7", "28.7", "73.9", ".890", ".882", "3.98"),
        ("SLM-SS", "91.7", "7.24", "45.8", ".954", ".913", "4.19"),
    ),
    note="A digest of the paper gives other values for the baselines (WER 12.42 for BSRNN, 9.96 for SepFormer; MOS "
    "3.63 to 3.87); the row SLM-SS is the same in both.",
)
PUBLISHED = {"slm_ss": SLM_SS}


def of_systems(names: list[str]) -> list[Published]:
    """The tables of the systems that are named like a model, e.g. "slm_ss" or "slm_ss_big"."""
    found = [table for model, table in PUBLISHED.items() if any(name.startswith(model) for name in names)]
    return list(dict.fromkeys(found))
