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
CODECFORMER = Published(
    title="Codecformer, arXiv 2406.12434, and measurements of it by others",
    corpus="WSJ0-2mix at 8 kHz min, DAC at 16 kHz, continuous latents unless RVQ is named",
    header=("source", "system", "measure", "value"),
    rows=(
        ("digest of the paper", "Codecformer", "SI-SDRi dB", "14.8"),
        ("a survey", "Codecformer / SepFormer, transmitted", "cSI-SDRi dB", "9.9 / 9.6"),
        ("a survey", "Codecformer / SepFormer", "PESQ", "2.58 / 2.75"),
        ("digest of the paper", "SepFormer to Codecformer", "MACs, training time", "52 times, 2.7 times less"),
        ("digest of the paper", "Codecformer, RVQ in the loop", "SI-SDRi dB", "2 to 3 less"),
        ("paper of RVQ-Grid", "Codecformer with RVQ", "SI-SDRi / SDRi dB / PESQ / WER %", "5.0 / 6.2 / 2.1 / 30.5"),
        ("official samples, 10 outputs", "Codecformer", "SI-SDRi dB as shipped / shift removed", "-23.9 / +10.8"),
    ),
    note="The digest says that Codecformer has the better PESQ on transmitted audio, the survey gives it the lower "
    "one: both hold if the survey's SepFormer was not transmitted. The released code takes the uncoded mixture as "
    "baseline of cSI-SDRi; with DAC's shift, which the shipped samples have, that alone is worth more than 20 dB. "
    "RVQ in the loop costs 2 to 3 dB by its authors, nearly 10 in the paper of RVQ-Grid. 52 times counts the "
    "separator without the codec.",
)
RVQ_GRID = Published(
    title="RVQ-Grid, Interspeech 2026, by a digest",
    corpus="WSJ0-2mix; WER by Whisper large-v3-turbo",
    header=("system", "M parameters", "GMAC (2 s)", "SI-SDRi dB", "SDRi dB", "PESQ", "STOI", "WER %"),
    rows=(
        ("SepFormer", "25.7", "77.3", "22.4", "22.6", "4.0", ".98", "6.0"),
        ("SepFormer, then DAC", "", "", "-20.7", "", "2.7", "", "10.2"),
        ("SepFormer, then EnCodec", "", "", "7.7", "9.2", "2.9", ".93", "8.9"),
        ("Codecformer with RVQ", "17.6", "1.5", "5.0", "6.2", "2.1", ".83", "30.5"),
        ("RVQ-Grid, DAC", "58.3", "6.6", "8.1", "9.3", "2.6", ".89", "15.8"),
        ("RVQ-Grid, EnCodec", "9.6", "11.6", "8.6", "10.7", "3.0", ".91", "8.6"),
    ),
    note="The -20.7 dB of SepFormer then DAC are as much as a shift of 4 samples costs, and not what is heard: PESQ "
    "and WER are good.",
)
WAVEFORM = Published(
    title="SI-SDRi of separators of waveforms, from lists and model cards",
    corpus="WSJ0-2mix and Libri2Mix clean; DM: trained with dynamic mixing",
    header=("system", "WSJ0-2mix dB", "Libri2Mix clean dB"),
    rows=(
        ("TF-GridNet", "23.5", ""),
        ("SepFormer (DM)", "22.3 to 22.4", "20.1 to 20.4"),
        ("DPRNN", "18.8", ""),
        ("Conv-TasNet", "15.3", ""),
        ("Codecformer", "14.8", ""),
        ("RVQ-Grid, EnCodec", "8.6", ""),
    ),
    note="Libri2Mix with noise is another task: SepFormer has 12.9 dB there. These lists do not name BSRNN; the "
    "paper of SLM-SS gives its WER on LibriMix, 29.8 %, and a digest of that paper 12.42 %.",
)
PUBLISHED = {
    "slm_ss": (SLM_SS,),
    "codecformer": (CODECFORMER,),
    "rvq_grid": (RVQ_GRID,),
    **dict.fromkeys(("sepformer", "convtasnet", "dprnn", "tfgridnet", "bsrnn"), (WAVEFORM,)),
}


def of_systems(names: list[str]) -> list[Published]:
    """The tables of the systems that are named like a model, e.g. "slm_ss" or "slm_ss_big"."""
    found = [tables for model, tables in PUBLISHED.items() if any(name.startswith(model) for name in names)]
    return list(dict.fromkeys(table for tables in found for table in tables))
