"""Files of weights <-> tensors, for files that somebody else may have made: nothing in them is ever run.

safetensors is the format of what we write; a `.pt` is read with `weights_only=True`, which holds against the variable
TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD too. There is no way around these two functions, and no unsafe fallback.
"""

import json
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from codecsep.errors import CodecsepError

MAX_HEADER = 16 << 20
MAX_TENSORS = 20_000
FETCH = "make the file again, or copy or fetch it again from where you trust it"


class WeightFileError(CodecsepError):
    """A file of weights that is missing, malformed, or holds more than weights."""


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file. Raises WeightFileError."""
    path = Path(path)
    try:
        check_header(path)
        return load_file(path)
    except OSError as error:
        raise WeightFileError("E703", f"cannot be read ({error.strerror})", path, FETCH) from error
    except SafetensorError as error:
        raise WeightFileError("E703", f"is damaged ({error})", path, FETCH) from error


def check_header(path: Path) -> None:
    """Refuse a header that is larger than its file or than any network needs, before it costs time or memory."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            what = f"its header has {length:,} bytes, the file {size:,}; at most {MAX_HEADER:,} are read"
            raise WeightFileError("E703", what, path, FETCH)
        text = file.read(length)
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightFileError("E703", "its header is no JSON", path, FETCH) from error
    if not isinstance(entries, dict) or len(entries) > MAX_TENSORS:
        what = f"its header does not list up to {MAX_TENSORS:,} tensors"
        raise WeightFileError("E703", what, path, FETCH)


def read_pickled(path: Path) -> Any:
    """The tensors and plain values of a file that torch.save wrote, on the CPU. Raises WeightFileError."""
    path = Path(path)
    if not path.is_file():
        raise WeightFileError("E703", "no such file", path, FETCH)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds more than tensors and plain values{f' ({named[1][:80]})' if named else ''}; it is not loaded"
        fix = "convert it to safetensors where you trust it"
        raise WeightFileError("E702", what, path, fix) from error
    except Exception as error:  # an unpickler that is fed anything at all raises anything at all
        raise WeightFileError("E703", f"is damaged ({str(error)[:200]})", path, FETCH) from error
