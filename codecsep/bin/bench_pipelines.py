"""Whole systems part by part, and the ratio that "52 times fewer multiply-accumulates" is.

A system is an entry of `SYSTEMS`: what runs, one after the other, from the mixture to the waveforms of both speakers.
Networks are those of `codecsep/models`, at the sizes of their papers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from codecsep import config
from codecsep.bin.bench_counters import Count, Made, Make, count
from codecsep.bin.bench_page import Table
from codecsep.bin.bench_parts import PARTS, SMALL, Call, dac_quantizer, token_decoder, wave
from codecsep.codecs import dac
from codecsep.errors import CodecsepError
from codecsep.models import codecformer, rvq_grid

CLAIM = "SepFormer / Codecformer: how 52 times was counted"


@dataclass(frozen=True)
class Part:
    """One network of a system, run so many times. device: `cpu` for one that looks at values while it runs."""

    name: str
    make: Make
    runs: int = 1
    device: str = "meta"

    def count(self, seconds: float) -> Count:
        """Of all its runs, over so many seconds of audio."""
        return count(self.make, seconds, self.device).runs(self.runs)


@dataclass(frozen=True)
class System:
    """What runs, in this order. rate: of the mixtures that it is given, Hz."""

    parts: Sequence[Part]
    rate: int


def waveform(name: str) -> Make:
    """models/<name>.py at its defaults."""

    def make(seconds: float) -> Made:
        model = config.find_model(name).Model(config.find_model(name).Config())
        return Call(model, lambda net, wav: net.estimate(wav)), (wave(model.sample_rate, seconds),)

    return make


def mask_network(seconds: float) -> Made:
    """Codecformer's separator on the latents of DAC at 16 kHz."""
    network = codecformer.MaskNetwork(codecformer.Config())
    frames = dac_frames(seconds)
    valid = torch.ones(1, frames, dtype=torch.bool, device="cpu")  # it is looked at
    return network, (torch.zeros(1, frames, network.down.in_channels), valid)


def grid_network(seconds: float) -> Made:
    """RVQ-Grid's separator on the code vectors of DAC at 16 kHz."""
    sizes = rvq_grid.Config()
    vectors = torch.zeros(1, sizes.num_codebooks, dac_frames(seconds), sizes.latent_size)
    return rvq_grid.GridNetwork(sizes), (vectors, torch.tensor([vectors.shape[2]]))


