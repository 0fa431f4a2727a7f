"""Steps of training: speed, the share that is spent on reading data, what the trainer adds to a bare loop, and our
decoder's forward and backward pass against torch's own.

Each training is the real one (codecsep/train/trainer.py), on a corpus of noise in the directories that it always reads.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codecsep import config
from codecsep.bin import bench_corpus
from codecsep.bin.bench_page import Table
from codecsep.bin.bench_step import Steps
from codecsep.bin.bench_timing import Contender, clock_of, interleave, median, ratio
from codecsep.bin.bench_twins import sizes_of
from codecsep.data.ark import CodecInfo
from codecsep.nn.transformer import Decoder
from codecsep.train import datasets, optim
from codecsep.train.settings import TrainConfig
from codecsep.train.trainer import Trainer

QUICK = (
    "--num_layers=1", "--width=16", "--num_heads=2", "--ffn_width=32", "--codebook_size=32", "--num_codebooks=2",
    "--seconds=0.5", "--examples=2", "--steps=2", "--rounds=1",
)  # fmt: skip


@dataclass
class Settings:
    """models: ar, nar, pit at the sizes given here (encoder and decoder have num_layers each), or YAML files of
    trainings, whose codec must have the sizes given here. steps: timed in a round. examples: of `seconds` each in a
    batch."""

    models: list[str] = field(default_factory=lambda: ["ar", "nar", "pit"])
    num_layers: int = 3
    width: int = 256
    num_heads: int = 4
    ffn_width: int = 1024
    codebook_size: int = 512
    num_codebooks: int = 8
    frame_rate: float = 50.0
    seconds: float = 4.0
    examples: int = 6
    steps: int = 3
    rounds: int = 5
    num_workers: int = 0
    device: str = "cpu"

    @property
    def hop(self) -> int:
        return round(bench_corpus.RATE / self.frame_rate)


class Watched(Trainer):
    """A trainer that knows how long its steps take, and how long the time between them (the first is left out)."""

    def watch(self, now: Callable[[], float]) -> None:
        self.now, self.working, self.waiting, self.left = now, [], [], 0.0

    def _step(self, batches: Any, examples: int) -> None:
        came = self.now()
        super()._step(batches, examples)
        if self.left:
            self.waiting.append(came - self.left)
            self.working.append(self.now() - came)
        self.left = self.now()


def run(settings: Settings) -> list[Table]:
    info = CodecInfo("noise", "0", bench_corpus.RATE, settings.frame_rate, settings.hop, settings.num_codebooks,
                     settings.codebook_size)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        count = settings.examples * (settings.steps + 1)
        data, dump = bench_corpus.write(Path(folder), count, settings.seconds, info)
        made = {name: training(name, settings, data, dump) for name in settings.models}
        return [speed(made, settings, Path(folder)), twin(settings)]


def training(name: str, settings: Settings, data: Path, dump: Path) -> TrainConfig:
    """The settings of one training on the corpus."""
    file = Path(name) if name.endswith(".yaml") else None
    frames = -(-round(bench_corpus.RATE * settings.seconds) // settings.hop)
    words = {
        "data.train": "static", "data.valid": "static", "data.max_frames": frames,
        "data.num_workers": settings.num_workers,
        "batch.max_frames": frames * settings.examples, "batch.max_examples": settings.examples,
        "train.max_steps": settings.steps + 1, "train.valid_interval": settings.steps + 1, "train.log_interval": 1000,
        "train.device": settings.device, "train.tensorboard": "false", "optim.warmup_steps": 1,
        "paths.train": data, "paths.train_dump": dump, "paths.valid": data, "paths.valid_dump": dump,
    }  # fmt: skip
    words |= {} if file else built_in(name, settings)
    made = config.load_model_config(TrainConfig, file, [f"--{key}={value}" for key, value in words.items()])
    made.init, made.freeze = [], made.freeze  # there are no weights to start from
    return made


def built_in(name: str, settings: Settings) -> dict[str, Any]:
    """`ar`, `nar` or `pit` at the sizes of the settings, with a mixture encoder trained from scratch."""
    sizes = {key: getattr(settings, key) for key in ("num_layers", "width", "num_heads", "ffn_width")}
    words = {"model": "pit_classifier" if name == "pit" else "slm_ss", "network.encoder.kind": "fbank"}
    words |= {f"network.encoder.fbank.transformer.{key}": value for key, value in sizes.items()}
    words |= {"network.codebook_size": settings.codebook_size, "network.num_codebooks": settings.num_codebooks}
    if name != "pit":
        words |= {f"network.decoder.{key}": value for key, value in sizes.items()}
        words |= {"network.part": name, "network.frame_rate": settings.frame_rate, "network.positions": "time"}
    return words


def make_model(made: Any) -> nn.Module:
    model = config.find_model(made.model).Model(made.network)
    optim.freeze(model, made.freeze)
    return model


def speed(made: dict[str, Any], settings: Settings, folder: Path) -> Table:
    """Trainer and bare loop of every model, in turn."""
    steps = {(name, kind): [] for name in made for kind in ("trainer", "bare", "waiting")}
    for turn in range(settings.rounds):
        for name, given in made.items():
            watched = train(given, folder / f"{name.replace('/', '_')}.{turn}", clock_now(settings))
            steps[name, "trainer"].append(median(watched.working))
            steps[name, "waiting"].append(sum(watched.waiting) / (sum(watched.waiting) + sum(watched.working)))
            steps[name, "bare"].append(bare(given, settings))
    columns = ["model", "M parameters", "ms a step", "s audio/s", "tokens/s", "reading data", "trainer / bare loop"]
    table = Table(f"{settings.examples} mixtures of {settings.seconds:g} s in a step", columns)
    audio = settings.examples * settings.seconds
    for name, given in made.items():
        seconds = median(steps[name, "trainer"])
        tokens = audio * settings.frame_rate * codes_per_frame(given)
        size = sum(weight.numel() for weight in make_model(given).parameters()) / 1e6
        more = ratio(steps[name, "trainer"], steps[name, "bare"])
        share = f"{median(steps[name, 'waiting']):.1%}"
        table.rows.append([name, size, 1000 * seconds, audio / seconds, tokens / seconds, share, str(more)])
    table.notes = [
        "tokens: frames of both speakers, one level (ar, nar) or all levels (pit) of which the loss is taken. "
        "reading data: share of the time between two steps' ends that passes outside of the step.",
        "bare loop: collate, loss, backward, clipping and AdamW on examples in memory, nothing else.",
    ]
    return table


def codes_per_frame(made: Any) -> int:
    """Codes that a training step predicts per frame, of both speakers."""
    network, speakers = made.network, len(bench_corpus.SPEAKERS)
    if made.model != "pit_classifier":
        return speakers
    return speakers * (network.levels_per_step or network.num_codebooks)


def clock_now(settings: Settings) -> Callable[[], float]:
    """Processor time where all work is done in this process, else the time of day, the device idle."""
    if torch.device(settings.device).type == "cuda":
        return lambda: (torch.cuda.synchronize(), time.perf_counter())[1]
    return time.perf_counter if settings.num_workers else time.process_time


def train(made: Any, folder: Path, now: Callable[[], float]) -> Watched:
    """One whole training of a few steps."""
    folder.mkdir()
    model = make_model(made)
    trainer = Watched(model, datasets.make_sets(model, made), made, folder)
    trainer.watch(now)
    trainer.run()
    return trainer


def bare(made: Any, settings: Settings) -> float:
    """Seconds of a step of a loop of five lines, the median of `steps` after one."""
    model, now, seconds = make_model(made), clock_now(settings), []
    examples = [datasets.make_sets(model, made)[0][index] for index in range(settings.examples)]
    step = Steps(model, lambda: examples, made.optim, settings.device)
    for _ in range(settings.steps + 1):
        start = now()
        step()
        seconds.append(now() - start)
    return median(seconds[1:])


def twin(settings: Settings) -> Table:
    """Forward and backward pass of a causal decoder: ours, and torch's nn.TransformerDecoder."""
    sizes, device = sizes_of(settings), settings.device
    tokens, frames = 2 * round(settings.frame_rate * settings.seconds), round(50 * settings.seconds)
    hidden = torch.randn(settings.examples, tokens, sizes.width, device=device)
    memory = torch.randn(settings.examples, frames, sizes.width, device=device)
    valid = torch.ones(settings.examples, frames, dtype=torch.bool, device=device)
    own = Decoder(sizes).to(device)
    layer = nn.TransformerDecoderLayer(
        sizes.width, sizes.num_heads, sizes.ffn_width, 0.0, "gelu", batch_first=True, norm_first=True
    )
    other = nn.TransformerDecoder(layer, sizes.num_layers, nn.LayerNorm(sizes.width)).to(device)
    mask = nn.Transformer.generate_square_subsequent_mask(tokens, device=device)
    runs = {
        "ours": lambda: own(hidden, None, memory, valid).sum().backward(),
        "torch's nn.TransformerDecoder": lambda: other(hidden, memory, mask, tgt_is_causal=True).sum().backward(),
    }
    contenders = {name: Contender(run, warm=run) for name, run in runs.items()}
    seconds = interleave(contenders, settings.rounds, clock_of(device))
    base = list(seconds.values())[-1]
    table = Table(f"Decoder, forward and backward, {settings.examples} x {tokens} tokens, {frames} memory frames",
                  ["decoder", "ms", "tokens/s", "times torch's"])  # fmt: skip
    for name, times in seconds.items():
        speed_of = settings.examples * tokens / median(times)
        table.rows.append([name, 1000 * median(times), speed_of, str(ratio(base, times))])
    return table
