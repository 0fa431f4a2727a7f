"""Separators side by side, in turn, in one process, with a batch of one: steps of training in seconds of audio per
second, where the time of Codecformer's steps goes, and separating. Beside each stands how many times as fast it is as
SepFormer.

A step is a loop of five lines (`bench_step`) that reads its example from the disk; what the trainer adds to it costs
next to nothing (`bench train`). Weights are random and the audio is noise: what a network costs depends on neither.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from codecsep import config
from codecsep.bin import bench_codecs, bench_examples
from codecsep.bin.bench_page import BenchError, Table
from codecsep.bin.bench_step import Steps
from codecsep.bin.bench_timing import Contender, Ratio, clock_of, interleave, median, ratio
from codecsep.codecs import mini
from codecsep.codecs.base import Codec
from codecsep.codecs.latent_codec import LatentCodec
from codecsep.data.ark import CodecInfo
from codecsep.decode.options import DecodeOptions
from codecsep.models.in_codec import InCodec
from codecsep.nn.transformer import count_parameters
from codecsep.train.optim import OptimConfig

QUICK = ("--sizes=tiny", "--codec=mini", "--seconds=0.5", "--rounds=1")
FIRST = "sepformer"  # what the others are compared with


@dataclass
class Settings:
    """systems: of `SYSTEMS`, compared with sepformer. sizes: the papers', or tiny ones (which measure nothing). codec:
    of the Codecformers, with random weights. seconds: of the one mixture in a batch. device: cpu or cuda."""

    systems: list[str] = field(default_factory=lambda: list(DEFAULT))
    sizes: Literal["paper", "tiny"] = "paper"
    codec: Literal["dac", "mini"] = "dac"
    seconds: float = 1.0
    rounds: int = 5
    device: str = "cpu"

    def __post_init__(self):
        if unknown := [name for name in self.systems if name not in SYSTEMS]:
            raise BenchError("E864", f"no system '{unknown[0]}'", "--systems", f"of {', '.join(SYSTEMS)}")
        if self.seconds <= 0:
            raise BenchError("E864", f"{self.seconds} seconds", "--seconds", "give more than 0")


@dataclass(frozen=True)
class System:
    """A model file, settings of its network, and how many times as fast as SepFormer it is to be trained."""

    title: str
    model: str
    network: dict[str, Any]
    goal: float | None = None


SYSTEMS = {
    FIRST: System("SepFormer, loss on waves", "sepformer", {}),
    "codecformer_transmitted": System(
        "Codecformer, loss on waves, both targets coded in the step", "codecformer", {"loss": "transmitted"}
    ),
    "codecformer": System("Codecformer, loss on waves", "codecformer", {"loss": "clean"}, 2.7),
    "codecformer_made": System(
        "Codecformer-EL, all three latents made in the step", "codecformer", {"loss": "encoded"}
    ),
    "codecformer_el": System("Codecformer-EL, stored latents", "codecformer", {"loss": "latent"}, 20.0),
    "rvq_grid": System("RVQ-Grid, loss on waves", "rvq_grid", {"loss": "clean"}),
    "convtasnet": System("Conv-TasNet", "convtasnet", {}),
    "dprnn": System("DPRNN", "dprnn", {}),
    "bsrnn": System("BSRNN", "bsrnn", {}),
    "tfgridnet": System("TF-GridNet", "tfgridnet", {}),
}
DEFAULT = (FIRST, "codecformer_transmitted", "codecformer", "codecformer_made", "codecformer_el")
PATH = {"num_layers": 1, "num_heads": 2, "ffn_width": 8}
TINY = {
    "sepformer": {"width": 8, "chunk": 20, "blocks": 1, "intra": PATH, "inter": PATH},
    "codecformer": {"width": 16, "num_layers": 1, "num_heads": 2, "ffn_width": 16},
}
OPTIM = OptimConfig(lr=1.5e-4, betas=(0.9, 0.999), weight_decay=0.0, clip=5.0)


def run(settings: Settings) -> list[Table]:
    codec = CODECS[settings.codec]()
    names = [FIRST, *(name for name in settings.systems if name != FIRST)]
    models = {name: make_model(SYSTEMS[name], settings, codec) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        tables = [training(models, settings, Path(folder))]
    codecformers = [name for name in names if SYSTEMS[name].model == "codecformer"]
    if codecformers:
        model = models[codecformers[0]]
        tables += [shares(model, settings), separating(models[FIRST], model, settings)]
    return tables


def make_model(system: System, settings: Settings, codec: Codec) -> nn.Module:
    """The model of a system with random weights, in its codec where it has one, on the device."""
    module = config.find_model(system.model)
    words = system.network | (TINY.get(system.model, {}) if settings.sizes == "tiny" else {})
    if issubclass(module.Model, InCodec):
        words = words | {"latent_size": codec.latent_size}
    torch.manual_seed(0)
    model = module.Model(config.build(module.Config, words, "bench separators"))
    if isinstance(model, InCodec):
        model.use_codec(codec)
    return model.to(settings.device)


def training(models: dict[str, nn.Module], settings: Settings, folder: Path) -> Table:
    """Steps of all systems in turn; every step reads its example below `folder`."""
    steps = {name: steps_of(model, settings, folder / name) for name, model in models.items()}
    contenders = {name: Contender(step, warm=step) for name, step in steps.items()}
    seconds = interleave(contenders, settings.rounds, clock_of(settings.device))
    columns = ["system", "M parameters", "s audio/s", "times SepFormer", "goal"]
    table = Table(f"Training on {settings.device}, one mixture of {settings.seconds:g} s in a step", columns)
    for name, model in models.items():
        system, faster = SYSTEMS[name], ratio(seconds[FIRST], seconds[name])
        goal = "-" if settings.sizes == "tiny" else told(system.goal, faster)
        speed = settings.seconds / median(seconds[name])
        table.rows.append([system.title, count_parameters(model) / 1e6, speed, str(faster), goal])
    table.notes = TRAINING_NOTES
    return table


def steps_of(model: nn.Module, settings: Settings, folder: Path) -> Steps:
    """Steps on one mixture of noise."""
    folder.mkdir()
    read = bench_examples.stored(model, settings.seconds, folder, settings.device)
    return Steps(model, lambda: [read()], OPTIM, settings.device)


def told(goal: float | None, found: Ratio) -> str:
    """Was a goal reached?"""
    return "-" if goal is None else f"{goal:g}: {'met' if found.median >= goal else 'missed'}"


def shares(model: Any, settings: Settings) -> Table:
    """Parts of a step of a Codecformer with a loss on waves: forward, and backward where a gradient passes."""
    wav, lengths, latents, frames = inputs(model, settings)
    estimates = latents[:, None].repeat(1, 2, 1, 1).requires_grad_()
    model.train()
    works = {
        "encoding the mixture": lambda: model.encode(wav, lengths),
        "separator, forward and backward": lambda: model.estimate(latents, frames).sum().backward(),
        "decoding both speakers, forward and backward": lambda: model.decode(
            estimates, frames, lengths
        ).sum().backward(),
    }  # fmt: skip
    seconds = timed(works, settings)
    total = sum(median(values) for values in seconds.values())
    table = Table("Parts of Codecformer's step, loss on waves", ["part", "share"])
    table.rows = [[name, f"{median(values) / total:.1%}"] for name, values in seconds.items()]
    return table


def separating(first: Any, model: Any, settings: Settings) -> Table:
    """Separating without gradients: SepFormer, and Codecformer with and without the codec around it."""
    wav, lengths, latents, frames = inputs(model, settings)
    estimates = latents[:, None].repeat(1, 2, 1, 1)
    mixture = bench_examples.noises(round(settings.seconds * first.sample_rate))[0]
    first.eval(), model.eval()
    works = {
        "SepFormer": lambda: first.separate([mixture], DecodeOptions(), ["noise"]),
        "separator": lambda: model.estimate(latents, frames),
        "encoder": lambda: model.encode(wav, lengths),
        "decoders": lambda: model.decode(estimates, frames, lengths),
    }
    seconds = timed({name: torch.inference_mode()(work) for name, work in works.items()}, settings)
    table = Table(
        f"Separating on {settings.device}, one mixture of {settings.seconds:g} s", ["what", "times SepFormer"]
    )
    chains = {"SepFormer": ["SepFormer"], "Codecformer, separator alone": ["separator"],
              "with the codec's encoder": ["separator", "encoder"],
              "with its encoder and two decoders": ["separator", "encoder", "decoders"]}  # fmt: skip
    for title, parts in chains.items():
        together = [sum(values) for values in zip(*(seconds[part] for part in parts), strict=True)]
        table.rows.append([title, str(ratio(seconds["SepFormer"], together))])
    return table


def inputs(model: Any, settings: Settings) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """wav [1, L], lengths [1], latents [1, T, D] and frame lengths [1] of one mixture, on the device."""
    wav = torch.from_numpy(bench_examples.noises(round(settings.seconds * model.sample_rate))[:1]).to(settings.device)
    lengths = torch.tensor([wav.shape[1]], device=settings.device)
    return wav, lengths, *model.encode(wav, lengths)


def timed(works: dict[str, Callable[[], object]], settings: Settings) -> dict[str, list[float]]:
    contenders = {name: Contender(work, warm=work) for name, work in works.items()}
    return interleave(contenders, settings.rounds, clock_of(settings.device))


def random_dac() -> LatentCodec:
    """DAC at 16 kHz. Raises PackageError without descript-audio-codec."""
    package, sizes, _ = bench_codecs.dac_package()
    return bench_codecs.ours("dac", package.state_dict(), sizes)


def random_mini() -> LatentCodec:
    """The project's own codec."""
    torch.manual_seed(0)
    sizes = mini.Config()
    info = CodecInfo("mini", "0", sizes.sample_rate, sizes.sample_rate / sizes.hop, sizes.hop, 8, 512)
    return mini.MiniCodec(mini.Network(sizes), info)


CODECS: dict[str, Callable[[], LatentCodec]] = {"dac": random_dac, "mini": random_mini}
TRAINING_NOTES = [
    "M parameters: that are trained; a codec is frozen. Loss on waves: the mixture is encoded and both speakers are "
    "decoded in the step, and the gradient passes the decoder; SI-SDR under the best permutation, as for SepFormer.",
    "both targets coded in the step: as the loop that Codecformer's authors released does, whatever its loss is. "
    "stored latents: as stage 2 writes them, read from their arks in every step; neither half of the codec is in it.",
    "goal: times SepFormer, by the median. 2.7 is what the paper says of its training (hardware unknown).",
]
