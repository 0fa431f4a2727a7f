"""Codebooks that are fitted by k-means apart from the network whose latents they cut up: their file and their names.

A codec with such codebooks (`codecs/<name>.py` has `centres_shape`) keeps them in a `ResidualQuantizer` that is called
`quantizer`.  Files: ours (safetensors, `quantizer.levels.<i>.codes` [C, D]), or .npy of floats [C, D] or [K, C, D].
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from codecsep.codecs.base import CodecError
from codecsep.codecs.strict import require_exactly
from codecsep.weight_file import WeightFileError, read_safetensors

CONVERT = "save its centres with numpy.save(..., allow_pickle=False) where you trust the file, and give that .npy"


def names(num_levels: int) -> list[str]:
    """The centres' names in a codec's state dict."""
    return [f"quantizer.levels.{level}.codes" for level in range(num_levels)]


def training_state(network: nn.Module) -> set[str]:
    """Names of the quantiser's buffers that only its own training needs; a file of weights does not hold them."""
    return {name for name in network.state_dict() if name.rsplit(".", 1)[-1] in ("counts", "sums", "started")}


def read_centres(path: Path, shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """Centres (levels, centres, width) for a codec's state dict. Raises CodecError (E440) when they are of another
    shape, WeightFileError when the file is missing, damaged, or could hold code."""
    path = Path(path)
    wanted = {name: shape[1:] for name in names(shape[0])}
    if not path.is_file():
        raise WeightFileError("E703", "no such file", path, "run codecsep.bin.train_kmeans, or give --centres")
    state = read_safetensors(path) if path.suffix == ".safetensors" else _from_array(path, shape[0])
    return require_exactly(state, wanted, path)


def _from_array(path: Path, num_levels: int) -> dict[str, Tensor]:
    """A .npy file of floats [C, D] or [K, C, D]; anything else is refused unread."""
    with open(path, "rb") as file:
        if file.read(6) != b"\x93NUMPY":
            what = "is neither .safetensors nor .npy; k-means models of scikit-learn are pickles, which are not loaded"
            raise WeightFileError("E702", what, path, CONVERT)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError) as error:  # objects inside, cut, or a size that cannot be
        raise WeightFileError("E703", f"cannot be read ({str(error)[:200]})", path, CONVERT) from error
    if array.dtype.kind != "f" or array.ndim not in (2, 3):
        raise WeightFileError("E703", f"holds {array.dtype} {list(array.shape)}, no centres", path, CONVERT)
    levels = torch.from_numpy(np.array(array, dtype=np.float32).reshape(-1, *array.shape[-2:]))
    if len(levels) != num_levels:
        raise CodecError("E440", f"holds {len(levels)} codebooks, not {num_levels}", path, "give those of this codec")
    return dict(zip(names(num_levels), levels, strict=True))
