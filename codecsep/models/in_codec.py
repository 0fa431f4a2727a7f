"""What models that compute inside a frozen codec have in common: holding one that is no part of their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from codecsep.codecs.base import Codec
from codecsep.models.base import ModelError

DIGEST_BYTES = 32  # of a SHA-256


class InCodec(nn.Module):
    """A module with a `codec`: frozen, in evaluation mode, on the module's device, in no checkpoint.

    The weights of the module say which codec they belong to, by its fingerprint; another one is refused.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: tuple[Any, ...] = ()  # in a tuple, where nn.Module does not look for submodules
        self.register_buffer("codec_fingerprint", torch.zeros(DIGEST_BYTES, dtype=torch.uint8))

    @property
    def codec(self) -> Codec:
        """Raises ModelError when none was given."""
        if not self._held:
            raise ModelError("E508", "this model computes inside a codec", "", "give its directory with --codec")
        return self._held[0]

    def use_codec(self, codec: Codec) -> None:
        """Raises ModelError when the weights were trained with another codec."""
        digest = fingerprint_bytes(codec.info.fingerprint)
        known = self.codec_fingerprint.cpu()
        if known.any() and not torch.equal(known, digest):
            found, wanted = bytes(digest.tolist()).hex()[:16], bytes(known.tolist()).hex()[:16]
            what = f"trained with a codec of fingerprint {wanted}..., given is {codec.info.name} {found}..."
            raise ModelError("E508", what, "--codec", "give the codec that it was trained with, or train anew")
        self.codec_fingerprint.copy_(digest)
        codec = codec.to(self.codec_fingerprint.device).eval().requires_grad_(False)
        self._held = (codec,)

    def _apply(self, fn: Callable, recurse: bool = True) -> nn.Module:
        """`to`, `cpu`, `cuda` ... take the codec along."""
        super()._apply(fn, recurse)
        for codec in self._held:
            codec._apply(fn)
        return self


def fingerprint_bytes(fingerprint: str) -> torch.Tensor:
    """A hexadecimal SHA-256 as uint8 [32]; a shorter one (of a toy) is filled up with zeros in front."""
    return torch.tensor(list(bytes.fromhex(fingerprint.zfill(2 * DIGEST_BYTES))), dtype=torch.uint8)
