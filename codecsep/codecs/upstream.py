"""Networks of other people's packages: importing them, and giving them the weights that were published for them.

A published state dict is checked against the names and shapes of the package's own network, weight norm and all, and
kept as it is; weight norm is folded into plain weights when the network is built (the same arithmetic, done once).
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from codecsep.codecs.base import REPAIR, CodecError
from codecsep.codecs.strict import NOT_THESE, require_exactly
from codecsep.torch_audio import INSTALL, PackageError, import_torchaudio
from codecsep.weight_file import read_pickled, read_safetensors

State = dict[str, Tensor]


def need_package(package: str) -> None:
    """To be called before an optional package that imports torchaudio is imported. Raises PackageError with the line
    that installs it."""
    import_torchaudio()
    if importlib.util.find_spec(package) is None:
        raise PackageError("E901", "is not installed", package, INSTALL)


def read_state(path: Path) -> State:
    """The tensors of a .safetensors or torch.save file; of a table with the key `state_dict`, those under it.

    Raises WeightFileError when the file is missing, damaged or holds more than tensors and plain values, CodecError
    when what it holds is no table of tensors.
    """
    path = Path(path)
    found = read_safetensors(path) if path.suffix == ".safetensors" else read_pickled(path)
    state = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CodecError("E440", "holds no mapping of names to tensors", path, NOT_THESE)
    return state


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    """The network that `make` builds, without memory for its weights and without initialising them."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch deprecates the weight norm that the packages use
        return make()


def old_weight_norm(state: State) -> State:
    """Names of torch.nn.utils.parametrizations.weight_norm -> those of torch.nn.utils.weight_norm."""
    ends = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    renamed = {}
    for name, tensor in state.items():
        for new, old in ends.items():
            name = name.removesuffix(new) + old if name.endswith(new) else name
        renamed[name] = tensor
    return renamed


def plain_names(network: nn.Module) -> set[str]:
    """The names that a state dict of `network` may have: with weight norm, or with plain weights in its place."""
    names = set(network.state_dict())
    return names | {name.removesuffix("_v") for name in names if name.endswith(".weight_v")}


def check_state(state: State, network: nn.Module, path: Path) -> None:
    """Raise CodecError unless the names and shapes are those of `network` (on the meta device, with its weight norm).

    Where the network has `weight_g` and `weight_v`, a plain `weight` will do: its norm is folded in already.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for name in [name.removesuffix("_v") for name in expected if name.endswith(".weight_v")]:
        if name in state and f"{name}_v" not in state:
            expected[name] = expected.pop(f"{name}_v")
            del expected[f"{name}_g"]
    require_exactly(state, expected, path)


def fill(network: nn.Module, state: State, path: Path) -> nn.Module:
    """Give a network on the meta device its weights as float32, weight norm folded; in evaluation mode.

    Raises CodecError when a name or shape is not the network's.
    """
    check_state(state, network, path)
    state = {name: tensor.float() for name, tensor in state.items()}
    for name, module in network.named_modules():
        if hasattr(module, "weight_v"):
            torch.nn.utils.remove_weight_norm(module)
            if f"{name}.weight_v" in state:
                state[f"{name}.weight"] = folded(state.pop(f"{name}.weight_v"), state.pop(f"{name}.weight_g"))
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise CodecError("E350", f"does not fit config.yaml: {str(error)[:300]}", path, REPAIR) from error
    return network.eval().requires_grad_(False)


def folded(direction: Tensor, size: Tensor) -> Tensor:
    """weight_v [out, ..], weight_g [out, 1, 1] -> weight: g v / |v|, by the very function that weight norm calls."""
    return torch._weight_norm(direction, size, 0)
