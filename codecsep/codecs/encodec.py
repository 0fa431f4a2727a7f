"""EnCodec (Defossez, Copet, Synnaeve, Adi 2022): 24 kHz, 75 frames a second, 1024 entries a codebook, causal.

Built from the modules of the package `encodec`; nothing of it is copied.  Mind its licence: the release 0.1.1 that pip
installs (2022) says CC-BY-NC 4.0, the project's own repository has since been put under MIT.  `convert` takes
encodec_24khz-d7cc33bc.th as its authors published it, or the model.safetensors of facebook/encodec_24khz in the layout
of `transformers`.

One file of weights serves every bandwidth: 2, 4, 8, 16, 32 codebooks are 1.5, 3, 6, 12, 24 kbit/s.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from codecsep.codecs import seanet
from codecsep.codecs.base import CodecError, read_config
from codecsep.codecs.block_codec import BlockCodec
from codecsep.codecs.long import Read
from codecsep.codecs.upstream import (
    State,
    check_state,
    fill,
    need_package,
    old_weight_norm,
    on_meta,
    plain_names,
    read_state,
)
from codecsep.data.ark import CodecInfo
from codecsep.weight_file import read_safetensors


@dataclass
class Config:
    """`num_codebooks` of the `stored_codebooks` are used; the sizes are those of the 24 kHz model.

    strides: of the decoder, from frames to samples.
    """

    num_codebooks: int = 8
    stored_codebooks: int = 32
    codebook_size: int = 1024
    sample_rate: int = 24000
    strides: list[int] = field(default_factory=lambda: [8, 5, 4, 2])
    filters: int = 32
    latent_size: int = 128
    lstm_layers: int = 2

    @property
    def hop(self) -> int:
        return int(torch.tensor(self.strides).prod())


class Network(nn.Module):
    """Encoder, decoder and quantiser, named as in the package's EncodecModel."""

    def __init__(self, config: Config):
        super().__init__()
        need_package("encodec")
        from encodec import quantization
        from encodec.modules import seanet as seanet_parts

        sizes = {
            "dimension": config.latent_size,
            "n_filters": config.filters,
            "ratios": config.strides,
            "lstm": config.lstm_layers,
            "causal": True,
        }
        self.encoder = seanet_parts.SEANetEncoder(**sizes)
        self.decoder = seanet_parts.SEANetDecoder(**sizes)
        self.quantizer = quantization.ResidualVectorQuantizer(
            dimension=config.latent_size, n_q=config.stored_codebooks, bins=config.codebook_size
        )


class EncodecCodec(BlockCodec):
    """The published network behind the contract of `codecs/base.py`.

    The LSTM of its encoder remembers without bound: there is no `context`, and a long recording is encoded piece by
    piece with the layers' memory carried over (`seanet`).
    """

    block_seconds = 2.0
    min_block = 8  # frames: more than any layer reflects at the begin

    def __init__(self, network: Network, config: Config, info: CodecInfo):
        super().__init__(info)
        self.network, self.config = network, config
        self.latent_size = config.latent_size

    def together(self, wav: Tensor, lengths: Tensor) -> Tensor:
        return seanet.run(self.network.encoder.model, wav[:, None], lengths, {})[0].transpose(1, 2)

    def blocks(self, read: Read, num_samples: int) -> Iterator[Tensor]:
        """The latents [1, t, D] of a signal; each layer keeps what it needs of the block before."""
        size, past = self.block * self.info.hop, {}
        for start in range(0, num_samples, size):
            wav = read(start, min(start + size, num_samples)).to(self.device)
            lengths = torch.tensor([len(wav)], device=self.device)
            yield seanet.run(self.network.encoder.model, wav[None, None], lengths, past)[0].transpose(1, 2)

    def nearest(self, latents: Tensor) -> Tensor:
        codes = self.network.quantizer.vq.encode(latents.transpose(1, 2), self.info.num_codebooks)
        return codes.transpose(0, 1)

    def synthesise(self, latents: Tensor, frame_lengths: Tensor) -> Tensor:
        """latents [B, T, D], frame_lengths [B] -> wav [B, T * hop]."""
        inner = latents.transpose(1, 2).contiguous()
        return seanet.run(self.network.decoder.model, inner, frame_lengths, {})[0][:, 0]

    @torch.inference_mode()
    def embed(self, codes: Tensor) -> Tensor:
        """codes [B, k, T] with 1 <= k <= K levels -> latents [B, T, D]."""
        return self.network.quantizer.vq.decode(codes.transpose(0, 1)).transpose(1, 2)


def build(config_path: Path, weights: Path, info: CodecInfo) -> EncodecCodec:
    """The codec from its config and from what `convert` made. Raises CodecError when they do not fit."""
    config = read_config(config_path, Config)
    network = on_meta(lambda: Network(config))
    state = read_safetensors(weights)
    network = fill(network, state | absent(network, state), weights)
    return EncodecCodec(network, config, info)


def describe(config: Config) -> CodecInfo:
    """Rates and sizes; the fingerprint and the delay are not known yet."""
    if not 1 <= config.num_codebooks <= config.stored_codebooks:
        what = f"is {config.num_codebooks}; the weights hold {config.stored_codebooks}"
        raise CodecError("E349", what, "num_codebooks", "2, 4, 8, 16, 32 are 1.5, 3, 6, 12, 24 kbit/s")
    rate = config.sample_rate / config.hop
    return CodecInfo("encodec", "0", config.sample_rate, rate, config.hop, config.num_codebooks, config.codebook_size)


def convert(weights: Path, config: Config) -> State:
    """The published weights, checked name by name, without what only training needs.

    Raises WeightFileError for a file that holds more than weights, CodecError for one of another network.
    """
    network = on_meta(lambda: Network(config))
    state = from_transformers(old_weight_norm(read_state(weights)), plain_names(network))
    check_state(state, network, weights)
    return {name: tensor.contiguous() for name, tensor in state.items() if not of_training(name)}


def of_training(name: str) -> bool:
    """Is this a buffer that only training needs: moving averages of a codebook, and whether they have begun?"""
    return name.rsplit(".", 1)[-1] in ("inited", "cluster_size", "embed_avg")


def absent(network: nn.Module, state: State) -> State:
    """Zeros for the buffers of training that `convert` leaves out; nothing here reads them."""
    shapes = {name: value.shape for name, value in network.state_dict().items() if of_training(name)}
    return {name: torch.zeros(shape) for name, shape in shapes.items() if name not in state}


def from_transformers(state: State, names: Collection[str]) -> State:
    """Names of transformers' EncodecModel -> those `names` of the package; others are left as they are."""
    renamed = {}
    for name, tensor in state.items():
        if match := re.match(r"(encoder|decoder)\.layers\.(.*)$", name):
            stem = f"{match[1]}.model.{match[2]}"
            layers = (stem, stem.replace(".conv.", ".conv.conv."), stem.replace(".conv.", ".convtr.convtr."))
            name = next((layer for layer in layers if layer in names), name)
        if match := re.match(r"quantizer\.layers\.(\d+)\.codebook\.(\w+)$", name):
            name = f"quantizer.vq.layers.{match[1]}._codebook.{match[2]}"
        renamed[name] = tensor
    return renamed
