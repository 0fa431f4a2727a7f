"""The contract of a codec, and loading one from its directory.

A codec directory holds `codec.json` (`data.ark.CodecInfo`: name, fingerprint, rates, sizes, delay), `config.yaml` (the
`Config` of `codecs/<name>.py`) and `<name>.safetensors` (weights).  `codecs/<name>.py` offers `Config`, `build`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from codecsep import config
from codecsep.data.ark import CodecInfo, read_codec_info
from codecsep.data.digest import file_sha256
from codecsep.errors import CodecsepError

if TYPE_CHECKING:  # who only looks whether a codec is there does without torch
    from torch import Tensor

REPAIR = "run --stage 1 again"


class CodecError(CodecsepError):
    """A codec or codec directory that cannot be used; the message names the file and the stage that repairs it."""


class Codec(Protocol):
    """wav <-> latents <-> codes.  `info` carries rates and sizes; rows of a batch have their own lengths and do not
    depend on each other.

    Codes are [B, K, T] int64, waveforms [B, L] float32, latents [B, T, D] float32 (D: `latent_size`).  `context`: on
    how many frames before and after it the code of a frame depends at most; None when there is no such bound.
    """

    info: CodecInfo
    latent_size: int
    context: int | None

    def num_frames(self, num_samples: int) -> int:
        """Frames of so many samples at info.sample_rate."""
        ...

    def num_samples(self, num_frames: int) -> int:
        """Samples at info.output_rate that so many frames are decoded to."""
        ...

    def encode(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L], lengths [B] samples -> (codes [B, K, T], zero after each row; frame_lengths [B])."""
        ...

    def encode_long(self, read: Callable[[int, int], Tensor], num_samples: int) -> Tensor:
        """read(start, stop) -> float32 [stop - start] of a signal of so many samples -> its codes [K, T] as `encode`
        gives them, in memory that does not grow with the length but by the codes."""
        ...

    def decode(self, codes: Tensor, frame_lengths: Tensor) -> Tensor:
        """codes [B, k, T] of the k >= 1 lowest levels, frame_lengths [B] -> wav [B, L], zero after each row."""
        ...

    def latents(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L], lengths [B] -> (what the quantiser is given [B, T, D], frame_lengths [B])."""
        ...

    def quantize(self, latents: Tensor) -> Tensor:
        """latents [B, T, D] -> codes [B, K, T]: encode is quantize of latents."""
        ...

    def embed(self, codes: Tensor) -> Tensor:
        """codes [B, k, T] -> latents [B, T, D], what the quantiser makes of them."""
        ...

    def synthesise(self, latents: Tensor, frame_lengths: Tensor) -> Tensor:
        """latents [B, T, D], frame_lengths [B] -> wav [B, L]: decode is synthesise of embed.  Differentiable, where the
        codec is a network of continuous functions."""
        ...


def load(directory: str | Path, device: str = "cpu") -> Codec:
    """The codec in `directory`, frozen and in evaluation mode.

    Raises CodecError when files are missing, the name is unknown or the weights are not those of `codec.json`.
    """
    directory = Path(directory)
    if not (directory / "codec.json").is_file():
        raise CodecError("E350", "missing", directory / "codec.json", "run --stage 1 first")
    info = read_codec_info(directory)
    weights = directory / f"{info.name}.safetensors"
    check_fingerprint(weights, info.fingerprint)
    codec = codec_module(info.name).build(directory / "config.yaml", weights, info)
    return codec.to(device).eval().requires_grad_(False)


def codec_module(name: str):
    """codecs/<name>.py; an unknown name is answered with the list of files."""
    folder = Path(__file__).parent
    names = sorted(p.stem for p in folder.glob("*.py") if hasattr_build(p))
    if name not in names:
        raise CodecError("E352", f"no codec named '{name}'; codecs/ holds: {', '.join(names)}", "codec.json", REPAIR)
    return importlib.import_module(f"codecsep.codecs.{name}")


def hasattr_build(path: Path) -> bool:
    """Does this file define a codec (a function `build`)?  Read as text: nothing is imported for a listing."""
    return "\ndef build(" in path.read_text(encoding="utf-8")


def check_fingerprint(weights: Path, wanted: str) -> None:
    """Raise CodecError unless the file's SHA-256 is `wanted`."""
    if not weights.is_file():
        raise CodecError("E350", "missing", weights, "run --stage 1 first")
    found = file_sha256(weights)
    if found != wanted:
        raise CodecError("E351", f"SHA-256 is {found}, codec.json says {wanted}", weights, REPAIR)


def read_config(path: Path, cls: type):
    """The codec's typed config, with the stage to run when it is missing."""
    if not path.is_file():
        raise CodecError("E350", "missing", path, "run --stage 1 first")
    return config.load(cls, path)