def dac_frames(seconds: float) -> int:
    """Frames of DAC at 16 kHz of so much audio."""
    sizes = dac.Config()
    return -(-round(sizes.sample_rate * seconds) // sizes.hop)


DAC_ENCODER = Part("DAC 16 kHz encoder", PARTS["DAC 16 kHz encoder"][0])
DAC_DECODERS = Part("2 x DAC 16 kHz decoder", PARTS["DAC 16 kHz decoder"][0], 2)
SEPARATOR = Part("separator", mask_network)
SEPFORMER = Part("SepFormer", waveform("sepformer"))
SYSTEMS = {
    "SepFormer": System([SEPFORMER], 8000),
    "Conv-TasNet": System([Part("network", waveform("convtasnet"), device="cpu")], 8000),
    "DPRNN": System([Part("network", waveform("dprnn"), device="cpu")], 8000),
    "BSRNN": System([Part("network", waveform("bsrnn"), device="cpu")], 16000),
    "TF-GridNet": System([Part("network", waveform("tfgridnet"), device="cpu")], 8000),
    "Codecformer": System([DAC_ENCODER, SEPARATOR, DAC_DECODERS], 8000),
    "RVQ-Grid": System(
        [DAC_ENCODER, Part("DAC 16 kHz quantiser", dac_quantizer), Part("separator", grid_network, device="cpu"),
         DAC_DECODERS], 8000
    ),
    "SLM-SS": System(
        [
            Part("mixture encoder", PARTS["SLM-SS mixture encoder (WavLM-large)"][0]),
            Part("AR decoder 16 x 1024", PARTS["SLM-SS AR decoder 16 x 1024"][0]),
            Part("NAR decoder 16 x 1024", PARTS["SLM-SS NAR decoder 16 x 1024 (7 levels)"][0]),
            Part("2 x EnCodec 24 kHz decoder", PARTS["EnCodec 24 kHz decoder"][0], 2),
        ],
        16000,
    ),
    "SLM-SS mini recipe": System(
        [
            Part("mixture encoder", PARTS["fbank mixture encoder 4 x 256"][0]),
            Part("AR decoder 3 x 256", PARTS["SLM-SS AR decoder 3 x 256 (mini recipe)"][0]),
            Part("NAR decoder 3 x 256", token_decoder("nar", SMALL, 50.0, 7)),
            Part("2 x mini codec decoder", PARTS["mini codec decoder"][0], 2),
        ],
        16000,
    ),
}  # fmt: skip


def named(words: Sequence[str]) -> list[str]:
    """Systems, and the claim, whose names hold one of the words; all where there are none."""
    names = [*SYSTEMS, CLAIM]
    return [name for name in names if not words or any(word.lower() in name.lower() for word in words)]


def systems(names: Sequence[str], seconds: float) -> Table:
    """A row for each part of these systems, and one for the whole."""
    columns = ["system", "part", "GMAC/s, torch", "GMAC/s, thop", "M parameters", "SepFormer / this, torch", "mixture"]
    table = Table(f"Whole systems, {seconds:g} s of audio", columns)
    first = tried(table, "SepFormer", SEPFORMER, seconds)
    for name in names:
        parts, mixture = SYSTEMS[name].parts, f"{SYSTEMS[name].rate / 1000:g} kHz"
        found = [tried(table, f"{name}, {part.name}", part, seconds) for part in parts]
        if None in found:
            continue
        each = zip([part.name for part in parts], found, strict=True) if len(parts) > 1 else []
        table.rows += [[name, part, *row(counted, seconds, None), mixture] for part, counted in each]
        table.rows.append([name, "whole", *row(sum(found[1:], found[0]), seconds, first), mixture])
    table.notes = list(dict.fromkeys(table.notes)) + SYSTEMS_NOTES
    return table


def tried(table: Table, name: str, part: Part, seconds: float) -> Count | None:
    """The count of a part; a note and None where its package is missing."""
    try:
        return part.count(seconds)
    except CodecsepError as error:
        table.notes.append(f"{name}: left out, {error}")
        return None


def row(found: Count, seconds: float, first: Count | None) -> list[Any]:
    """Both counts in GMAC per second of audio, million parameters, and how many times as much `first` is."""
    thop = "-" if found.thop is None else found.thop / 1e9 / seconds
    times = "-" if first is None else first.torch / found.torch
    return [found.torch / 1e9 / seconds, thop, found.parameters / 1e6, times]


def claim(lengths: Sequence[float]) -> Table:
    """Both counters at every length: the separators alone, and with the codec around Codecformer's."""
    columns = ["audio at 8 kHz", "counter", "SepFormer, GMAC", "Codecformer's separator, GMAC", "ratio",
               "with DAC encoder", "with encoder and two decoders"]  # fmt: skip
    table = Table(CLAIM, columns)
    for seconds in lengths:
        parts = [tried(table, part.name, part, seconds) for part in (SEPFORMER, SEPARATOR, DAC_ENCODER, DAC_DECODERS)]
        if parts[0] is None or parts[1] is None:
            break
        for counter, of in COUNTERS.items():
            table.rows += ratios(f"{seconds:g} s", counter, [None if part is None else of(part) for part in parts])
    table.notes = list(dict.fromkeys(table.notes)) + CLAIM_NOTES
    return table


def ratios(audio: str, counter: str, macs: Sequence[float | None]) -> list[list[Any]]:
    """One row, of SepFormer, separator, encoder, decoders; none where this counter is not installed."""
    first, alone, *around = macs
    if first is None or alone is None:
        return []
    cells, total = [], alone
    for more in around:
        total = None if more is None or total is None else total + more
        cells.append("-" if total is None else first / total)
    return [[audio, counter, first / 1e9, alone / 1e9, first / alone, *cells]]


COUNTERS: dict[str, Callable[[Count], float | None]] = {"torch": lambda c: c.torch, "thop": lambda c: c.thop}
SYSTEMS_NOTES = [
    "whole: from the mixture to the waveforms of both speakers, at the papers' sizes. mixture: its rate; Codecformer "
    "and RVQ-Grid work at 16 kHz inside. STFTs, resampling and look-ups are not counted.",
    "RVQ-Grid: its sizes give the published number of parameters, not the published 6.6 GMAC (of unknown length, by an "
    "unknown counter).",
    "SepFormer / this: how many times fewer multiply-accumulates the whole has than SepFormer at 8 kHz; below 1: more.",
]
CLAIM_NOTES = [
    "ratio: SepFormer over Codecformer's separator alone, which is what the published 52 times counts: the RVQ-Grid "
    "paper prints 77.3 and 1.5 GMAC, which is what thop gives for 2 s. thop does not see the products inside "
    "nn.MultiheadAttention, of which SepFormer has the larger share.",
    "with DAC encoder: what a receiver of plain audio would have to run before it can separate. with encoder and two "
    "decoders: from waveform to waveforms, as SepFormer computes; about 1 by torch's count: nothing is saved. The "
    "saving exists where mixtures arrive and speakers leave as latents.",
    "In the last column thop's count is too low: it charges DAC's transposed convolutions for too much (see above).",
]
