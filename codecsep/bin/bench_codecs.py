"""Codecs beside the packages that they are built from, called file by file as the packages' own commands do.

Weights are random: what a convolution costs does not depend on them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codecsep import config
from codecsep.bin.bench_page import BenchError
from codecsep.bin.bench_timing import Contender, Ratio, clock_of, interleave, ratio
from codecsep.codecs import base, dac, encodec
from codecsep.codecs.upstream import need_package
from codecsep.tokens.padding import pad_sequences


@dataclass(frozen=True)
class Compared:
    """speed: how many times as fast as the package; equal: share of the codes that are the same."""

    speed: Ratio
    equal: float


def upstream_ratio(
    name: str, seconds: Sequence[float] = (2.0, 5.0, 8.0, 11.0, 14.0), rounds: int = 5, device: str = "cpu"
) -> Compared:
    """Our codec beside the package's model with the same weights, on signals of so many seconds.

    Raises PackageError when the package is not installed, BenchError on a codec that is of no package.
    """
    if name not in PACKAGES:
        raise BenchError("E864", f"no package to compare '{name}' with", "--codecs", f"of {', '.join(PACKAGES)}")
    model, sizes, encode = PACKAGES[name]()
    codec = ours(name, model.state_dict(), sizes).to(device).eval()
    model.to(device)
    waves = signals(seconds, codec.info.sample_rate)
    batches = [[wave] for wave in waves] if device == "cpu" else [waves]

    def packages() -> list[Tensor]:
        with torch.inference_mode():
            return [encode(wave[None, None].to(device))[0].cpu() for wave in waves]

    def own() -> list[Tensor]:
        return [row.cpu() for batch in batches for row in rows_of(codec, batch, device)]

    pairs = list(zip(own(), packages(), strict=True))
    equal = sum(int((a == b[: len(a), : a.shape[1]]).sum()) for a, b in pairs) / sum(a.numel() for a, _ in pairs)
    contenders = {"package": Contender(packages), "ours": Contender(own)}
    times = interleave(contenders, rounds, clock_of(device))
    return Compared(ratio(times["package"], times["ours"]), equal)


def rows_of(codec: base.Codec, batch: list[Tensor], device: str) -> Iterable[Tensor]:
    """Codes [K, T] of each signal of a batch."""
    waves, lengths = pad_sequences(batch, 0.0)
    codes, frames = codec.encode(waves.to(device), lengths.to(device))
    return [row[:, :size] for row, size in zip(codes, frames.tolist(), strict=True)]


def ours(name: str, state: dict[str, Tensor], sizes: Any) -> Any:
    """Our codec with the weights of the package's model, through the files that bin/get_codec makes."""
    from safetensors.torch import save_file

    module = base.codec_module(name)
    with tempfile.TemporaryDirectory() as folder:
        names = ("official.safetensors", "made.safetensors", "config.yaml")
        official, made, settings = (Path(folder) / name for name in names)
        save_file({key: value.clone().contiguous() for key, value in state.items()}, official)
        save_file(module.convert(official, sizes), made)
        settings.write_text(config.dump(sizes), encoding="utf-8")
        return module.build(settings, made, module.describe(sizes))


def signals(seconds: Sequence[float], rate: int) -> list[Tensor]:
    """Noise of these lengths."""
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(round(length * rate), generator=generator) for length in seconds]


def encodec_package() -> tuple[Any, Any, Callable[[Tensor], Tensor]]:
    """The package's 24 kHz model at 6 kbit/s with codebooks that are not empty, our sizes, and how it encodes."""
    need_package("encodec")
    from encodec import EncodecModel

    torch.manual_seed(0)
    model = EncodecModel.encodec_model_24khz(pretrained=False).eval()
    model.set_target_bandwidth(6.0)
    for layer in model.quantizer.vq.layers:
        layer._codebook.embed.normal_(std=0.05)
    return model, encodec.Config(), lambda wave: model.encode(wave)[0][0]


def dac_package() -> tuple[Any, Any, Callable[[Tensor], Tensor]]:
    """The package's 16 kHz model, our sizes, and how it encodes."""
    need_package("dac")
    from dac import DAC

    torch.manual_seed(0)
    sizes = dac.Config()
    model = DAC(
        encoder_dim=sizes.encoder_width, encoder_rates=sizes.strides, decoder_dim=sizes.decoder_width,
        decoder_rates=sizes.strides[::-1], n_codebooks=sizes.num_codebooks, codebook_size=sizes.codebook_size,
        codebook_dim=sizes.codebook_dim, sample_rate=sizes.sample_rate,
    ).eval()  # fmt: skip
    return model, sizes, lambda wave: model.encode(model.preprocess(wave, sizes.sample_rate))[1]


PACKAGES = {"encodec": encodec_package, "dac": dac_package}
