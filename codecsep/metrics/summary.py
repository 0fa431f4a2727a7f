"""The corpus table: what was scored with what, one row per system, intervals against the mixture, plain remarks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from codecsep.data import atomic
from codecsep.metrics import table
from codecsep.metrics.kept import write_json
from codecsep.metrics.systems import BUILT_IN, CODED_MIXTURE, MIXTURE, References, Run, System

if TYPE_CHECKING:
    from codecsep.metrics.judges import Judges
    from codecsep.metrics.scoring import Options

TITLES = {
    "si_sdr": "SI-SDR dB",
    "si_sdri": "SI-SDRi over raw mixture dB",
    "si_sdr_delay_comp": "SI-SDR delay-comp. dB",
    "si_sdri_delay_comp": "SI-SDRi delay-comp. over raw mixture dB",
    "si_sdri_coded": "SI-SDRi over coded mixture dB",
    "c_si_sdr": "cSI-SDR dB",
    "c_si_sdri": "cSI-SDRi over raw mixture dB",
    "c_si_sdri_coded": "cSI-SDRi over coded mixture dB",
    "sdr": "SDR dB (BSS-eval, 512)",
    "sdri": "SDRi over raw mixture dB (BSS-eval, 512)",
    "c_sdr": "C_SDR dB (BSS-eval, 512)",
    "estoi": "ESTOI",
    "pesq_wb": "PESQ-WB",
    "pesq_nb": "PESQ-NB",
    "c_pesq_wb": "C_PESQ-WB",
    "c_pesq_nb": "C_PESQ-NB",
    "dnsmos_p835_ovrl": "DNSMOS P.835 OVRL",
    "dnsmos_p835_sig": "P.835 SIG",
    "dnsmos_p835_bak": "P.835 BAK",
    "dnsmos_p808": "DNSMOS P.808",
    "spk_sim_ge2e": "speaker sim. GE2E",
    "spk_sim_ge2e_other": "sim. to the other",
    "wer": "WER % tiny.en",
    "dwer": "dWER % tiny.en",
}
DIGITS = {"estoi": 3, "spk_sim_ge2e": 3, "spk_sim_ge2e_other": 3}


def summarise(options: Options, scores: dict, references: References, judges: Judges, codec: Path | None) -> dict:
    """Everything that the pages say, as plain values (table.json)."""
    from codecsep.metrics import judges as judges_module

    baseline = scores.get(MIXTURE, [])
    num_speakers = len(references.speakers)
    rows = [_row(system, scores[system.name], baseline, num_speakers) for system in options.systems]
    return {
        "data": options.data,
        "codec": str(codec) if codec else None,
        "num_utterances": len(references.ids),
        "num_speakers": num_speakers,
        "rate": references.rate,
        "codec_delay": options.transmitted.delay if options.transmitted else 0,
        "cut": references.cut,
        "num_asr": len(options.asr_ids),
        "num_mos": len(options.mos_ids),
        "judges": judges_module.describe(judges),
        "missing_judges": judges.missing,
        "systems": rows,
    }


def _row(system: System, rows: list[dict], baseline: list[dict], num_speakers: int) -> dict:
    result = {"name": system.name, "directories": list(system.directories), "permute_by": system.criterion}
    result |= {"delay": system.delay, **table.summary(rows, num_speakers)}
    if system.name in BUILT_IN:
        return result
    result["decode"] = _decode(system)
    result["against_mixture"] = {
        name: found for name in table.WITH_INTERVAL if (found := table.against(rows, baseline, name))
    }
    result["verdict"] = table.verdict(result["against_mixture"])
    return result


def _decode(system: System) -> dict:
    """Means over runs of what the separation stage wrote in decode.json: missing <eos>, ..."""
    infos = [Run(directory).decode_info() for directory in system.directories]
    names = ("missing_eos", "loop_blocks", "bound_hits")
    values = {name: [info[name] for info in infos if name in info] for name in names}
    result = {name: sum(found) / len(found) for name, found in values.items() if found}
    seeds = [info["seed"] for info in infos if "seed" in info]
    return result | ({"seeds": seeds} if seeds else {})


def with_timing(result: dict) -> dict:
    """The table with the real-time factors that the runs took (timing.json): no part of table.json, as no two runs of
    one command have the same."""
    for row in result["systems"]:
        found = [timing["rtf"] for directory in row["directories"] if (timing := Run(directory).timing())]
        if found and "decode" in row:
            row["decode"]["rtf"] = sum(found) / len(found)
    return result


def columns(result: dict) -> list[str]:
    """The metrics that any system has, in the order of TITLES; without a delay the compensated ones say nothing new."""
    delays = any(row["delay"] for row in result["systems"])
    present = {name for row in result["systems"] for name in row["metrics"]}
    return [name for name in TITLES if name in present and (delays or not name.endswith("delay_comp"))]


def cell(row: dict, name: str) -> str:
    """Mean, with the standard deviation between runs when there are several; "" where there is none."""
    value = row["metrics"].get(name)
    if value is None:
        return ""
    digits = DIGITS.get(name, 2 if not name.endswith("wer") else 1)
    text = f"{value['mean']:.{digits}f}"
    return text if value["sd"] is None else f"{text} ± {value['sd']:.{digits}f}"


def remarks(result: dict) -> list[str]:
    """What a reader must know to read the table right."""
    speakers = result["num_speakers"]
    lines = [
        f"{result['num_utterances']} mixtures of {speakers} speakers at {result['rate']} Hz, from {result['data']}.",
        "± is the standard deviation between runs (seeds); no ±: one run.",
        f"One permutation per utterance for all metrics{' but cSI-SDR' if has(result, 'c_si_sdr') else ''}, chosen by: "
        + ", ".join(f"{row['name']} {row['permute_by']}" for row in result["systems"])
        + ".",
        "A missing or silent estimate counts 0 for ESTOI and speaker similarity and all words deleted; SI-SDR, PESQ "
        "and DNSMOS leave it out.",
    ]
    lines += coded_lines(result)
    if any(row["permute_by"] != "si_sdr" for row in result["systems"]):
        lines.append("SI-SDR asks for the phase, which a codec need not keep: low values say little of codec systems.")
    if has(result, "spk_sim_ge2e"):
        lines.append("The mixture holds all its voices, so its speaker similarity to each of them is high already.")
    lines += [f"Values behind {name}: {counts}." for name, counts in _counts(result)]
    if result["cut"]:
        lines.append("Mixtures in min mode: transcripts say more than is heard, so only dWER is given.")
    lines += [text for row in result["systems"] for text in odd_ones(row)]
    lines += [f"{name}: {text}." for name, text in result["judges"].items()]
    return lines + [f"Left out: {text}" for text in result["missing_judges"]]


def has(result: dict, name: str) -> bool:
    """Was this metric scored for any system?"""
    return any(name in row["metrics"] for row in result["systems"])


def coded_lines(result: dict) -> list[str]:
    """How the columns against what the codec transmits were made; of SDR, which asks for the same care."""
    lines, delay = [], result["codec_delay"]
    if has(result, "c_si_sdr"):
        moved = f"; what did not pass it is moved by its delay, {delay} samples" if delay else ""
        lines += [
            "cSI-SDR, C_SDR and C_PESQ compare with the clean sources passed through the codec (codec_ceiling), the "
            f"codec's delay left in{moved}. codec_mixture is the mixture passed through it.",
            "cSI-SDRi over the raw mixture is the protocol of Codecformer's released code; over the coded mixture "
            "it is ours, to be quoted for systems behind the codec. SI-SDRi over the coded mixture has known delays "
            f"taken out on both sides. {_free_gains(result)}",
            "cSI-SDR takes the permutation that is best for itself, by its definition; it is not that of the other "
            f"columns in: {_other_choices(result)}.",
        ]
    if has(result, "sdr"):
        lines.append("SDR forgives a filter of 512 taps, so a lag but no lead: known delays are taken out before it.")
    return lines


def _free_gains(result: dict) -> str:
    """What the wrong baseline gives to signals in which nothing is separated."""
    wrong = ((CODED_MIXTURE, "c_si_sdri"), (MIXTURE, "si_sdri_coded"))
    found = [
        f"{row['name']} {row['metrics'][name]['mean']:+.2f} dB {TITLES[name].removesuffix(' dB')}"
        for row in result["systems"]
        for system, name in wrong
        if row["name"] == system and name in row["metrics"]
    ]
    return f"What nothing was separated in has: {', '.join(found)}." if found else ""


def _other_choices(result: dict) -> str:
    total = result["num_utterances"]
    found = [row for row in result["systems"] if row.get("other_choices")]
    return ", ".join(f"{row['name']} {row['other_choices']} of {total * row['runs']}" for row in found) or "none"


def odd_ones(row: dict) -> list[str]:
    """What was silent or without words in a system, counted over its runs."""
    texts = {
        "silent": "{} silent estimates, counted as missing",
        "no_words": "in {} estimates no word was heard: all words of the reference are errors",
        "no_reference": "{} references without words: what was heard there are errors over no words",
    }
    return [f"{row['name']}: {text.format(row[key])}." for key, text in texts.items() if row.get(key)]


def _counts(result: dict) -> list[tuple[str, int]]:
    """Metrics that were scored on a part of the signals only."""
    whole = result["num_utterances"] * result["num_speakers"]
    counted = []
    for name in ("pesq_nb", "c_pesq_wb", "c_pesq_nb", "dnsmos_p835_ovrl", "dnsmos_p808", "wer", "dwer"):
        most = max((row["metrics"][name]["count"] for row in result["systems"] if name in row["metrics"]), default=0)
        if 0 < most < whole:
            counted.append((TITLES[name], most))
    return counted


def interval_lines(result: dict) -> list[str]:
    """One line per system and metric: difference to the mixture with its 95 % interval; then the verdict."""
    lines = []
    for row in result["systems"]:
        for name, found in row.get("against_mixture", {}).items():
            spread = f"{found['difference']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"
            lines.append(f"{row['name']}, {TITLES[name]}: {spread} against the mixture ({found['count']} utterances)")
        if "verdict" in row:
            lines.append(f"{row['name']} {row['verdict']}")
    return lines


def counts_cells(row: dict) -> list[str]:
    """Missing and extra speakers, missing <eos>, RTF."""
    decode = row.get("decode", {})
    eos = f"{decode['missing_eos']:g}" if "missing_eos" in decode else ""
    return [f"{row['missing']:.3g}", f"{row['extra']:.3g}", eos, f"{decode['rtf']:.3f}" if "rtf" in decode else ""]


COUNT_TITLES = ("missing speakers", "extra speakers", "no <eos>", "RTF")


def grid(result: dict) -> list[list[str]]:
    """The table as cells, header first."""
    names = columns(result)
    header = ["system", *(TITLES[name] for name in names), *COUNT_TITLES]
    rows = [[row["name"], *(cell(row, name) for name in names), *counts_cells(row)] for row in result["systems"]]
    filled = [column for column in zip(header, *rows, strict=True) if any(column[1:])]
    return [list(row) for row in zip(*filled, strict=True)]


def as_text(result: dict) -> str:
    """For a terminal: a line per metric, a column per system (a wide table would wrap)."""
    turned = list(zip(*grid(result), strict=True))
    widths = [max(len(row[column]) for row in turned) for column in range(len(turned[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in turned]
    return "\n".join([*lines, "", *interval_lines(result), "", *remarks(result)])


def write(out: Path, result: dict) -> None:
    """table.json and table.txt."""
    write_json(out / "table.json", result)
    atomic.write_text(out / "table.txt", as_text(result) + "\n")
