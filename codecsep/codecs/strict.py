"""Weights that must fit to the last name and shape: one function for files of others, one for our own networks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from codecsep.codecs.base import REPAIR, CodecError

NOT_THESE = "give the weights of this architecture, or the sizes that belong to them"


def require_exactly(state: Any, shapes: Mapping[str, tuple[int, ...]], where: object) -> dict[str, Tensor]:
    """The state dict itself, when its names and shapes are exactly `shapes`. Raises CodecError (E440) naming the first
    that is missing, unexpected or of another shape."""
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CodecError("E440", "holds no mapping of names to tensors", where, NOT_THESE)
    for name, shape in shapes.items():
        if name not in state:
            raise CodecError("E440", f"lacks the tensor {name} {list(shape)}", where, NOT_THESE)
        if tuple(state[name].shape) != tuple(shape):
            what = f"its tensor {name} has the shape {list(state[name].shape)}, not {list(shape)}"
            raise CodecError("E440", what, where, NOT_THESE)
    if extra := [name for name in state if name not in shapes]:
        raise CodecError("E440", f"holds the unexpected tensor {str(extra[0])[:80]}", where, NOT_THESE)
    return dict(state)


def fill(network: nn.Module, state: Mapping[str, Tensor], where: object, training: Collection[str] = ()) -> None:
    """Load a codec's own weights, every name and shape as it must be; only what `training` needs may be missing.

    Raises CodecError (E350) naming what does not fit.
    """
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:  # shapes: config.yaml was edited, or is another codec's
        raise CodecError("E350", f"does not fit config.yaml: {str(error)[:300]}", where, REPAIR) from error
    missing = [name for name in missing if name not in training]
    if missing or unexpected:
        raise CodecError("E350", f"tensors missing: {missing[:3]}, unexpected: {unexpected[:3]}", where, REPAIR)
