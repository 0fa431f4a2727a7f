"""Multiply-accumulates per second of audio, of every part that runs when speech is separated (`bench_parts`), of whole
systems, and the ratios that published claims were made of (`bench_pipelines`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from codecsep.bin import bench_pipelines
from codecsep.bin.bench_counters import count, has_thop
from codecsep.bin.bench_page import BenchError, Table
from codecsep.bin.bench_parts import PARTS
from codecsep.errors import CodecsepError

QUICK = ("--parts=[mini codec]",)


@dataclass
class Settings:
    """seconds: of audio that are counted. parts: count those whose names hold one of these words, systems alike
    (empty: all). lengths: seconds of audio for the ratio of SepFormer and Codecformer."""

    seconds: float = 1.0
    parts: list[str] = field(default_factory=list)
    lengths: list[float] = field(default_factory=lambda: [1.0, 2.0, 3.0, 4.0, 6.0])

    def __post_init__(self):
        if min([self.seconds, *self.lengths]) <= 0:
            raise BenchError("E864", "0 seconds of audio, or less", "--seconds, --lengths", "give more")


def run(settings: Settings) -> list[Table]:
    """Parts; whole systems; the ratio that was published."""
    parts, systems = chosen(settings.parts)
    tables = [parts_table(parts, settings.seconds)] if parts else []
    if names := [name for name in systems if name != bench_pipelines.CLAIM]:
        tables.append(bench_pipelines.systems(names, settings.seconds))
    if bench_pipelines.CLAIM in systems:
        tables.append(bench_pipelines.claim(settings.lengths))
    if not has_thop():
        tables[0].notes.append('thop is not installed: pip install -e ".[bench]" -c constraints.txt')
    return tables


def chosen(words: list[str]) -> tuple[list[str], list[str]]:
    """Names of parts and of systems that hold one of the words. Raises BenchError where none does."""
    names = [name for name in PARTS if not words or any(word.lower() in name.lower() for word in words)]
    systems = bench_pipelines.named(words)
    if not names and not systems:
        known = "; ".join([*PARTS, *bench_pipelines.named([])])
        raise BenchError("E864", f"no part is named {', '.join(words)}", "", f"parts: {known}")
    return names, systems


def parts_table(names: Sequence[str], seconds: float) -> Table:
    """One row per part that its packages are installed for: GMAC per second of audio, and its size."""
    columns = ["part", "GMAC/s, torch", "GMAC/s, thop", "M parameters", "reads"]
    table = Table(f"Multiply-accumulates, {seconds:g} s of audio", columns)
    for name in names:
        part, reads = PARTS[name]
        try:
            found = count(part, seconds)
        except CodecsepError as error:
            table.notes.append(f"{name}: left out, {error}")
            continue
        thop = "-" if found.thop is None else found.thop / 1e9 / seconds
        table.rows.append([name, found.torch / 1e9 / seconds, thop, found.parameters / 1e6, reads])
    table.notes += NOTES
    return table


NOTES = [
    "torch: FlopCounterMode on the meta device, every product, attention in its plain form; a causal decoder is "
    "charged the whole square, of which decoding with a cache computes half. FFTs are in neither count.",
    "thop: sums of formulas per module. It charges a transposed convolution for its output at full kernel, too much by "
    "about its stride (decoders of DAC and EnCodec), and misses the products of attention and what stands outside of "
    "modules (output layers).",
    "M parameters: of the whole network where encoder and decoder are one (mini codec, FocalCodec-Stream).",
]
