"""The judges that are to be had here; each is optional, and what is missing is said in the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from codecsep.metrics import quality, speaker, waveform, whisper, words
from codecsep.metrics.weights import BY_NAME, MissingJudge, find, no_package

ASR_NAME = "Whisper tiny.en (greedy, 30 s window)"


@dataclass
class Judges:
    """None (pesq: nothing): this judge is missing; `missing` says why and what to do.

    pesq: the band of the data's rate first, then the narrow band where it is another one.
    """

    rate: int
    estoi: waveform.Estoi | None = None
    pesq: tuple[waveform.Pesq, ...] = ()
    sdr: waveform.Sdr | None = None
    speaker: speaker.SpeakerEncoder | None = None
    dnsmos: quality.Dnsmos | None = None
    asr: whisper.WhisperTiny | None = None
    missing: list[str] = field(default_factory=list)


def load(rate: int, without: tuple[str, ...] = ()) -> Judges:
    """Every judge that can be loaded, save those named in `without` (field names)."""
    judges = Judges(rate)
    makers: dict[str, Callable] = {
        "estoi": waveform.Estoi,
        "pesq": lambda: tuple(map(waveform.Pesq, waveform.bands(rate))),
        "sdr": waveform.Sdr,
        "speaker": lambda: speaker.load(find("ge2e.pt")),
        "dnsmos": lambda: quality.Dnsmos(find("dnsmos_p835.onnx"), find("dnsmos_p808.onnx")),
        "asr": _load_asr,
    }
    for name, make in makers.items():
        if name in without:
            continue
        try:
            setattr(judges, name, make())
        except MissingJudge as error:
            judges.missing.append(f"{error.where}: {error.what}; {error.fix}")
    return judges


def _load_asr() -> whisper.WhisperTiny:
    try:
        import jiwer  # noqa: F401  (counting errors needs it)
    except ImportError as error:
        raise no_package("WER", "jiwer") from error
    return whisper.load(find("whisper_tiny_en.pt"), find("gpt2.tiktoken"))


def describe(judges: Judges) -> dict[str, str]:
    """Name of each judge in use, for the table's legend."""
    known = {
        "estoi": judges.estoi and "ESTOI at 10 kHz (pystoi)",
        **{judge.column: f"PESQ-{judge.mode.upper()} at {judge.rate // 1000} kHz (pesq)" for judge in judges.pesq},
        "sdr": judges.sdr and f"SDR of BSS-eval, {waveform.SDR_TAPS} taps (fast_bss_eval)",
        "dnsmos": judges.dnsmos and f"DNSMOS P.835 and P.808 (speechmos 0.0.1.1, {_short('dnsmos_p835.onnx')})",
        "spk_sim_ge2e": judges.speaker and f"GE2E of Resemblyzer 0.1.4 ({_short('ge2e.pt')})",
        "wer": judges.asr and f"{ASR_NAME} ({_short('whisper_tiny_en.pt')}); normaliser: {words.NORMALISER}",
    }
    return {name: text for name, text in known.items() if text}


def _short(name: str) -> str:
    return f"sha256 {BY_NAME[name].sha256[:8]}"
